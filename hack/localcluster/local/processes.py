"""Background processes that outlive the command that started them, known by pid files.

A pid alone may belong to somebody else after a reboot or a wrap-around, so the file also holds the process's start
time; nothing is ever signalled unless both agree.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path


def start_time(pid: int) -> str | None:
    """Field 22 of /proc/PID/stat (clock ticks since boot) with the boot id; None when there is no such process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None
    # The command name may hold spaces and parentheses: split after the last one.
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] == "Z" else f"{boot}:{fields[19]}"


@dataclass
class Process:
    """One program of the cluster: how to start it and where it leaves its traces."""

    name: str
    command: Sequence[str]
    folder: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    stop_seconds: float = 10.0

    @property
    def log(self) -> Path:
        return self.folder / "logs" / f"{self.name}.log"

    @property
    def pid_file(self) -> Path:
        return self.folder / "pids" / self.name

    def pid(self) -> int | None:
        """The pid when the very process that `start` made is still there."""
        try:
            text, started = self.pid_file.read_text().split()
        except (OSError, ValueError):
            return None
        pid = int(text)
        return pid if start_time(pid) == started else None

    def running(self) -> bool:
        return self.pid() is not None

    def start(self) -> None:
        """Start it unless it runs; stdout and stderr go to the log, which begins anew."""
        if self.running():
            return
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self.pid_file.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("wb") as log:
            child = subprocess.Popen(
                list(self.command),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                env={**os.environ, **self.environment},
                start_new_session=True,  # Ctrl-C in the terminal that ran `up` must not reach it
            )
        self.pid_file.write_text(f"{child.pid} {start_time(child.pid)}\n")
        _children[self.pid_file] = child

    def signal(self, number: signal.Signals) -> None:
        pid = self.pid()
        if pid is not None:
            os.kill(pid, number)

    def stop(self) -> None:
        """SIGTERM, then SIGKILL after `stop_seconds`; fine when it does not run."""
        self.signal(signal.SIGTERM)
        deadline = time.monotonic() + self.stop_seconds
        while self.running() and time.monotonic() < deadline:
            self._reap()
            time.sleep(0.02)
        self.signal(signal.SIGKILL)
        while self.running():
            self._reap()
            time.sleep(0.02)
        self._reap()
        self.pid_file.unlink(missing_ok=True)

    def _reap(self) -> None:
        """A child of this very process stays a zombie until its end is fetched."""
        child = _children.get(self.pid_file)
        if child is not None and child.poll() is not None:
            del _children[self.pid_file]


# Kept so that children of this very process are reaped and no ResourceWarning is raised for those that live on.
_children: dict[Path, subprocess.Popen[bytes]] = {}


def detach_children() -> None:
    """Forget the children that are meant to outlive this process, without a warning at interpreter exit."""
    for child in _children.values():
        if child.poll() is None:
            child.returncode = 0
    _children.clear()


def descendants(roots: Iterable[int]) -> list[int]:
    """All processes below `roots` (not the roots themselves), parents before children."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        children.setdefault(int(fields[1]), []).append(int(entry.name))
    found: list[int] = []
    pending = list(roots)
    while pending:
        for child in children.get(pending.pop(), []):
            found.append(child)
            pending.append(child)
    return found


def command_lines(program: str) -> dict[int, list[str]]:
    """pid → arguments of all processes whose program name starts with `program`."""
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        if Path(words[0]).name.startswith(program):
            found[int(entry.name)] = words[1:]
    return found


def kill_all(pids: Iterable[int]) -> None:
    """SIGKILL each and wait until all are gone (zombies of other parents count as gone)."""
    started = {pid: start_time(pid) for pid in pids}
    for pid in started:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and any(s is not None and start_time(p) == s for p, s in started.items()):
        time.sleep(0.02)
