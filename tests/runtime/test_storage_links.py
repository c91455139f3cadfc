"""Links inside a claim do not lead out of it, whenever they are put there."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tidemill_contracts.artifact import Lineage, ModelManifest, Signature
from tidemill_contracts.digests import sha256
from tidemill_contracts.training import DataInput
from tidemill_runtime.datasets import sources
from tidemill_runtime.storage import base, folders
from tidemill_runtime.storage.base import StorageError
from tidemill_runtime.trainer.package import publish

URI = "pvc://store"


@pytest.fixture
def claim(mounts: Path) -> Path:
    """A claim beside a Secret and another claim that hold what is not its own."""
    (mounts / "secret" / "lake").mkdir(parents=True)
    (mounts / "secret" / "lake" / "AWS_SECRET_ACCESS_KEY").write_text("hunter2")
    (mounts / "pvc" / "theirs").mkdir()
    (mounts / "pvc" / "theirs" / "model.bin").write_text("theirs")
    return mounts / "pvc" / "store"


@pytest.mark.parametrize(
    ("link", "target", "key"),
    [
        ("data.csv", "../../secret/lake/AWS_SECRET_ACCESS_KEY", "data.csv"),
        ("data.csv", "/etc/hostname", "data.csv"),
        ("data", "../../secret/lake", "data/AWS_SECRET_ACCESS_KEY"),
        ("data", "..", "data/theirs/model.bin"),
        ("data.csv", "/proc/self/environ", "data.csv"),
    ],
)
def test_what_a_link_leads_to_outside_is_not_read(claim: Path, link: str, target: str, key: str) -> None:
    (claim / link).symlink_to(target)
    folder = folders.open_folder(URI)
    actions: list[Callable[[], object]] = [
        lambda: base.read(folder, key),
        lambda: folder.head(key),
        lambda: sources.resolve(DataInput(name="table", uri=f"{URI}/{key}")),
    ]
    for action in actions:
        with pytest.raises(StorageError, match="is a link that leads out of pvc://store") as caught:
            action()
        assert (caught.value.reason, caught.value.retriable) == ("LinkRefused", False)


@pytest.mark.parametrize("link", ["data", "a/data"])
def test_a_refusal_names_the_link_itself(claim: Path, mounts: Path, link: str) -> None:
    """Not what lies behind it: the link is what a person has to remove."""
    (claim / "a").mkdir()
    (claim / link).symlink_to(mounts / "secret" / "lake")
    folder, key = folders.open_folder(URI), f"{link}/AWS_SECRET_ACCESS_KEY"
    for action in (lambda: base.read(folder, key), lambda: folder.head(key), lambda: folder.write(key, b"x")):
        with pytest.raises(StorageError, match=f"pvc://store/{link} is a link that leads out of pvc://store"):
            action()


def test_a_listing_with_a_link_to_the_outside_names_it(claim: Path) -> None:
    (claim / "a").mkdir()
    (claim / "a" / "good.csv").write_text("x\n1\n")
    (claim / "a" / "bad.csv").symlink_to("/etc/hostname")
    with pytest.raises(StorageError, match=r"pvc://store/a/bad\.csv is a link"):
        folders.open_folder(f"{URI}/a").files()
    (claim / "b").symlink_to("/etc")
    with pytest.raises(StorageError, match=r"pvc://store/b is a link"):
        folders.open_folder(f"{URI}/b").files()


def test_links_that_stay_inside_are_followed(claim: Path) -> None:
    (claim / "v1").mkdir()
    (claim / "v1" / "data.csv").write_text("x\n1\n")
    (claim / "latest").symlink_to("v1")
    (claim / "absolute.csv").symlink_to(claim / "v1" / "data.csv")
    folder = folders.open_folder(URI)
    assert base.read(folder, "latest/data.csv") == base.read(folder, "absolute.csv") == b"x\n1\n"
    folder.write("latest/more.csv", b"x\n2\n")
    assert (claim / "v1" / "more.csv").read_bytes() == b"x\n2\n"


def test_a_link_that_takes_a_files_place_after_the_look_is_not_read(
    claim: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (claim / "data.csv").write_text("x\n1\n")
    folder = folders.open_folder(URI)
    real = os.open

    def swapped(path: str | Path, *rest: int, **more: int) -> int:
        if str(path).endswith("data.csv"):
            (claim / "data.csv").unlink()
            (claim / "data.csv").symlink_to("/etc/hostname")
        return real(path, *rest, **more)

    assert folder.head("data.csv") is not None
    monkeypatch.setattr(os, "open", swapped)
    with pytest.raises(StorageError, match="is a link that leads out"):
        base.read(folder, "data.csv")


def test_nothing_is_written_or_emptied_outside(claim: Path, mounts: Path) -> None:
    theirs = mounts / "pvc" / "theirs"
    (claim / "out").symlink_to(theirs)
    folder = folders.open_folder(URI)
    with pytest.raises(StorageError, match="leads out"):
        folder.write("out/model.bin", b"ours")
    with pytest.raises(StorageError, match="leads out"), folder.create("out/new.bin") as file:
        file.write(b"ours")
    with pytest.raises(StorageError, match="leads out"):
        folder.delete(["out/model.bin"])
    (claim / ".result.parquet.partial").symlink_to(theirs / "model.bin")
    with pytest.raises(StorageError), folder.create("result.parquet") as file:
        file.write(b"ours")
    assert (theirs / "model.bin").read_text() == "theirs" and len(list(theirs.iterdir())) == 1


def test_no_version_is_published_or_removed_outside(claim: Path, mounts: Path) -> None:
    theirs = mounts / "pvc" / "theirs"
    (theirs / ".writing-old").mkdir()
    (claim / "churn").symlink_to(theirs)
    manifest = ModelManifest(
        pipeline="churn", task="classification", formats=("skops",), files={"model.skops": sha256(b"x")},
        model_digest=sha256(b"x"), signature=Signature(inputs=(), outputs=()), metrics={},
        lineage=Lineage(data={}, code="sha256:c", image="trainer"),
    )  # fmt: skip
    for action in (
        lambda: publish.publish(f"{URI}/churn", None, manifest, {"model.skops": b"x"}),
        lambda: publish.prune(f"{URI}/churn", None, (), now=1e12),
    ):
        with pytest.raises(StorageError, match="is a link that leads out of pvc://store") as caught:
            action()
        assert caught.value.reason == "LinkRefused"
    assert {path.name for path in theirs.iterdir()} == {"model.bin", ".writing-old"}


def test_a_circle_and_a_pipe_are_errors_and_no_wait(claim: Path) -> None:
    (claim / "a.csv").symlink_to("b.csv")
    (claim / "b.csv").symlink_to("a.csv")
    os.mkfifo(claim / "pipe.csv")
    folder = folders.open_folder(URI)
    with pytest.raises(StorageError):
        base.read(folder, "a.csv")
    with pytest.raises(StorageError, match="no regular file") as caught:
        base.read(folder, "pipe.csv")
    assert caught.value.reason == "InvalidUri"
