"""Files of http and https URIs: read to the end or refused with a reason, to addresses that `addresses` allows."""

import http.client
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from email.message import Message
from typing import IO, Any

from tidemill_contracts.counts import counted
from tidemill_contracts.schemes import SECRET_KEYS
from tidemill_contracts.storage import Uri, check_authority
from tidemill_runtime.network import addresses
from tidemill_runtime.storage import base, folders
from tidemill_runtime.storage.base import ADDRESS_REFUSED, StorageError

_TRIES = 3
_TIMEOUT_SECONDS = 60


def _dialled(place: tuple[str, int], timeout: Any = None, source: Any = None) -> Any:
    del source
    return addresses.connect(place[0], place[1], timeout if isinstance(timeout, (int, float)) else _TIMEOUT_SECONDS)


class _Plain(http.client.HTTPConnection):
    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._create_connection = _dialled


class _Secure(http.client.HTTPSConnection):
    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._create_connection = _dialled


class _PlainHandler(urllib.request.HTTPHandler):
    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_Plain, req)


class _SecureHandler(urllib.request.HTTPSHandler):
    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_Secure, req, context=ssl.create_default_context())


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Redirects stay with HTTP, and once encrypted they stay so."""

    max_redirections = 5

    def http_error_302(self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Message) -> Any:
        """Look at the scheme first: the library would follow to FTP, and from https to http."""
        try:
            target = urllib.parse.urljoin(req.full_url, headers.get("Location") or headers.get("URI") or "")
            scheme, authority = urllib.parse.urlsplit(target)[:2]
        except ValueError:
            scheme, authority = "http", ""
        if scheme != "https" and not (scheme == "http" and req.type == "http"):
            fp.close()
            text = f"{req.full_url} redirects to another scheme ({scheme}): only https is followed, and http from http"
            raise StorageError(ADDRESS_REFUSED, text, retriable=False)
        try:
            check_authority(scheme, authority)
        except ValueError as error:
            fp.close()
            text = f"{req.full_url} redirects to what is no address: {error}"
            raise StorageError(ADDRESS_REFUSED, text, retriable=False) from error
        return super().http_error_302(req, fp, code, msg, headers)  # type: ignore[arg-type]

    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302


def _opener() -> urllib.request.OpenerDirector:
    """Return an opener of the two schemes: the library's own one would open files and FTP, too."""
    found = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler,  # of the environment; what is checked then is the proxy's address
        urllib.request.UnknownHandler,
        urllib.request.HTTPDefaultErrorHandler,
        urllib.request.HTTPErrorProcessor,
        _Redirects,
        _PlainHandler,
        _SecureHandler,
    ):
        found.add_handler(handler())
    return found


def get(uri: Uri, secret: str | None) -> Iterator[bytes]:
    """Yield the body of an HTTP answer; a request that got no answer is tried again, a broken body is not.

    Raises:
        StorageError: AddressRefused, AccessDenied, NotFound, StorageUnavailable.
    """
    values = folders.secret_values(secret, uri.scheme)
    request = urllib.request.Request(_quoted(uri), headers={"User-Agent": "tidemill"})  # noqa: S310  http or https
    for key, value in values.items():
        if value:  # for this URL alone: whom it redirects to is not whom the Secret is for
            request.add_unredirected_header(SECRET_KEYS[key].option, value)
    for attempt in range(_TRIES):
        try:
            with _opener().open(request, timeout=_TIMEOUT_SECONDS) as response:
                yield from _body(response, uri)
            return
        except urllib.error.HTTPError as error:
            error.close()
            if error.code < 500 or attempt == _TRIES - 1:
                raise _http_error(uri, error.code, is_redirected=error.url != request.full_url) from error
        except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
            _raise_for_good(uri, error)
            if attempt == _TRIES - 1:
                why = getattr(error, "reason", error)
                raise StorageError("StorageUnavailable", f"cannot read {uri}: {why}", retriable=True) from error
        except ValueError as error:  # a setting of the administrator, or a URL that is none
            raise StorageError("InvalidUri", f"cannot read {uri}: {error}", retriable=False) from error
        time.sleep(0.5 * 2**attempt)


def _raise_for_good(uri: Uri, error: Exception) -> None:
    """Raise what no other try will change."""
    why = getattr(error, "reason", error)
    if isinstance(error, http.client.InvalidURL):
        raise StorageError("InvalidUri", f"{uri} or what it redirects to is no URL", retriable=False) from error
    if isinstance(why, ssl.SSLCertVerificationError):
        text = f"{uri}: the server's certificate is not trusted here: {why.verify_message}"
        raise StorageError("AccessDenied", text, retriable=False) from error
    if isinstance(why, addresses.RefusedError):
        raise StorageError(ADDRESS_REFUSED, f"{uri}: {why}", retriable=False) from error


def _body(response: "http.client.HTTPResponse", uri: Uri) -> Iterator[bytes]:
    expected = response.headers.get("Content-Length")
    read = 0
    try:
        while piece := response.read(base.CHUNK):
            read += len(piece)
            yield piece
    except (http.client.HTTPException, OSError) as error:
        raise StorageError(
            "StorageUnavailable", f"{uri}: broken off after {counted(read, 'byte')}", retriable=True
        ) from error
    if expected is not None and expected.isdigit() and int(expected) != read:
        text = f"{uri}: broken off after {read} of {expected} bytes"
        raise StorageError("StorageUnavailable", text, retriable=True)


def _http_error(uri: Uri, code: int, *, is_redirected: bool) -> StorageError:
    if code in (401, 403):
        why = "the Secret's AUTHORIZATION is missing or refused"
        if is_redirected:
            why = "it redirects, and the Secret's AUTHORIZATION is not sent on; give the final URL"
        return StorageError("AccessDenied", f"{uri} answers {code}: {why}", retriable=False)
    if code in (404, 410):
        return StorageError("NotFound", f"{uri} answers {code}: there is no such file", retriable=False)
    return StorageError("StorageUnavailable", f"{uri} answers {code}", retriable=code >= 500 or code in (408, 425, 429))


def _quoted(uri: Uri) -> str:
    return urllib.parse.quote(str(uri), safe=":/?&=#%@+,;~!$'()*[]")
