"""Folders of S3, Google Cloud Storage and Azure, through obstore.

Apart from `folders` so that only who reads an object store loads its library. Errors are sorted here
into what a person must fix (missing, denied) and what another try may cure (everything else).
"""

import io
import os
import re
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, cast

import obstore
from obstore import exceptions
from obstore import store as stores

from tidemill_contracts import schemes
from tidemill_contracts.storage import Uri
from tidemill_runtime.network import addresses
from tidemill_runtime.network.proxy import Ticket
from tidemill_runtime.redaction import redact
from tidemill_runtime.storage.base import ADDRESS_REFUSED, CHUNK, Entry, StorageError, too_many

if TYPE_CHECKING:
    from obstore import ObjectMeta, WritableFile
    from obstore.store import ClientConfig, ObjectStore, RetryConfig

_STATUS = re.compile(r"status code: (\d{3})")
_ANSWER = re.compile(r"<Code>([^<]+)</Code>.*?<Message>([^<]+)</Message>", re.DOTALL)
_CERTIFICATE = re.compile(r"InvalidCertificate\(\s*(\w+)")
_CAUSE = re.compile(r'(?:message|error): "([^"]+)"')  # of the system or of the name server, only in the debug text
_UNTICKETED = "407 Proxy Authentication Required"
_RETRY: "RetryConfig" = {"max_retries": 4, "retry_timeout": timedelta(seconds=60)}
_CLIENT: "ClientConfig" = {
    "connect_timeout": timedelta(seconds=10),
    "read_timeout": timedelta(seconds=60),
    "timeout": timedelta(hours=1),  # of a whole request; the library's 30 s would cut a large file off
    "allow_http": True,  # stores inside the cluster often have no TLS; the endpoint's own scheme decides
}


class _Store(NamedTuple):
    make: "Callable[..., ObjectStore]"
    host: str
    """Of the cloud's own endpoint; {region} and {account_name} are options of the Secret or the environment."""
    endpoint_environment: tuple[str, ...] = ()
    """Variables that name the endpoint, as the store's own tools read them; the first that is set counts."""


_STORES = {
    "s3": _Store(
        stores.S3Store, "s3.{region}.amazonaws.com", ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
    ),
    "gs": _Store(stores.GCSStore, "storage.googleapis.com"),
    "az": _Store(stores.AzureStore, "{account_name}.blob.core.windows.net", ("AZURE_STORAGE_ENDPOINT",)),
}


