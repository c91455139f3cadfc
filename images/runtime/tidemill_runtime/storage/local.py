"""Folders of mounted file systems: claims, ConfigMaps and, outside a cluster, any folder."""

import fcntl
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from tidemill_contracts.storage import Uri
from tidemill_runtime.storage.base import CHUNK, Entry, StorageError, too_many, translate


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

    def named(self, names: frozenset[str], most: int) -> tuple[list[Entry], list[str]]:
        """Return the files of these names, and the keys of what has one and is no file of this store."""
        found, odd, seen = [], [], 0
        self._check(self.path)
        for folder, folders, files in os.walk(self.path):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            seen += len(files) + len(folders)
            if seen > most:
                raise too_many(self.uri, most)
            for name in names.intersection([*files, *folders]):
                file = Path(folder) / name
                key = file.relative_to(self.path).as_posix()
                try:
                    entry = self._entry(key, file) if file.is_file() else None
                except (OSError, StorageError):  # out of the store, in a circle, not ours to look at, or gone
                    entry = None
                if entry is None:
                    odd.append(key)
                else:
                    found.append(entry)
        return sorted(found, key=lambda entry: entry.key), sorted(odd)

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

    def end(self, entry: Entry, size: int) -> bytes:
        """Return the last bytes of a file."""
        with self.opened(entry.key) as file:
            file.seek(max(entry.size - size, 0))
            return file.read(size)

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
            self._check(held, parent)
            yield held
        finally:
            os.close(descriptor)

    def _check(self, path: Path, named: Path | None = None) -> None:
        """Refuse a path that leads out of the claim; the message has the link in it, or in `named`.

        Raises:
            StorageError: LinkRefused.
        """
        root = self.root
        if root is None or not _leads_out(path, root):
            return
        where = f"{self.uri.scheme}://{self.uri.authority}"
        shown = named or path
        name = f"{where}/{_link(shown, root).relative_to(root)}" if shown.is_relative_to(root) else str(self.uri)
        raise StorageError("LinkRefused", f"{name} is a link that leads out of {where}", retriable=False)

    def _check_open(self, descriptor: int, key: str) -> None:
        self._check(Path(f"/proc/self/fd/{descriptor}"), self.path / key)
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


def write_durably(path: Path, content: bytes | Path) -> None:
    """Write a file and flush it to the disk, so that a later rename cannot expose an empty one.

    `content`: what it is to hold, or a local file to copy.
    """
    with path.open("wb") as file:
        if isinstance(content, bytes):
            file.write(content)
        else:
            with content.open("rb") as source:
                shutil.copyfileobj(source, file, CHUNK)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(path: Path) -> None:
    """Flush a folder's entries to the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _leads_out(path: Path, root: Path) -> bool:
    try:
        return not path.resolve().is_relative_to(root.resolve())
    except (OSError, RuntimeError):  # a circle of links
        return True


def _link(path: Path, root: Path) -> Path:
    """The first part of a path below `root` that leads out of it: the link itself, not what lies behind it."""
    parts = (part for part in reversed((path, *path.parents)) if part != root and part.is_relative_to(root))
    return next((part for part in parts if _leads_out(part, root)), path)
