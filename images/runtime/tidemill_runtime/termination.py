"""How a process that serves or scores ends: an exit code, and a sentence where the kubelet and the operator read it.

Exit codes: 0 done, 42 another start cannot help, 1 it might; see docs/serving-protocol.md, docs/batch-prediction.md.
"""

import ctypes
import logging
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from tidemill_contracts.training import TERMINATION_MESSAGE_LIMIT, TERMINATION_MESSAGE_PATH
from tidemill_runtime.model.errors import StartError
from tidemill_runtime.redaction import redact

TERMINATION_LOG_ENV = "TIDEMILL_TERMINATION_LOG"
_PR_SET_PDEATHSIG = 1
_log = logging.getLogger(__name__)


def run(work: Callable[[], None]) -> int:
    """Do the work of a process and return its exit code; why it failed is logged and left for the kubelet."""
    try:
        work()
    except StartError as error:
        _log.error("%s", error)
        write_message(str(error))
        return error.exit_code
    except Exception as error:
        _log.exception("the process failed")
        write_message(f"InternalError: {type(error).__name__}: {error}")
        return 1
    return 0


def write_message(message: str) -> None:
    """Leave a sentence where the kubelet reads it; without such a file (outside a pod) the log has it alone."""
    named = os.environ.get(TERMINATION_LOG_ENV)
    path = Path(named or TERMINATION_MESSAGE_PATH)
    if not named and not path.exists():
        return
    try:
        path.write_bytes(redact(message).encode()[:TERMINATION_MESSAGE_LIMIT])
    except OSError as error:
        _log.warning("no termination message: %s", error)


def die_with(parent: int) -> None:
    """Have the kernel kill this process when its parent ends, however it ends; `parent` is its process id."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it ended before
        os._exit(1)
