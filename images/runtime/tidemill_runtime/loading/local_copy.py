"""The verified copy of a version on the local disk, for as long as the server reads it and no longer.

The pod's /tmp outlives the container: a copy that stays would pile up over restarts until the kubelet
evicts the pod. The folder is locked while it is in use; the kernel lets go of the lock of a process
that was killed, which distinguishes a leftover from the copy of another server on the same machine.
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tidemill_contracts.inference import ServerConfig
from tidemill_runtime.artifacts import Version
from tidemill_runtime.loading import warm_up

PREFIX = "tidemill-serving-"


@contextmanager
def opened(config: ServerConfig) -> Iterator[Version]:
    """Give the verified copy of the configured version; removed at the end, and those of killed servers before.

    Raises:
        StartError: as `warm_up.open_verified`.
        OSError: there is no room for a folder.
    """
    remove_leftovers()
    folder = Path(tempfile.mkdtemp(prefix=PREFIX))
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield warm_up.open_verified(config, folder)
        finally:
            os.close(descriptor)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def remove_leftovers() -> None:
    """Remove copies whose server is gone. An empty folder stays: its server may be about to lock it."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        try:
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError:  # gone meanwhile, or another user's
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if any(folder.iterdir()):
                shutil.rmtree(folder, ignore_errors=True)
        except OSError:  # in use
            continue
        finally:
            os.close(descriptor)
