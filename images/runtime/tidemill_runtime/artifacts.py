"""Reading a model version so that nothing unverified is ever loaded.

Order of checks: marker, manifest digest, digest of every file; only then does a caller get a folder.
Files are copied to a private local folder while they are hashed, so what was verified is what is
loaded, even if the store changes a moment later. This module loads no model and imports no numeric
library; `trainer.publish` is the writing side.
"""

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from tidemill_contracts import artifact, digests
from tidemill_contracts.artifact import MANIFEST_FILE, MARKER_FILE, ModelManifest
from tidemill_contracts.counts import counted
from tidemill_runtime.storage import base, folders
from tidemill_runtime.storage.base import Folder, StorageError

_MOST_FILES = 1000


class ArtifactError(Exception):
    """A version may not be loaded. `reason`: NotFound, Incomplete, DigestMismatch, InvalidManifest."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True)
class Version:
    """A verified copy of a version: every file named by the manifest, and the manifest itself, lies in `folder`."""

    folder: Path
    manifest: ModelManifest
    digest: str

    def path(self, name: str) -> Path:
        """Return the local path of a file.

        Raises:
            ArtifactError: InvalidManifest, the manifest lists no such file.
        """
        if name not in self.manifest.files:
            listed = ", ".join(sorted(self.manifest.files))
            raise ArtifactError("InvalidManifest", f"version {self.digest} has no {name}; it has {listed}")
        return self.folder / name

    def reference(self) -> bytes:
        """Return the content of `reference.json`."""
        return self.path(artifact.REFERENCE_FILE).read_bytes()

    def sample(self) -> artifact.Sample:
        """Return the warm-up rows."""
        return artifact.Sample.from_json(self.path(artifact.SAMPLE_FILE).read_bytes())


class TooLargeError(Exception):
    """What is copied has more bytes than the caller takes; the message says how many those are."""


class Allowance:
    """Bytes that a copy may still take; `most` None: any number."""

    def __init__(self, most: int | None, what: str) -> None:
        self._most = most
        self._taken = 0
        self._what = what

    def take(self, piece: bytes) -> None:
        """Count a piece.

        Raises:
            TooLargeError: there are too many.
        """
        self._taken += len(piece)
        if self._most is not None and self._taken > self._most:
            raise TooLargeError(f"{self._what} has more than {counted(self._most, 'byte')}, the most that is taken")


def open_version(
    uri: str, digest: str, secret: str | None = None, *, into: Path | None = None, most: int | None = None
) -> Version:
    """Return a verified local copy of the version in the folder at `uri`.

    `uri` is the version's own folder (`TrainingResult.uri`), `digest` the expected `sha256:<hex>` of its
    manifest. `into` is an empty or absent local folder for the copy; default: a new temporary folder,
    which the caller removes when done. `most`: bytes that all its files together may have.

    Raises:
        ArtifactError: the version is absent, half written or not what `digest` says.
        TooLargeError: it has more than `most` bytes.
        StorageError: the store does not answer, refuses, or the local disk is full.
    """
    wanted = _digest(digest, "the expected digest")
    folder = folders.open_folder(uri, secret)
    _check_marker(folder, wanted)
    target = into if into is not None else Path(tempfile.mkdtemp(prefix="tidemill-version-"))
    allowance = Allowance(most, f"the version at {folder.uri}")
    try:
        target.mkdir(parents=True, exist_ok=True)
        manifest = _copy_manifest(folder, wanted, target, allowance)
        for name, expected in sorted(manifest.files.items()):
            _compare(folder, name, _copy(folder, name, target, allowance), expected)
    except BaseException as error:
        if into is None:
            shutil.rmtree(target, ignore_errors=True)
        if isinstance(error, OSError):
            raise base.translate(error, f"cannot write {target}") from error
        raise
    return Version(target, manifest, wanted)


def read_manifest(folder: Folder, content: bytes) -> ModelManifest:
    """Return a parsed manifest whose file names stay inside the folder.

    Raises:
        ArtifactError: InvalidManifest.
    """
    try:
        manifest = ModelManifest.from_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ArtifactError("InvalidManifest", f"{folder.uri.child(MANIFEST_FILE)}: {where}: {first['msg']}") from error
    if len(manifest.files) > _MOST_FILES:
        text = (
            f"{folder.uri.child(MANIFEST_FILE)}: files: {len(manifest.files)} of them; at most {_MOST_FILES} are read"
        )
        raise ArtifactError("InvalidManifest", text)
    for name, value in manifest.files.items():
        if "/" in name or "\\" in name or name.startswith(".") or name in ("", MANIFEST_FILE, MARKER_FILE):
            raise ArtifactError(
                "InvalidManifest", f"{folder.uri.child(MANIFEST_FILE)}: files: {name!r} is not a file name"
            )
        _digest(value, f"{folder.uri.child(MANIFEST_FILE)}: files.{name}")
    return manifest


def _check_marker(folder: Folder, digest: str) -> None:
    try:
        marker = base.beginning(folder, MARKER_FILE).decode("utf-8", "replace").strip()
    except StorageError as error:
        if error.reason != "NotFound":
            raise
        if folder.files():
            raise ArtifactError(
                "Incomplete", f"{folder.uri} has no {MARKER_FILE}: it was never fully written"
            ) from error
        raise ArtifactError("NotFound", f"there is no version at {folder.uri}") from error
    if marker != digest:
        raise ArtifactError(
            "DigestMismatch", f"{folder.uri.child(MARKER_FILE)} says {marker[:80]!r}, expected {digest!r}"
        )


def _copy_manifest(folder: Folder, digest: str, target: Path, allowance: Allowance) -> ModelManifest:
    found = _copy(folder, MANIFEST_FILE, target, allowance)
    _compare(folder, MANIFEST_FILE, found, digest)
    return read_manifest(folder, (target / MANIFEST_FILE).read_bytes())


def _copy(folder: Folder, name: str, target: Path, allowance: Allowance) -> str:
    try:
        return base.download(folder, name, target / name, allowance.take)
    except StorageError as error:
        if error.reason != "NotFound":
            raise
        raise ArtifactError("Incomplete", f"{folder.uri.child(name)} is missing") from error


def _compare(folder: Folder, name: str, found: str, expected: str) -> None:
    if found != expected:
        text = f"{folder.uri.child(name)} has digest {found}, expected {expected}: it changed after it was registered"
        raise ArtifactError("DigestMismatch", text)


def _digest(digest: str, what: str) -> str:
    try:
        digests.digest_hex(digest)
    except ValueError as error:
        raise ArtifactError("InvalidManifest", f"{what}: {error}") from error
    return digest
