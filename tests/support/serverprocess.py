"""A model server as a process of its own, on ports of its own, as a container would run it."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support import packages

from tidemill_contracts.inference import SERVER_CONFIG_ENV, ServerConfig


@dataclass
class ServerProcess:
    """The running process; `url` and `grpc_target` are inference, `admin` is health and metrics."""

    process: "subprocess.Popen[bytes]"
    port: int
    grpc_port: int
    admin_port: int
    termination_log: Path
    log: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def grpc_target(self) -> str:
        return f"127.0.0.1:{self.grpc_port}"

    @property
    def admin(self) -> str:
        return f"http://127.0.0.1:{self.admin_port}"

    def wait_ready(self, timeout: float = 120) -> None:
        """Wait until the readiness probe passes.

        Raises:
            AssertionError: the process ended or time ran out; with its log.
        """
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline and self.process.poll() is None:
            if get(self.admin + "/readyz")[0] == 200:
                return
            time.sleep(0.02)
        raise AssertionError(f"not ready (exit {self.process.poll()}): {self.log.read_text()}")

    def wait_in_flight(self, timeout: float = 60) -> None:
        """Wait until a request is being answered.

        Raises:
            AssertionError: time ran out.
        """
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            lines = get(self.admin + "/metrics")[1].decode().splitlines()
            if any(line.startswith("tidemill_requests_in_flight{") and not line.endswith(" 0.0") for line in lines):
                return
            time.sleep(0.01)
        raise AssertionError("no request is in flight")

    def terminate(self) -> None:
        """Send SIGTERM, as the kubelet does."""
        self.process.send_signal(signal.SIGTERM)

    def wait(self, timeout: float = 120) -> int:
        """Return the exit code."""
        return self.process.wait(timeout)


def get(url: str, timeout: float = 5) -> tuple[int, bytes]:
    """Return status and body; status 0 when nothing listens."""
    try:
        with urllib.request.urlopen(url, timeout=timeout) as reply:
            return reply.status, reply.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()
    except OSError:
        return 0, b""


def free_ports(count: int) -> list[int]:
    """Return ports that nothing listens on."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


@contextmanager
def running(folder: Path, config: ServerConfig | str, **environment: str) -> Iterator[ServerProcess]:
    """Start a server with the packages of its image and its files in `folder`; killed at the end if it still runs."""
    port, grpc_port, admin_port = free_ports(3)
    folder.mkdir(parents=True, exist_ok=True)
    log, termination_log = folder / "server.log", folder / "termination-log"
    document = config if isinstance(config, str) else config.to_json()
    variables = {
        **os.environ,
        **packages.as_in_image("server"),
        SERVER_CONFIG_ENV: document,
        "TIDEMILL_HTTP_PORT": str(port),
        "TIDEMILL_GRPC_PORT": str(grpc_port),
        "TIDEMILL_ADMIN_PORT": str(admin_port),
        "TIDEMILL_TERMINATION_LOG": str(termination_log),
        "TMPDIR": str(folder),
        **environment,
    }
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "tidemill_runtime.server"], env=variables, stdout=output, stderr=output
        )
        try:
            yield ServerProcess(process, port, grpc_port, admin_port, termination_log, log)
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()
