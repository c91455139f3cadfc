"""Writing a version so that it becomes visible whole, and removing versions that nobody needs.

A version's folder is named by its digest, so two writers of one digest write equal bytes. On a file
system it is written under a hidden name and renamed; on an object store its marker is put last.
"""

import contextlib
import os
import shutil
import time
from collections.abc import Mapping
from pathlib import Path

from tidemill_contracts.artifact import MANIFEST_FILE, MARKER_FILE, ModelManifest
from tidemill_contracts.digests import digest_hex
from tidemill_runtime import artifacts
from tidemill_runtime.artifacts import ArtifactError, Version
from tidemill_runtime.storage import base, folders, local
from tidemill_runtime.storage.base import Folder, StorageError
from tidemill_runtime.storage.local import LocalFolder

Content = bytes | Path  # of a file: itself, or the local file that holds it
PRUNE_AFTER_SECONDS = 3600  # a version this young may still be on its way into a record
_TEMPORARY = ".writing-"


def publish(store: str, secret: str | None, manifest: ModelManifest, files: Mapping[str, bytes]) -> str:
    """Write a version below the pipeline's folder and return the URI of its own folder.

    Raises:
        StorageError: StorageFull, AccessDenied, LinkRefused, StorageUnavailable. Nothing visible is left behind.
    """
    return _publish(store, secret, manifest.digest(), {**files, MANIFEST_FILE: manifest.canonical_bytes()})


def copy(store: str, secret: str | None, version: Version) -> str:
    """Write a verified copy of a version, byte for byte, below a folder and return the URI of its own folder.

    Raises:
        StorageError: as `publish`.
    """
    names = (*sorted(version.manifest.files), MANIFEST_FILE)
    return _publish(store, secret, version.digest, {name: version.folder / name for name in names})


def _publish(store: str, secret: str | None, digest: str, files: Mapping[str, Content]) -> str:
    parent = folders.open_folder(store, secret)
    name = digest_hex(digest)
    content = {**files, MARKER_FILE: f"{digest}\n".encode()}
    if isinstance(parent, LocalFolder):
        _publish_folder(parent, name, digest, content)
    else:
        for key, value in content.items():  # the marker is the last key
            _put(parent, f"{name}/{key}", value)
    return str(parent.uri.child(name))


def _put(parent: Folder, key: str, content: Content) -> None:
    if isinstance(content, bytes):
        parent.write(key, content)
        return
    with content.open("rb") as source, parent.create(key) as target:
        shutil.copyfileobj(source, target, base.CHUNK)


def _publish_folder(parent: LocalFolder, name: str, digest: str, content: Mapping[str, Content]) -> None:
    try:
        with parent.parent_of(name) as folder:
            _write_whole(parent, folder / name, digest, content)
    except OSError as error:
        raise base.translate(error, f"cannot write {parent.uri.child(name)}") from error


def _write_whole(parent: LocalFolder, target: Path, digest: str, content: Mapping[str, Content]) -> None:
    name = target.name
    temporary = target.with_name(f"{_TEMPORARY}{name[:12]}-{os.urandom(6).hex()}")
    replaced = temporary.with_name(temporary.name + "-replaced")
    try:
        temporary.mkdir()
        for key, value in content.items():
            local.write_durably(temporary / key, value)
        local.sync_folder(temporary)
        if target.exists() and not _intact(parent, name, digest):
            target.rename(replaced)
        try:
            temporary.rename(target)
        except OSError:
            if not _intact(parent, name, digest):
                raise
            os.utime(target / MARKER_FILE)  # a version that was written again is young again
        local.sync_folder(target.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(replaced, ignore_errors=True)


def _intact(parent: Folder, name: str, digest: str) -> bool:
    try:
        version = artifacts.open_version(str(parent.uri.child(name)), digest)
    except (ArtifactError, StorageError):
        return False
    shutil.rmtree(version.folder, ignore_errors=True)
    return True


def prune(store: str, secret: str | None, keep: tuple[str, ...], now: float | None = None) -> list[str]:
    """Remove versions that are not in `keep` and whose marker is older than an hour; return their digests.

    The marker goes first, so that a reader never verifies a half-removed version. Leftovers of writers
    that were killed are removed at the same age.

    Raises:
        StorageError: the store refused or does not answer.
    """
    folder = folders.open_folder(store, secret)
    kept = {digest_hex(digest) for digest in keep}
    oldest = (time.time() if now is None else now) - PRUNE_AFTER_SECONDS
    versions: dict[str, list[base.Entry]] = {}
    for entry in folder.files():
        name, separator, _ = entry.key.partition("/")
        if separator and _is_hex(name) and name not in kept:
            versions.setdefault(name, []).append(entry)
    removed = []
    for name, entries in sorted(versions.items()):
        if max(entry.modified for entry in entries) < oldest:
            folder.delete(sorted((e.key for e in entries), key=lambda key: not key.endswith("/" + MARKER_FILE)))
            removed.append(f"sha256:{name}")
    if isinstance(folder, LocalFolder):
        _remove_leftovers(folder.path, oldest)
    return removed


def _remove_leftovers(folder: Path, oldest: float) -> None:
    for leftover in folder.glob(f"{_TEMPORARY}*"):
        with contextlib.suppress(FileNotFoundError):  # its writer finished meanwhile
            if leftover.stat().st_mtime < oldest:
                shutil.rmtree(leftover, ignore_errors=True)


def _is_hex(name: str) -> bool:
    return len(name) == 64 and set(name) <= set("0123456789abcdef")
