"""The monitor as a process: killed at any moment it loses nothing it acknowledged and doubles nothing."""

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.support import packages
from tests.support.monitoring import DOORS, batch, config, reference

from tidemill_contracts.inference import MONITOR_CONFIG_ENV
from tidemill_contracts.monitoring import MonitorConfig, MonitorReport, PerformanceConfig
from tidemill_contracts.ports import PORTS

KILLS = 5
SENDERS = 3


class Process:
    """`python -m tidemill_runtime.monitor` on free ports of this machine; `url` is where servers report."""

    def __init__(self, settings: MonitorConfig) -> None:
        with contextlib.ExitStack() as held:
            free = {p.name: held.enter_context(socket.create_server(("127.0.0.1", 0))) for p in PORTS["monitor"]}
            self.ports = {name: int(one.getsockname()[1]) for name, one in free.items()}
        self.url = f"http://127.0.0.1:{self.ports['http']}"
        self._environment = {
            **os.environ,
            **packages.as_in_image("monitor"),
            MONITOR_CONFIG_ENV: settings.to_json(),
            "TIDEMILL_MONITOR_HOST": "127.0.0.1",
            **{f"TIDEMILL_MONITOR_{name.upper()}_PORT": str(port) for name, port in self.ports.items()},
        }
        self._client = httpx.Client(timeout=5)
        self.process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "tidemill_runtime.monitor"]
        return subprocess.Popen(command, env=self._environment, stderr=subprocess.DEVNULL)

    def address(self, path: str) -> str:
        """Return the address of a path behind the usual port for it."""
        return f"http://127.0.0.1:{self.ports[DOORS.get(path, 'http')]}{path}"

    def wait_ready(self) -> None:
        """Wait until it answers."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                if self._client.get(self.address("/readyz")).status_code == 200:
                    return
            except httpx.TransportError:
                assert self.process.poll() is None, "the monitor ended"
            time.sleep(0.05)
        raise AssertionError("the monitor did not get ready")

    def kill(self) -> None:
        """Kill it without warning."""
        self.process.kill()
        self.process.wait(10)

    def close(self) -> None:
        """Kill it for good."""
        self.kill()
        self._client.close()

    def restart(self) -> None:
        """Start it again on the same database and port."""
        self.process = self._start()
        self.wait_ready()

    def report(self) -> MonitorReport:
        """Return its report."""
        return MonitorReport.model_validate_json(self._client.get(self.address("/v1/report")).content)

    def post(self, path: str, body: str) -> int:
        """Post until there is an answer, as a server does; return its status."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                status = self._client.post(self.address(path), content=body).status_code
            except httpx.TransportError:
                status = 0
            if status not in (0, 503):
                return status
            time.sleep(0.05)
        raise AssertionError("no answer")


@pytest.fixture
def monitor(tmp_path: Path) -> Any:
    performance = PerformanceConfig(metric="accuracy", min=0, min_labels=10**6)  # all labels are shown, none judged
    process = Process(config(tmp_path, retention_seconds=10**9, window_seconds=10**9, performance=performance))
    try:
        process.wait_ready()
        yield process
    finally:
        process.close()


def test_a_killed_monitor_loses_nothing_it_acknowledged_and_doubles_nothing(monitor: Process) -> None:
    """Senders post batches and labels and repeat each until it is acknowledged, while the monitor is killed."""
    assert monitor.post("/v1/references", reference().to_json()) == 201
    stop = threading.Event()
    acknowledged: list[int] = []
    answers: list[int] = []

    def send(sender: int) -> None:
        number = sender
        while not stop.is_set():
            rows = 1 + number % 50
            records = batch(number, rows, batch_id=f"pod-{sender}/7/{number}").model_dump_json()
            label = json.dumps([{"id": f"p{number}/0", "label": 1}])
            posts = [("/v1/batches", records), ("/v1/feedback", label)]
            for path, body in posts if number % 2 else reversed(posts):  # some labels come before their prediction
                answers.append(monitor.post(path, body))
            acknowledged.append(number)
            number += SENDERS

    senders = [threading.Thread(target=send, args=(n,)) for n in range(SENDERS)]
    for sender in senders:
        sender.start()
    moments = random.Random(1)
    for kill in range(1, KILLS + 1):
        wait_for(lambda wanted=10 * kill: len(acknowledged) >= wanted)
        time.sleep(moments.uniform(0, 0.05))  # anywhere between two commits
        monitor.kill()
        monitor.restart()
    wait_for(lambda: len(acknowledged) >= 10 * (KILLS + 1))
    stop.set()
    for sender in senders:
        sender.join(60)

    assert set(answers) == {200, 202} or set(answers) == {202}  # 200: was committed before a kill ate the answer
    (version,) = monitor.report().versions
    expected = sum(1 + number % 50 for number in acknowledged)
    (window,) = version.windows
    assert (version.rows, window.rows) == (expected, expected)
    assert version.performance is not None
    assert (version.performance.labels, window.closed) == (len(acknowledged), False)


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait until a condition holds."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "nothing was acknowledged"
        time.sleep(0.005)


def test_sigterm_writes_what_waits_and_ends_cleanly(monitor: Process) -> None:
    assert monitor.post("/v1/references", reference().to_json()) == 201
    assert monitor.post("/v1/batches", batch().model_dump_json()) == 202
    monitor.process.send_signal(signal.SIGTERM)
    assert monitor.process.wait(20) in (0, -signal.SIGTERM)
    monitor.restart()
    assert monitor.report().versions[0].rows == 1_000


@pytest.mark.parametrize(
    ("document", "message"),
    [("", "Invalid JSON"), ('{"namespace": "a"}', "monitor: Field required; deployment: Field required")],
)
def test_a_wrong_configuration_ends_with_the_field(document: str, message: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tidemill_runtime.monitor"],
        env={**os.environ, MONITOR_CONFIG_ENV: document},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert message in done.stderr


def test_the_monitor_imports_nothing_its_image_lacks() -> None:
    absent = ("sklearn", "pandas", "scipy", "kubernetes", "onnxruntime", "obstore", "tidemill")
    code = f"import sys, tidemill_runtime.monitor.__main__; print([m for m in {absent} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]"
