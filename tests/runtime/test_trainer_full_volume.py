"""A run whose store is full: on a really full file system where the tests may mount one (Linux, as root).

Elsewhere the volume is a folder whose content is counted whenever a file is flushed, which is when a file system
with delayed allocation or a quota says so too.
"""

import errno
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.runtime.conftest import Trainer
from tests.support import training_code

from tidemill_runtime.storage import folders

SIZE = 200 << 10
PAGE = 4 << 10
Fill = Callable[[int], Path]


def mounted(folder: Path) -> bool:
    """Mount a file system of SIZE bytes; False where that is not allowed."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return False
    command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tidemill-test", str(folder)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def used(folder: Path) -> int:
    """Return the bytes of all files, in whole pages."""
    return sum(-(-path.stat().st_size // PAGE) * PAGE for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def fill(mounts: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fill]:
    """Leave some bytes of the claim `store`, which has SIZE, and return the file that takes the others."""
    store = mounts / "pvc" / "store"
    real = mounted(store)
    if not real:
        flush = os.fsync

        def counting(descriptor: int) -> None:
            if used(store) > SIZE:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            flush(descriptor)

        monkeypatch.setattr(os, "fsync", counting)

    def leave(room: int) -> Path:
        ballast = store / "ballast"
        ballast.write_bytes(bytes(SIZE - used(store) - room))
        return ballast

    yield leave
    if real:
        subprocess.run(["umount", "--lazy", str(store)], check=True)


def content(folder: Path) -> dict[str, bytes]:
    """Return all files, hidden ones too."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("room", [0, PAGE, 3 * PAGE])
def test_a_full_volume_fails_the_run_and_shows_nothing_half_written(
    trainer: Trainer, mounts: Path, fill: Fill, room: int
) -> None:
    store = mounts / "pvc" / "store"
    champion = trainer(training_code.TREE)
    ballast = fill(room)
    before = content(store)
    trained = trainer(training_code.LOGISTIC)
    assert (trained.exit_code, trained.result.outcome) == (1, "Failed")
    assert (trained.failure.category, trained.failure.reason) == ("Infrastructure", "StorageFull")
    assert "pvc://store/churn" in trained.failure.message
    assert "no space is left on the volume" in trained.failure.message
    assert (trained.result.uri, trained.result.digest) == (None, None)
    assert content(store) == before
    markers = [e.key for e in folders.open_folder("pvc://store").files() if e.key.endswith("/COMPLETE")]
    assert len(markers) == 1
    assert champion.open().digest == champion.result.digest
    ballast.unlink()
    again = trainer(training_code.LOGISTIC)
    assert (again.exit_code, again.result.outcome) == (0, "Succeeded")
    assert again.open().digest != champion.result.digest


def test_a_full_volume_fails_the_first_run_of_all(trainer: Trainer, mounts: Path, fill: Fill) -> None:
    fill(0)
    trained = trainer(training_code.TREE)
    assert (trained.failure.category, trained.failure.reason) == ("Infrastructure", "StorageFull")
    assert list(content(mounts / "pvc" / "store")) == ["ballast"]
