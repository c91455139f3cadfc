"""Ending at once and with a word when the pod is told to stop.

The handler writes the termination message itself and leaves: user code may catch any exception, and
the kubelet gives a stopped pod thirty seconds at most.
"""

import contextlib
import os
import signal
from types import FrameType

from tidemill_contracts.training import Failure, TrainingResult
from tidemill_runtime.trainer import report

EXIT_TERMINATED = 143  # 128 + SIGTERM, as a shell says it
children: set[int] = set()  # process groups to stop with us


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
        report.write(TrainingResult(outcome="Failed", failure=failure))
    os._exit(EXIT_TERMINATED)
