"""A version is loaded only when marker, manifest and every file are what the digest says."""

import errno
import os
import threading
import time
from pathlib import Path

import pytest

from tidemill_contracts.artifact import ColumnSpec, Lineage, ModelManifest, Sample, Signature
from tidemill_contracts.digests import digest_hex, sha256
from tidemill_runtime import artifacts
from tidemill_runtime.artifacts import ArtifactError
from tidemill_runtime.storage import base, folders
from tidemill_runtime.storage.base import StorageError
from tidemill_runtime.trainer.package import publish

SAMPLE = Sample(columns={"x": [1.0]}, predictions=[2.0])
FILES = {"model.skops": b"model bytes", "sample.json": SAMPLE.to_json().encode(), "reference.json": b"{}"}


def manifest(files: dict[str, bytes] = FILES, pipeline: str = "churn") -> ModelManifest:
    return ModelManifest(
        pipeline=pipeline,
        task="regression",
        formats=("skops",),
        files={name: sha256(content) for name, content in files.items()},
        model_digest=sha256(files["model.skops"]),
        signature=Signature(
            inputs=(ColumnSpec(name="x", datatype="FP64"),), outputs=(ColumnSpec(name="predict", datatype="FP64"),)
        ),
        metrics={"rmse": 0.5},
        lineage=Lineage(data={"d": "sha256:0"}, code="sha256:1", image="trainer"),
    )


@pytest.fixture(params=["pvc", "s3"])
def store(request: pytest.FixtureRequest, mounts: Path) -> tuple[str, str | None]:
    if request.param == "pvc":
        return "pvc://store/team/churn", None
    return f"s3://{request.getfixturevalue('bucket')}/team/churn", "lake"


def test_a_published_version_opens_as_it_was_written(store: tuple[str, str | None], tmp_path: Path) -> None:
    uri = publish.publish(*store, manifest(), FILES)
    digest = manifest().digest()
    assert uri == f"{store[0]}/{digest_hex(digest)}"
    version = artifacts.open_version(uri, digest, store[1], into=tmp_path / "copy")
    assert version.manifest == manifest()
    assert version.path("model.skops").read_bytes() == b"model bytes"
    assert version.sample() == SAMPLE
    assert version.reference() == b"{}"
    with pytest.raises(ArtifactError, match=r"has no model.onnx; it has model.skops, reference.json, sample.json"):
        version.path("model.onnx")


def test_publishing_twice_is_harmless(store: tuple[str, str | None]) -> None:
    assert publish.publish(*store, manifest(), FILES) == publish.publish(*store, manifest(), FILES)
    assert len(folders.open_folder(*store).files()) == 5


@pytest.mark.parametrize("name", ["model.skops", "manifest.json", "COMPLETE"])
def test_a_changed_file_is_refused(store: tuple[str, str | None], name: str) -> None:
    uri = publish.publish(*store, manifest(), FILES)
    folder = folders.open_folder(uri, store[1])
    folder.write(name, base.read(folder, name).replace(b"e", b"E") + b" ")
    with pytest.raises(ArtifactError, match=name) as caught:
        artifacts.open_version(uri, manifest().digest(), store[1])
    assert caught.value.reason == "DigestMismatch"


@pytest.mark.parametrize("name", ["model.skops", "manifest.json", "COMPLETE"])
def test_a_half_written_version_is_refused(store: tuple[str, str | None], name: str) -> None:
    uri = publish.publish(*store, manifest(), FILES)
    folders.open_folder(uri, store[1]).delete([name])
    with pytest.raises(ArtifactError) as caught:
        artifacts.open_version(uri, manifest().digest(), store[1])
    assert caught.value.reason == "Incomplete"


def test_a_version_that_is_not_there(store: tuple[str, str | None]) -> None:
    with pytest.raises(ArtifactError, match="there is no version at") as caught:
        artifacts.open_version(f"{store[0]}/nothing", manifest().digest(), store[1])
    assert caught.value.reason == "NotFound"


def test_another_digest_than_the_markers_is_refused(store: tuple[str, str | None]) -> None:
    uri = publish.publish(*store, manifest(), FILES)
    with pytest.raises(ArtifactError, match="expected 'sha256:0000"):
        artifacts.open_version(uri, "sha256:" + "0" * 64, store[1])
    with pytest.raises(ArtifactError, match="not a digest of the form"):
        artifacts.open_version(uri, "latest", store[1])


