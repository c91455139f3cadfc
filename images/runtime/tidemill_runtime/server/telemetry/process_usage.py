"""What the server's processes use together, read from /proc: Linux only, standard library only.

Memory that processes share after a fork would be counted once for each in their resident sizes; the kernel's
proportional set size divides it among them. Processor time of workers that ended stays in the sum.
"""

import os
import resource
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
_UTIME, _STIME, _CUTIME, _CSTIME, _START, _VSIZE, _RSS = 11, 12, 13, 14, 19, 20, 21  # fields after "(name) "


@dataclass(frozen=True)
class Usage:
    """Sums over processes; `start_seconds` is the first one's, since the epoch."""

    virtual_bytes: float
    resident_bytes: float
    cpu_seconds: float
    start_seconds: float
    open_files: float
    max_files: float


def usage(workers: list[int]) -> Usage | None:
    """Return what this process and its workers use, those that just ended left out; None where there is no /proc."""
    own, others = _consistent(workers)
    if own is None:
        return None
    every = [own, *others.values()]
    ticks = os.sysconf("SC_CLK_TCK")
    times = sum(int(f[_UTIME]) + int(f[_STIME]) for f in every) + int(own[_CUTIME]) + int(own[_CSTIME])
    ids = [os.getpid(), *others]
    return Usage(
        virtual_bytes=sum(int(f[_VSIZE]) for f in every),
        resident_bytes=sum(
            resident_bytes(process, fields, share=bool(others)) for process, fields in zip(ids, every, strict=True)
        ),
        cpu_seconds=times / ticks,
        start_seconds=_boot_seconds() + int(own[_START]) / ticks,
        open_files=sum(_open_files(process) for process in ids),
        max_files=len(ids) * resource.getrlimit(resource.RLIMIT_NOFILE)[0],
    )


def resident_bytes(process: int, fields: list[str], *, share: bool) -> float:
    """Return the resident size; with `share` only this process's share of what it shares with others."""
    if share:
        try:
            for line in (_PROC / str(process) / "smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    return int(line.split()[1]) * 1024
        except OSError:  # a kernel without it, or a process that just ended
            pass
    return int(fields[_RSS]) * os.sysconf("SC_PAGE_SIZE")


def _consistent(workers: list[int]) -> tuple[list[str] | None, dict[int, list[str]]]:
    """Return the fields of this process and of its workers, such that each worker's time counts exactly once."""
    own, others = _stat(os.getpid()), dict[int, list[str]]()
    for _ in range(3):
        before = own
        others = {worker: fields for worker in workers if (fields := _stat(worker)) is not None}
        own = _stat(os.getpid())
        if before is None or own is None or before[_CUTIME : _CSTIME + 1] == own[_CUTIME : _CSTIME + 1]:
            break
    return own, others


def _stat(process: int) -> list[str] | None:
    try:
        return (_PROC / str(process) / "stat").read_text().rpartition(") ")[2].split()
    except OSError:
        return None


def _open_files(process: int) -> int:
    try:
        return len(os.listdir(_PROC / str(process) / "fd"))  # noqa: PTH208  names only, many of them
    except OSError:
        return 0


def _boot_seconds() -> float:
    for line in (_PROC / "stat").read_text().splitlines():
        if line.startswith("btime "):
            return float(line.split()[1])
    return 0.0
