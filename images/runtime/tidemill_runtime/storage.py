"""One way to read and write files, wherever a URI says they are: a mounted claim or an object store.

A `Folder` is a URI's place with relative keys below it. Everything above this module (data sets,
versions) works on folders and does not know which kind it has. Numeric libraries are never imported
here, and the object-store library only when a URI asks for it.
"""

import errno
import fcntl
import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from tidemill_contracts import storage as contract
from tidemill_contracts.storage import Uri, parse_uri

MOUNT_ROOT_ENV = "TIDEMILL_MOUNT_ROOT"  # replaces /mnt; for tests and for runs outside a pod
SECRET_NOT_FOUND = "SecretNotFound"  # noqa: S105  a reason
CHUNK = 1 << 20
ADDRESS_REFUSED = "AddressRefused"
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


class StorageError(Exception):
    """A file could not be read or written.

    `reason` is a PascalCase word for status: NotFound, AccessDenied, StorageFull, StorageUnavailable, SecretNotFound,
    InvalidUri, AddressRefused, LinkRefused. `retriable` says whether the same call may work later without
    anybody's help.
    """

    def __init__(self, reason: str, message: str, *, retriable: bool) -> None:
        super().__init__(message)
        self.reason = reason
        self.retriable = retriable


@dataclass(frozen=True)
class Entry:
    """A file below a folder: size in bytes, `modified` in seconds since the epoch, `etag` opaque, of object stores."""

    key: str
    size: int
    modified: float
    etag: str | None = None


class Folder(Protocol):
    """Files by relative key ('a/b.csv'). Every method raises StorageError and nothing else."""

    @property
    def uri(self) -> Uri:
        """Where this folder is, in the form people write."""

    def files(self, prefix: str = "") -> list[Entry]:
        """Return every file below `prefix`, a folder, sorted by key; empty when there is none."""

    def head(self, key: str) -> Entry | None:
        """Return what is known of one file, None when there is no such file."""

    def chunks(self, key: str) -> Iterator[bytes]:
        """Yield the content of a file in pieces of about a mebibyte."""

    def write(self, key: str, content: bytes) -> None:
        """Write one file; readers see the old content or the new one, never a part."""

    def create(self, key: str) -> AbstractContextManager[BinaryIO]:
        """Open a file of any size for writing; it gets its name when the block ends well, and never otherwise."""

    def delete(self, keys: list[str]) -> None:
        """Remove files in the given order; those that are gone already are no error."""


def mounted(constant: str) -> Path:
    """Return the folder that one of `tidemill_contracts.storage`'s roots stands for in this process."""
    root = os.environ.get(MOUNT_ROOT_ENV)
    return Path(root) / constant.removeprefix("/mnt/") if root else Path(constant)


def secret_values(secret: str | None, scheme: str) -> dict[str, str]:
    """Return the keys of a mounted Secret that are for this scheme, without the line end that people leave behind.

    Raises:
        StorageError: AccessDenied, a value is no text; SecretNotFound. A mount without any of the keys is all that a
            pod sees of a Secret that does not exist; somebody may make it at any time.
    """
    if secret is None:
        return {}
    folder, keys = mounted(contract.SECRET_ROOT) / secret, contract.secret_keys(scheme)
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
    """Return the folder at a pvc, configmap, file, s3, gs or az URI; nothing is read yet.

    Raises:
        StorageError: InvalidUri, AccessDenied or SecretNotFound.
    """
    try:
        parsed = parse_uri(uri) if isinstance(uri, str) else uri
    except ValueError as error:
        raise StorageError("InvalidUri", str(error), retriable=False) from error
    if parsed.scheme == "file":
        return LocalFolder(parsed, Path("/") / parsed.path)
    if parsed.scheme in contract.MOUNTED_SCHEMES:
        root = mounted(contract.PVC_ROOT if parsed.scheme == "pvc" else contract.CONFIGMAP_ROOT) / parsed.authority
        return LocalFolder(parsed, root / parsed.path, root)
    if parsed.scheme in contract.OBJECT_STORE_SCHEMES:
        from tidemill_runtime import storage_objects  # the library weighs 30 MB; mounted stores do not need it

        return storage_objects.ObjectFolder(parsed, secret_values(secret, parsed.scheme))
    raise StorageError("InvalidUri", f"{parsed} is not a folder of files", retriable=False)