def test_a_manifest_cannot_name_files_outside_its_folder(mounts: Path) -> None:
    evil = manifest().model_copy(update={"files": {"../../secret": sha256(b"")}})
    uri = publish.publish("pvc://store/churn", None, evil, {})
    with pytest.raises(ArtifactError, match=r"'../../secret' is not a file name"):
        artifacts.open_version(uri, evil.digest())


def test_a_manifest_of_another_schema_is_named_as_such(mounts: Path) -> None:
    content = b'{"schema_version":9}'
    folder = folders.open_folder("pvc://store/churn/v")
    folder.write("manifest.json", content)
    folder.write("COMPLETE", sha256(content).encode())
    with pytest.raises(ArtifactError, match=r"manifest.json: schema_version: Input should be 1") as caught:
        artifacts.open_version("pvc://store/churn/v", sha256(content))
    assert caught.value.reason == "InvalidManifest"


def test_a_failed_open_leaves_no_temporary_folder(
    mounts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    uri = publish.publish("pvc://store/churn", None, manifest(), FILES)
    folders.open_folder(uri).write("model.skops", b"changed")
    with pytest.raises(ArtifactError):
        artifacts.open_version(uri, manifest().digest())
    assert list((tmp_path / "tmp").iterdir()) == []


def test_concurrent_writers_of_one_digest_end_in_one_whole_version(store: tuple[str, str | None]) -> None:
    files = {**FILES, "model.skops": os.urandom(300_000)}
    errors: list[Exception] = []

    def write() -> None:
        try:
            publish.publish(*store, manifest(files), files)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=write) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    uri = f"{store[0]}/{digest_hex(manifest(files).digest())}"
    assert artifacts.open_version(uri, manifest(files).digest(), store[1]).manifest == manifest(files)
    assert len(folders.open_folder(*store).files()) == 5


def test_publishing_over_a_damaged_version_repairs_it(store: tuple[str, str | None]) -> None:
    uri = publish.publish(*store, manifest(), FILES)
    folders.open_folder(uri, store[1]).write("model.skops", b"changed")
    publish.publish(*store, manifest(), FILES)
    assert artifacts.open_version(uri, manifest().digest(), store[1]).path("model.skops").read_bytes() == b"model bytes"


def test_a_full_volume_fails_the_publication_and_frees_what_it_took(
    mounts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="no space is left on the volume") as caught:
        publish.publish("pvc://store/churn", None, manifest(), FILES)
    assert caught.value.reason == "StorageFull"
    assert list((mounts / "pvc" / "store" / "churn").iterdir()) == []


def test_prune_removes_old_versions_that_nobody_keeps(store: tuple[str, str | None]) -> None:
    kept, dropped = manifest(pipeline="kept"), manifest(pipeline="dropped")
    kept_uri = publish.publish(*store, kept, FILES)
    publish.publish(*store, dropped, FILES)
    folders.open_folder(*store).write("notes.txt", b"not ours")
    assert publish.prune(*store, (kept.digest(),)) == []  # younger than an hour
    later = time.time() + publish.PRUNE_AFTER_SECONDS + 5
    assert publish.prune(*store, (kept.digest(),), now=later) == [dropped.digest()]
    keys = [entry.key for entry in folders.open_folder(*store).files()]
    assert "notes.txt" in keys
    assert not any(key.startswith(digest_hex(dropped.digest())) for key in keys)
    assert artifacts.open_version(kept_uri, kept.digest(), store[1]).manifest == kept


def test_prune_removes_the_leftovers_of_killed_writers(mounts: Path) -> None:
    leftover = mounts / "pvc" / "store" / "churn" / ".writing-abc-1"
    leftover.mkdir(parents=True)
    (leftover / "model.skops").write_bytes(b"half")
    publish.prune("pvc://store/churn", None, ())
    assert leftover.exists()
    publish.prune("pvc://store/churn", None, (), now=time.time() + publish.PRUNE_AFTER_SECONDS + 5)
    assert not leftover.exists()
