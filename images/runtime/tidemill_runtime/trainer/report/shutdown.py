"""Ending at once, and reporting why, when the pod is stopped.

The handler writes the termination message itself and leaves: user code may catch any exception, and
the kubelet gives a stopped pod thirty seconds at most.
"""

import contextlib
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from tidemill_contracts.training import Failure, TrainingResult
from tidemill_runtime.trainer.report import message

EXIT_TERMINATED = 143  # 128 + SIGTERM, as a shell reports it
children: set[int] = set()  # process groups to stop with us
_folders: set[Path] = set()


@contextlib.contextmanager
def scratch(prefix: str) -> Iterator[Path]:
    """Give a temporary folder that is removed at the end, also when the process gets SIGTERM.

    Raises:
        OSError: there is no room for a folder.
    """
    folder = Path(tempfile.mkdtemp(prefix=prefix))
    _folders.add(folder)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        _folders.discard(folder)


def install() -> None:
    """Handle SIGTERM; as a container's first process we would otherwise ignore it."""
    signal.signal(signal.SIGTERM, _terminate)


def _terminate(_number: int, _frame: FrameType | None) -> None:
    for group in children:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(group, signal.SIGTERM)
    text = "the pod was stopped while the run was going on"
    failure = Failure(category="Infrastructure", reason="Terminated", message=text)
    with contextlib.suppress(OSError):
        message.write(TrainingResult(outcome="Failed", failure=failure))
    for folder in list(_folders):  # after the message: a large folder takes its time
        shutil.rmtree(folder, ignore_errors=True)
    os._exit(EXIT_TERMINATED)