def open_parent(uri: str | Uri, secret: str | None = None) -> tuple[Folder, str]:
    """Return the folder that holds a URI's last path part, and that part."""
    parsed = parse_uri(uri) if isinstance(uri, str) else uri
    parent, _, name = parsed.path.rpartition("/")
    return open_folder(Uri(parsed.scheme, parsed.authority, parent), secret), name


def read(folder: Folder, key: str) -> bytes:
    """Return the content of a file that fits into memory."""
    return b"".join(folder.chunks(key))


def digest(folder: Folder, key: str, sink: Callable[[bytes], object] | None = None) -> str:
    """Return a file's `sha256:<hex>`, reading it once and handing each piece to `sink`."""
    hasher = hashlib.sha256()
    for piece in folder.chunks(key):
        hasher.update(piece)
        if sink is not None:
            sink(piece)
    return "sha256:" + hasher.hexdigest()


def download(folder: Folder, key: str, destination: Path) -> str:
    """Copy a file to a local path and return the digest of what was copied."""
    destination.parent.mkdir(parents=True, exist_ok=True)
    try:
        with destination.open("wb") as file:
            return digest(folder, key, file.write)
    except OSError as error:
        raise translate(error, f"cannot write {destination}") from error


def translate(error: OSError, doing: str) -> StorageError:
    """Return the StorageError that says what a person can do about an OSError."""
    if error.errno in _FULL:
        return StorageError("StorageFull", f"{doing}: no space is left on the volume", retriable=True)
    if isinstance(error, FileNotFoundError):
        return StorageError("NotFound", f"{doing}: no such file", retriable=False)
    if isinstance(error, PermissionError):
        return StorageError("AccessDenied", f"{doing}: {error.strerror}", retriable=False)
    return StorageError("StorageUnavailable", f"{doing}: {error.strerror or error}", retriable=True)