class ObjectFolder:
    """A prefix of a bucket; credentials are the Secret's, else those of the environment (workload identity)."""

    def __init__(self, uri: Uri, secret: dict[str, str]) -> None:
        self.uri = uri
        self._prefix = f"{uri.path}/" if uri.path else ""
        try:
            endpoint = _endpoint(uri, secret)
            self._ticket = Ticket(is_plain_allowed=urllib.parse.urlsplit(endpoint).scheme == "http")
            _check_endpoint(uri, endpoint)
            self._store = _connect(uri, secret, _proxy(uri, secret, endpoint) or self._ticket.url())
        except (exceptions.BaseError, ValueError) as error:
            raise StorageError("InvalidUri", f"cannot open {uri}: {error}", retriable=False) from error

    def files(self, prefix: str = "") -> list[Entry]:
        """Return every object below `prefix`, over all pages of the listing."""
        below = self._prefix + (prefix.rstrip("/") + "/" if prefix else "")
        try:
            pages = obstore.list(self._store, prefix=below or None)
            found = [self._entry(meta) for page in pages for meta in page]
        except exceptions.NotFoundError:
            return []
        except (exceptions.BaseError, OSError) as error:
            raise self._translate(error, f"cannot list {self.uri}") from error
        return sorted(found, key=lambda entry: entry.key)

    def named(self, names: frozenset[str], most: int) -> tuple[list[Entry], list[str]]:
        """Return the objects of these names, page by page; all of them are files."""
        found, seen = [], 0
        try:
            for page in obstore.list(self._store, prefix=self._prefix or None):
                seen += len(page)
                if seen > most:
                    raise too_many(self.uri, most)
                found += [self._entry(meta) for meta in page if meta["path"].rpartition("/")[2] in names]
        except exceptions.NotFoundError:
            return [], []
        except (exceptions.BaseError, OSError) as error:
            raise self._translate(error, f"cannot list {self.uri}") from error
        return sorted(found, key=lambda entry: entry.key), []

    def _entry(self, meta: "ObjectMeta") -> Entry:
        key = meta["path"].removeprefix(self._prefix)
        return Entry(key, meta["size"], meta["last_modified"].timestamp(), meta["e_tag"])

    def head(self, key: str) -> Entry | None:
        """Return what is known of one object, None when there is no such object."""
        try:
            meta = obstore.head(self._store, self._prefix + key)
        except (exceptions.NotFoundError, FileNotFoundError):
            return None
        except (exceptions.BaseError, OSError) as error:
            raise self._translate(error, f"cannot read {self.uri.child(key)}") from error
        return Entry(key, meta["size"], meta["last_modified"].timestamp(), meta["e_tag"])

    def chunks(self, key: str) -> Iterator[bytes]:
        """Yield the content of an object in pieces of about a mebibyte."""
        try:
            for piece in obstore.get(self._store, self._prefix + key).stream(min_chunk_size=CHUNK):
                yield bytes(piece)
        except (exceptions.BaseError, OSError) as error:
            raise self._translate(error, f"cannot read {self.uri.child(key)}") from error

    def end(self, entry: Entry, size: int) -> bytes:
        """Return the last bytes of an object, by a request for these alone."""
        start = max(entry.size - size, 0)
        try:
            return bytes(obstore.get_range(self._store, self._prefix + entry.key, start=start, end=entry.size))
        except (exceptions.BaseError, OSError) as error:
            raise self._translate(error, f"cannot read {self.uri.child(entry.key)}") from error

    def write(self, key: str, content: bytes) -> None:
        """Put one object; an object store shows it whole or not at all."""
        try:
            obstore.put(self._store, self._prefix + key, content)
        except (exceptions.BaseError, OSError) as error:
            raise self._translate(error, f"cannot write {self.uri.child(key)}") from error

    @contextmanager
    def create(self, key: str) -> Iterator[BinaryIO]:
        """Upload in parts; a writer that is not closed leaves parts that nobody sees (see the bucket's lifecycle)."""
        doing = f"cannot write {self.uri.child(key)}"
        try:
            writer = obstore.open_writer(self._store, self._prefix + key)
            yield cast(BinaryIO, _Sink(writer))
            writer.close()
        except (exceptions.BaseError, OSError) as error:
            raise self._translate(error, doing) from error

    def delete(self, keys: list[str]) -> None:
        """Remove objects one after another, so that the order holds."""
        for key in keys:
            try:
                obstore.delete(self._store, self._prefix + key)
            except (exceptions.NotFoundError, FileNotFoundError):
                continue
            except (exceptions.BaseError, OSError) as error:
                raise self._translate(error, f"cannot delete {self.uri.child(key)}") from error

    def _translate(self, error: Exception, doing: str) -> StorageError:
        refusal, self._ticket.refusal = self._ticket.refusal, None
        if refusal is not None:
            return StorageError(ADDRESS_REFUSED, f"{doing}: {refusal}", retriable=False)
        if _UNTICKETED in str(error):  # the library takes the ticket from a request that goes to another host
            text = f"{doing}: the store redirects to another one without TLS, which is not followed"
            return StorageError(ADDRESS_REFUSED, text, retriable=False)
        found = _translate(error, doing)
        if found.reason == "StorageUnavailable" and self._ticket.problem is not None:
            return StorageError(found.reason, f"{doing}: {self._ticket.problem}", retriable=True)
        return found


