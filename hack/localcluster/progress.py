"""What a person sees while a cluster comes up: one line a step on stderr, with the seconds since the start.

Nothing here may write to stdout: `kubeconfig` prints a path there for scripts.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path


class LocalClusterError(Exception):
    """Something a person has to do or to know; the message says what, with the exact command where there is one."""


class Progress:
    """Prints steps with elapsed seconds. `quiet` keeps tests' output clean."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._start = time.monotonic()
        self._quiet = quiet

    def step(self, message: str) -> None:
        if not self._quiet:
            elapsed = time.monotonic() - self._start
            print(f"[{elapsed:6.1f}s] {message}", file=sys.stderr, flush=True)


def wait_until(
    what: str,
    ready: Callable[[], bool],
    *,
    seconds: float,
    log: Path | None = None,
    alive: Callable[[], bool] | None = None,
    every: float = 0.1,
) -> None:
    """Poll `ready` until it holds.

    Raises LocalClusterError after `seconds`, or at once when `alive` says that the process behind it has ended;
    the message carries the last lines of `log`.
    """
    deadline = time.monotonic() + seconds
    while not ready():
        ended = alive is not None and not alive()
        if ended or time.monotonic() > deadline:
            reason = "its process ended" if ended else f"not within {seconds:.0f} s"
            raise LocalClusterError(f"{what}: {reason}{last_lines(log)}")
        time.sleep(every)


def last_lines(log: Path | None, count: int = 15) -> str:
    """The end of a log as a suffix for an error message; empty when there is no log."""
    if log is None or not log.exists():
        return ""
    lines = log.read_text(errors="replace").splitlines()[-count:]
    return f"; last lines of {log}:\n  " + "\n  ".join(lines)
