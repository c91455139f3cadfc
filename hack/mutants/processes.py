"""Many short processes forked from this one, a few at a time, each with a limit of its own."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

T = TypeVar("T")

TIMED_OUT = -1
BROKEN = 70
"""The work itself raised."""
_LOOK_SECONDS = 0.003
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Limits:
    """How long a process may take."""

    wall_seconds: float
    cpu_seconds: float


@dataclass
class _Running(Generic[T]):
    task: T
    until: float
    scratch: Path


def forked(
    tasks: Iterable[tuple[T, Limits]], work: Callable[[T], int], jobs: int, scratch: Path
) -> Iterator[tuple[T, int]]:
    """Do each task in a process of its own, `jobs` at a time; yield tasks with what `work` returned, as they end.

    TIMED_OUT stands for those that took longer than their limits, BROKEN for work that raised or ended by a signal. The
    processes say nothing, and write temporary files of pytest into folders of their own below `scratch`.
    """
    waiting = iter(tasks)
    running: dict[int, _Running[T]] = {}
    try:
        while True:
            while len(running) < jobs and (found := next(waiting, None)) is not None:
                task, limits = found
                folder = Path(tempfile.mkdtemp(dir=scratch))
                pid = os.fork()
                if pid == 0:
                    _be_quiet(limits, folder)
                    _end(work, task)
                running[pid] = _Running(task, time.monotonic() + limits.wall_seconds, folder)
            if not running:
                return
            for pid in list(running):
                code = _ended(pid, running[pid].until)
                if code is not None:
                    done = running.pop(pid)
                    shutil.rmtree(done.scratch, ignore_errors=True)
                    yield done.task, code
            time.sleep(_LOOK_SECONDS)
    finally:
        for pid, left in running.items():
            _kill(pid)
            shutil.rmtree(left.scratch, ignore_errors=True)


def _be_quiet(limits: Limits, folder: Path) -> None:
    os.setsid()
    if sys.platform == "linux":
        # Ends with its parent, also when that is killed.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))
    nowhere = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(nowhere, number)
    whole = int(limits.cpu_seconds) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (whole, whole))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.environ["PYTEST_DEBUG_TEMPROOT"] = str(folder)


def _end(work: Callable[[T], int], task: T) -> None:
    """Never returns: what the process was forked from must not go on here."""
    code = BROKEN
    try:
        code = work(task)
    finally:
        os._exit(code)


def _ended(pid: int, until: float) -> int | None:
    """Return how a process ended; None while it runs."""
    ended, status = os.waitpid(pid, os.WNOHANG)
    if ended == 0:
        if time.monotonic() < until:
            return None
        _kill(pid)
        return TIMED_OUT
    if os.WIFSIGNALED(status):
        return TIMED_OUT if os.WTERMSIG(status) in (signal.SIGXCPU, signal.SIGKILL) else BROKEN
    return os.WEXITSTATUS(status)


def _kill(pid: int) -> None:
    """The process and all that it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, 0)
