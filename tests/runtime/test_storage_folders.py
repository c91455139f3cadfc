"""Folders mean the same on a mounted claim and on a real S3 server."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.runtime.conftest import write_secret
from tests.support.s3 import S3Server

from tidemill_runtime.storage import base, folders
from tidemill_runtime.storage.base import Folder, StorageError


@pytest.fixture(params=["pvc", "s3"])
def folder(request: pytest.FixtureRequest, mounts: Path) -> Folder:
    if request.param == "pvc":
        return folders.open_folder("pvc://store/some/place")
    bucket = request.getfixturevalue("bucket")
    return folders.open_folder(f"s3://{bucket}/some/place", "lake")


def test_what_is_written_is_read_listed_and_deleted(folder: Folder, tmp_path: Path) -> None:
    large = bytes(range(256)) * 10_000  # more than two pieces
    folder.write("a/b.bin", large)
    folder.write("ü č.txt", b"umlaut")
    assert [(e.key, e.size) for e in folder.files()] == [("a/b.bin", 2_560_000), ("ü č.txt", 6)]
    assert [e.key for e in folder.files("a")] == ["a/b.bin"]
    assert base.download(folder, "a/b.bin", tmp_path / "copy") == base.digest(folder, "a/b.bin")
    assert (tmp_path / "copy").read_bytes() == large
    entry = folder.head("a/b.bin")
    assert entry is not None
    assert entry.size == len(large)
    folder.delete(["a/b.bin", "ü č.txt", "never-there"])
    assert folder.files() == []
    assert folder.head("a/b.bin") is None


def test_a_prefix_is_a_folder_and_not_the_start_of_a_name(folder: Folder) -> None:
    folder.write("data/x.csv", b"1")
    folder.write("data-old/x.csv", b"2")
    assert [e.key for e in folder.files("data")] == ["data/x.csv"]
    assert [e.key for e in folder.files("absent")] == []


def test_a_missing_file_is_not_found(folder: Folder) -> None:
    with pytest.raises(StorageError, match=r"absent\.csv: no such") as caught:
        base.read(folder, "absent.csv")
    assert (caught.value.reason, caught.value.retriable) == ("NotFound", False)


def test_a_bucket_that_does_not_exist_is_not_found(bucket: str) -> None:
    with pytest.raises(StorageError) as caught:
        base.read(folders.open_folder("s3://no-such-bucket/x", "lake"), "y")
    assert caught.value.reason == "NotFound"
    with pytest.raises(StorageError, match="no such object or bucket"):
        folders.open_folder("s3://no-such-bucket/x", "lake").files()


def test_a_store_that_does_not_answer_is_tried_again_later(mounts: Path) -> None:
    unused = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_ENDPOINT_URL": "http://127.0.0.1:9"}
    write_secret(mounts, "lake", unused)
    with pytest.raises(StorageError, match="cannot list s3://bucket/x") as caught:
        folders.open_folder("s3://bucket/x", "lake").files()
    assert (caught.value.reason, caught.value.retriable) == ("StorageUnavailable", True)


def test_wrong_credentials_are_refused_without_another_try(bucket: str, mounts: Path, s3_server: S3Server) -> None:
    (mounts / "secret" / "lake" / "AWS_SECRET_ACCESS_KEY").write_text("wrong")
    with pytest.raises(StorageError, match="refused the credentials: SignatureDoesNotMatch") as caught:
        folders.open_folder(f"s3://{bucket}/x", "lake").files()
    assert (caught.value.reason, caught.value.retriable) == ("AccessDenied", False)


@pytest.mark.usefixtures("mounts")
def test_a_secret_that_is_not_there_is_named() -> None:
    with pytest.raises(StorageError, match=r"^Secret lake does not exist or holds none of AWS_ACC") as caught:
        folders.open_folder("s3://bucket/x", "lake")
    assert caught.value.reason == "SecretNotFound"


@pytest.mark.parametrize(
    ("uri", "says"),
    [("ftp://host/x", "expected one of az://"), ("pvc://", "a name must follow"), ("pvc://a/../b", "'..'")],
)
def test_an_unknown_uri_names_the_allowed_ones(uri: str, says: str) -> None:
    with pytest.raises(StorageError, match=says) as caught:
        folders.open_folder(uri)
    assert caught.value.reason == "InvalidUri"


def test_a_builtin_is_no_folder() -> None:
    with pytest.raises(StorageError, match="not a folder of files"):
        folders.open_folder("builtin://iris")


def test_a_full_volume_says_so_and_leaves_nothing(mounts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match=r"pvc://store/x\.bin: no space is left") as caught:
        folders.open_folder("pvc://store").write("x.bin", b"content")
    assert (caught.value.reason, caught.value.retriable) == ("StorageFull", True)
    assert list((mounts / "pvc" / "store").iterdir()) == []


def test_a_mounted_configmap_lists_its_keys_once(mounts: Path) -> None:
    """Kubernetes mounts a ConfigMap as links through a hidden, dated folder."""
    folder = mounts / "configmap" / "table"
    dated = folder / "..2026_11_23"
    dated.mkdir(parents=True)
    (dated / "data.csv").write_text("a\n1\n")
    (folder / "..data").symlink_to(dated.name)
    (folder / "data.csv").symlink_to("..data/data.csv")
    mounted = folders.open_folder("configmap://table")
    assert [e.key for e in mounted.files()] == ["data.csv"]
    assert base.read(mounted, "data.csv") == b"a\n1\n"


def test_reading_an_artifact_imports_no_numeric_library() -> None:
    code = (
        "import sys; from tidemill_runtime import artifacts, storage; "
        "print({'sklearn', 'numpy', 'pandas', 'obstore'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