class _Sink(io.RawIOBase):
    """The library's writer as Python's file interface has it: libraries ask `closed` without calling it."""

    def __init__(self, writer: "WritableFile") -> None:
        self._writer = writer

    def writable(self) -> bool:
        """Return that it is."""
        return True

    def write(self, content: Any) -> int:
        """Queue all of `content` for upload."""
        view = memoryview(content)
        self._writer.write(view.tobytes())
        return view.nbytes


def _endpoint(uri: Uri, secret: dict[str, str]) -> str:
    """Return the URL of the store as Secret or environment have it; empty for the cloud's own, which has TLS."""
    keys = [key.name for key in schemes.BY_NAME[uri.scheme].secret if key.option == "endpoint"]
    variables = _STORES[uri.scheme].endpoint_environment
    values = [*map(secret.get, keys), *map(os.environ.get, variables)]
    return next(filter(None, values), "")


def _check_endpoint(uri: Uri, endpoint: str) -> None:
    """Refuse at once what the proxy would refuse after the library's tries."""
    parts = urllib.parse.urlsplit(endpoint)
    if parts.hostname is None:
        return
    try:
        addresses.addresses(parts.hostname, parts.port or 443)
    except addresses.RefusedError as error:
        raise StorageError(ADDRESS_REFUSED, f"{uri}: {error}", retriable=False) from error
    except OSError:  # it may have a name later; the library says so better
        return


def _proxy(uri: Uri, secret: dict[str, str], endpoint: str) -> str | None:
    """Return the URL of the environment's proxy, the administrator's way out, which then does the dialling.

    None: there is none, or its exceptions (NO_PROXY) name the store. Decided here once, for the store and for wherever
    it may redirect to: the library would dial an exception by itself, and nobody would have looked at its address.
    """
    proxies = urllib.request.getproxies_environment()
    parts = urllib.parse.urlsplit(endpoint)
    found = proxies.get(parts.scheme or "https") or proxies.get("all")
    host = parts.netloc.rpartition("@")[2] or _cloud_host(uri, secret)
    is_exception = urllib.request.proxy_bypass_environment(host, proxies)  # type: ignore[attr-defined]
    return None if is_exception else found


def _cloud_host(uri: Uri, secret: dict[str, str]) -> str:
    store, keys = _STORES[uri.scheme], schemes.BY_NAME[uri.scheme].secret
    options = {key.option: secret.get(key.name) or os.environ.get(key.name) for key in keys}
    known = {option: value for option, value in options.items() if value}
    return store.host.format_map({"region": "us-east-1", "account_name": "account", **known})


def _connect(uri: Uri, secret: dict[str, str], proxy: str) -> "ObjectStore":
    config: Any = {key.option: secret[key.name] for key in schemes.BY_NAME[uri.scheme].secret if secret.get(key.name)}
    client: Any = {**_CLIENT, "proxy_url": proxy}
    make = _STORES[uri.scheme].make
    return make(uri.authority, config=config, client_options=client, retry_config=_RETRY)


def _translate(error: Exception, doing: str) -> StorageError:
    # Listings report refusals and missing buckets as generic errors with the answer in the text.
    text, _, debug = redact(str(error)).partition("\n\nDebug source:")  # before it is cut
    status = _STATUS.search(text)
    code = status.group(1) if status else ""
    said = _ANSWER.search(text)
    cause = _CAUSE.search(debug)
    short = f"{said.group(1)}: {said.group(2)}" if said else text.strip()[:300] + (f": {cause[1]}" if cause else "")
    if isinstance(error, (exceptions.NotFoundError, FileNotFoundError)) or code == "404":
        return StorageError("NotFound", f"{doing}: no such object or bucket", retriable=False)
    denied = (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError, PermissionError)
    if isinstance(error, denied) or code in ("401", "403"):
        return StorageError("AccessDenied", f"{doing}: the store refused the credentials: {short}", retriable=False)
    untrusted = _CERTIFICATE.search(debug)
    if untrusted:
        text = f"{doing}: the server's certificate is not trusted here: {untrusted[1]}"
        return StorageError("AccessDenied", text, retriable=False)
    return StorageError("StorageUnavailable", f"{doing}: {short}", retriable=True)
