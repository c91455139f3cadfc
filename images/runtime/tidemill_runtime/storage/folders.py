"""From a URI to its folder. The object-store library is imported only when a URI needs it."""

from pathlib import Path

from tidemill_contracts import schemes
from tidemill_contracts import storage as contract
from tidemill_contracts.storage import Uri, parse_uri
from tidemill_runtime.mounts import mounted
from tidemill_runtime.storage.base import SECRET_NOT_FOUND, Folder, StorageError
from tidemill_runtime.storage.local import LocalFolder


def secret_values(secret: str | None, scheme: str) -> dict[str, str]:
    """Return the keys of a mounted Secret that are for this scheme, without the line end that people leave behind.

    Raises:
        StorageError: AccessDenied, a value is no text; SecretNotFound. A mount without any of the keys is all that a
            pod sees of a Secret that does not exist; somebody may make it at any time.
    """
    if secret is None:
        return {}
    folder, keys = mounted(contract.SECRET_ROOT) / secret, schemes.secret_keys(scheme)
    files = {key: folder / key for key in keys}
    try:
        found = {key: file.read_text(encoding="utf-8").rstrip("\r\n") for key, file in files.items() if file.is_file()}
    except UnicodeDecodeError as error:
        text = f"Secret {secret}: the value of one of {', '.join(keys)} is no text"
        raise StorageError("AccessDenied", text, retriable=False) from error
    if not found:
        text = f"Secret {secret} does not exist or holds none of {', '.join(keys)}"
        raise StorageError(SECRET_NOT_FOUND, text, retriable=True)
    return found


def open_folder(uri: str | Uri, secret: str | None = None) -> Folder:
    """Return the folder at a URI of a claim, a ConfigMap, an object store or this machine; nothing is read yet.

    Raises:
        StorageError: InvalidUri, AccessDenied or SecretNotFound.
    """
    try:
        parsed = parse_uri(uri) if isinstance(uri, str) else uri
    except ValueError as error:
        raise StorageError("InvalidUri", str(error), retriable=False) from error
    scheme = schemes.BY_NAME[parsed.scheme]
    if scheme.place == "machine":
        return LocalFolder(parsed, Path("/") / parsed.path)
    if scheme.mount:
        root = mounted(contract.MOUNT_ROOTS[scheme.mount]) / parsed.authority
        return LocalFolder(parsed, root / parsed.path, root)
    if scheme.place == "objects":
        from tidemill_runtime.storage import objects  # the library weighs 30 MB; mounted stores do not need it

        return objects.ObjectFolder(parsed, secret_values(secret, parsed.scheme))
    raise StorageError("InvalidUri", f"{parsed} is not a folder of files", retriable=False)


def open_parent(uri: str | Uri, secret: str | None = None) -> tuple[Folder, str]:
    """Return the folder that holds a URI's last path part, and that part."""
    parsed = parse_uri(uri) if isinstance(uri, str) else uri
    parent, _, name = parsed.path.rpartition("/")
    return open_folder(Uri(parsed.scheme, parsed.authority, parent), secret), name