@dataclass(frozen=True)
class LocalFolder:
    """A folder of a mounted file system. Links may lead anywhere below `root`, and not out of it."""

    uri: Uri
    path: Path
    root: Path | None = None
    """The claim or ConfigMap; None: the whole file system."""

    def files(self, prefix: str = "") -> list[Entry]:
        """Return every regular file below `prefix` but hidden ones, which writers use for what is not finished."""
        base = self.path / prefix
        if not base.is_dir():
            return []
        self._check(base)
        found = []
        try:
            for file in base.rglob("*"):
                relative = file.relative_to(self.path)
                # A mounted ConfigMap is a tree of symbolic links through hidden folders such as ..data.
                if not any(part.startswith(".") for part in relative.parts) and file.is_file():
                    found.append(self._entry(relative.as_posix(), file))
        except OSError as error:
            raise translate(error, f"cannot list {self.uri}") from error
        return sorted(found, key=lambda entry: entry.key)

    def head(self, key: str) -> Entry | None:
        """Return what is known of one file, None when there is no such file."""
        file = self.path / key
        return self._entry(key, file) if file.is_file() else None

    @contextmanager
    def opened(self, key: str) -> Iterator[BinaryIO]:
        """Open a regular file for reading; where it lies is looked at once more when it is open."""
        try:
            # Not blocking: opening a pipe would wait for somebody to write to it.
            descriptor = os.open(self.path / key, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            with os.fdopen(descriptor, "rb") as file:
                self._check_open(descriptor, key)
                yield file
        except OSError as error:
            raise translate(error, f"cannot read {self.uri.child(key)}") from error

    def chunks(self, key: str) -> Iterator[bytes]:
        """Yield the content of a file in pieces of a mebibyte."""
        with self.opened(key) as file:
            while piece := file.read(CHUNK):
                yield piece

    def write(self, key: str, content: bytes) -> None:
        """Write one file through a temporary one, flushed to the disk before it gets its name."""
        try:
            with self.parent_of(key) as folder:
                target = folder / Path(key).name
                temporary = target.with_name(f".{target.name}.{os.urandom(6).hex()}")
                try:
                    write_durably(temporary, content)
                    temporary.replace(target)
                    sync_folder(folder)
                except OSError:
                    temporary.unlink(missing_ok=True)
                    raise
        except OSError as error:
            raise translate(error, f"cannot write {self.uri.child(key)}") from error

    @contextmanager
    def create(self, key: str) -> Iterator[BinaryIO]:
        """Open `.<name>.partial` for writing, for one writer at a time; a killed writer's is written anew."""
        doing = f"cannot write {self.uri.child(key)}"
        try:
            with self.parent_of(key) as folder:
                target = folder / Path(key).name
                partial = target.with_name(f".{target.name}.partial")
                with _locked(partial, doing) as file:
                    try:
                        yield file
                        file.flush()
                        os.fsync(file.fileno())
                        partial.replace(target)
                        sync_folder(folder)
                    except BaseException:
                        partial.unlink(missing_ok=True)
                        raise
        except OSError as error:
            raise translate(error, doing) from error

    def delete(self, keys: list[str]) -> None:
        """Remove files, then the folders that became empty, up to this one."""
        try:
            for key in keys:
                self._check((self.path / key).parent)
                (self.path / key).unlink(missing_ok=True)
            for parent in {p for key in keys for p in Path(key).parents if p != Path()}:
                folder = self.path / parent
                if folder.is_dir() and not any(folder.iterdir()):
                    folder.rmdir()
        except OSError as error:
            raise translate(error, f"cannot remove files of {self.uri}") from error

    def _entry(self, key: str, file: Path) -> Entry:
        self._check(file)
        try:
            status = file.stat()
        except OSError as error:
            raise translate(error, f"cannot read {self.uri.child(key)}") from error
        return Entry(key, status.st_size, status.st_mtime)

    @contextmanager
    def parent_of(self, key: str) -> Iterator[Path]:
        """Make a file's folder and hold it open: a path to that very folder, whatever takes its place meanwhile.

        Raises:
            StorageError: LinkRefused; OSError: it cannot be made.
        """
        parent = (self.path / key).parent
        self._check(parent)
        parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            held = Path(f"/proc/self/fd/{descriptor}")
            self._check(held)
            yield held
        finally:
            os.close(descriptor)

    def _check(self, path: Path) -> None:
        """Refuse a path that leads out of the claim.

        Raises:
            StorageError: LinkRefused.
        """
        if self.root is None:
            return
        try:
            leads_out = not path.resolve().is_relative_to(self.root.resolve())
        except (OSError, RuntimeError):  # a circle of links
            leads_out = True
        if leads_out:
            where = f"{self.uri.scheme}://{self.uri.authority}"
            name = f"{where}/{path.relative_to(self.root)}" if path.is_relative_to(self.root) else str(self.uri)
            raise StorageError("LinkRefused", f"{name} is a link that leads out of {where}", retriable=False)

    def _check_open(self, descriptor: int, key: str) -> None:
        self._check(Path(f"/proc/self/fd/{descriptor}"))
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise StorageError("InvalidUri", f"{self.uri.child(key)} is no regular file", retriable=False)


@contextmanager
def _locked(path: Path, doing: str) -> Iterator[BinaryIO]:
    """Open an empty file that no other process writes to; the kernel lets go of the lock of one that was killed."""
    while True:
        # A link in its place could lead anywhere, and what it leads to would be emptied.
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
        with os.fdopen(descriptor, "ab") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise StorageError("StorageUnavailable", f"{doing}: another process does", retriable=True) from error
            if not path.exists() or path.stat().st_ino != os.fstat(file.fileno()).st_ino:
                continue  # what was opened got its final name meanwhile: it must not be touched
            file.truncate(0)
            yield file
            return


def write_durably(path: Path, content: bytes) -> None:
    """Write a file and flush it to the disk, so that a later rename cannot expose an empty one."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(path: Path) -> None:
    """Flush a folder's entries to the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
