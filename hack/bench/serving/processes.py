"""Server processes: started, watched for their first right answer, weighed, and ended with all their children."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from hack.bench.serving.generator import Form

_PROC = Path("/proc")
_LOOK_AGAIN_SECONDS = 0.005
_TAIL = 1500  # characters of a log that are shown


class ServerError(RuntimeError):
    """A server did not start, or died; says what it printed last."""


class ServerProcess:
    """A process in a session of its own, so that its children end with it."""

    def __init__(self, command: Sequence[str], variables: Mapping[str, str], folder: Path) -> None:
        """Start at once; output goes to an unnamed file, which is shown when something fails."""
        self.log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  closed in stop
        self.started = time.monotonic()
        self._process = subprocess.Popen(
            list(command),
            env={**os.environ, **variables},
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=self.log,
            start_new_session=True,
        )

    def check(self) -> None:
        """Raise ServerError when the process has ended."""
        if (code := self._process.poll()) is not None:
            raise ServerError(f"{self._process.args} ended with {code}: {self.tail()}")  # type: ignore[str-bytes-safe]

    def tail(self) -> str:
        """Return the end of what was printed."""
        self.log.seek(0)
        return self.log.read().decode(errors="replace")[-_TAIL:]

    def pids(self) -> list[int]:
        """Return the process and all its descendants."""
        return descendants(self._process.pid)

    def stop(self) -> None:
        """End the process politely, then every process of its session."""
        family = self.pids()
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(15)
        for pid in family:
            # A pid is only trusted while it is still in the session that was made for this server.
            with contextlib.suppress(OSError):
                if os.getsid(pid) == self._process.pid:
                    os.kill(pid, signal.SIGKILL)
        self._process.wait(15)
        self.log.close()


def descendants(pid: int) -> list[int]:
    """Return a process and its descendants, parents first."""
    children: dict[int, list[int]] = {}
    for entry in _PROC.iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, IndexError, ValueError):
                # The name in parentheses may hold spaces; the parent is the second field after it.
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(entry.name))
    found = [pid]
    for one in found:
        found += children.get(one, [])
    return found


def memory_mib(pids: Sequence[int]) -> float:
    """Return what a family of processes occupies, in MiB: pages that its members share count once.

    Not the proportional set size, which gives a part of each library to strangers that happen to have it mapped, too.
    """
    anonymous, files = 0, dict[str, int]()
    for pid in pids:
        with contextlib.suppress(OSError):
            anonymous += _kib((_PROC / str(pid) / "smaps_rollup").read_text(), "Pss_Anon")
            for mapping, kib in file_pages((_PROC / str(pid) / "smaps").read_text()).items():
                files[mapping] = max(files.get(mapping, 0), kib)
    return (anonymous + sum(files.values())) / 1024


def file_pages(smaps: str) -> dict[str, int]:
    """Return KiB of file (or shared) pages in memory by mapping: offset, device, inode and path."""
    found: dict[str, int] = {}
    for block in re.split(r"\n(?=[0-9a-f]+-[0-9a-f]+ )", smaps):
        _, _, where = block.partition("\n")[0].split(maxsplit=2)
        kib = _kib(block, "Rss") - _kib(block, "Anonymous")
        if kib > 0:
            found[where] = found.get(where, 0) + kib
    return found


def _kib(text: str, name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+) kB$", text, re.MULTILINE)
    return int(found[1]) if found else 0


def cpu_seconds(pids: Sequence[int]) -> float:
    """Return user and system time of processes since they started."""
    ticks = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def free_ports(count: int) -> list[int]:
    """Return ports that nothing listens on."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(s.getsockname()[1]) for s in sockets]
    for s in sockets:
        s.close()
    return ports


def ask(port: int, form: Form, timeout: float = 10.0) -> tuple[int, bytes]:
    """Post a form's first request on a connection of its own; return status and body.

    Raises:
        OSError: nothing listens, or the answer broke off.
    """
    import http.client

    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        body = form.bodies[0].encode()
        # In small letters, as the generator writes it; the barest floor knows no others.
        connection.request("POST", form.target, body, {**form.headers, "content-length": str(len(body))})
        reply = connection.getresponse()
        return reply.status, reply.read()
    except http.client.HTTPException as error:
        raise OSError(str(error)) from error
    finally:
        connection.close()


def wait_until_right(process: ServerProcess, port: int, form: Form, limit: float = 90.0) -> float:
    """Ask until the answer is right; return the seconds since the process was started.

    Raises:
        ServerError: the process ended, or time is up.
    """
    last = "nothing listens"
    while time.monotonic() - process.started < limit:
        process.check()
        with contextlib.suppress(OSError):
            status, answer = ask(port, form)
            if status == 200 and form.is_right(0, answer):
                return time.monotonic() - process.started
            last = f"{status} {answer[:300]!r}"
        time.sleep(_LOOK_AGAIN_SECONDS)
    raise ServerError(f"no answer within {limit:g} s, last: {last}; it printed: {process.tail()}")
