"""Several worker processes behind one port, one page and one life, with real processes and real signals."""

import contextlib
import http.client
import json
import os
import signal
import socket
import time
from pathlib import Path
from typing import cast

import pytest
from tests.support import serverprocess
from tests.support.closedloop import BODY, INFER, drain_under_load
from tests.support.serverprocess import ServerProcess, get
from tests.support.versions import Published
from tests.support.waiting import until

from tidemill_contracts.inference import FORM_PATH, ServedForm
from tidemill_runtime.server.host import sockets
from tidemill_runtime.server.host.state import State
from tidemill_runtime.server.process.admin_server import AdminServer
from tidemill_runtime.server.process.prefork import Workers
from tidemill_runtime.server.telemetry import shared_counters


def children(process: int) -> list[int]:
    """Return the ids of a process's children, the oldest first."""
    found = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    return [int(child) for child in found]


def is_running(process: int) -> bool:
    """Return whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except OSError:
        return False


def refuses_connections(port: int) -> bool:
    """Return whether nothing listens on a port."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except ConnectionRefusedError:
        return True
    return False


def metric(server: ServerProcess, name: str, *labels: str) -> float:
    """Return the value of the one sample that has all labels."""
    lines = get(server.admin + "/metrics")[1].decode().splitlines()
    found = [
        line for line in lines if line.startswith((name + "{", name + " ")) and all(part in line for part in labels)
    ]
    assert len(found) == 1, found
    return float(found[0].rpartition(" ")[2])


def counted(server: ServerProcess) -> float:
    return metric(server, "tidemill_predictions_total")


def ask(server: ServerProcess) -> str:
    """Send a request over a connection of its own; return the id of the answer."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    connection.request("POST", INFER, BODY)
    reply = connection.getresponse()
    document = json.loads(reply.read())
    connection.close()
    assert reply.status == 200, document
    found: str = document["id"]
    return found


def test_one_page_counts_what_all_workers_answer(numbers: Published, tmp_path: Path) -> None:
    with serverprocess.running(tmp_path, numbers.config(workers=3)) as server:
        server.wait_ready()
        workers = children(server.process.pid)
        assert len(workers) == 3
        threads = list(Path(f"/proc/{server.process.pid}/task").iterdir())
        assert len(threads) == 2, "the parent has the main and the admin thread, and forks with the main one alone"
        ids = {ask(server) for _ in range(60)}
        assert len(ids) == 60, "each worker makes random ids of its own"
        assert counted(server) == 60
        assert metric(server, "http_request_duration_seconds_count", 'status="200"') == 60
        assert metric(server, "tidemill_model_info", 'runtime="onnxruntime_onnx"', numbers.digest) == 1
        form = ServedForm.from_json(get(server.admin + FORM_PATH)[1])
        assert form == ServedForm(digest=numbers.digest, runtime="ONNX"), "the parent answers for its workers"
        assert metric(server, "tidemill_requests_in_flight") == 0
        resident = metric(server, "process_resident_memory_bytes")
        all_of_them = (server.process.pid, *workers)
        own, pages = (sum(memory(process, kind) for process in all_of_them) for kind in ("Private_", "Rss"))
        # Pages of libraries are shared with whatever else runs them on this machine, too.
        assert own <= resident < 0.8 * pages, "memory that workers share counts once"
        server.terminate()
        assert server.wait() == 0
        assert not any(is_running(worker) for worker in workers)


def memory(process: int, kind: str) -> int:
    """Bytes of a process in the lines of the kernel's summary that begin with `kind`."""
    lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(kind))


def test_what_waits_for_a_worker_that_dies_is_answered_by_its_successor(numbers: Published, tmp_path: Path) -> None:
    with serverprocess.running(tmp_path, numbers.config(workers=2)) as server:
        server.wait_ready()
        for _ in range(10):
            ask(server)
        victim, other = children(server.process.pid)
        os.kill(victim, signal.SIGSTOP)
        waiting = [http.client.HTTPConnection("127.0.0.1", server.port, timeout=20) for _ in range(24)]
        for connection in waiting:  # about half of them lie in the queue of the one that stands still
            connection.request("POST", INFER, BODY)
        time.sleep(0.3)
        assert 0 < counted(server) - 10 < 24
        os.kill(victim, signal.SIGKILL)
        for connection in waiting:
            reply = connection.getresponse()
            assert reply.status == 200, reply.read()
            reply.read()
            connection.close()
        assert counted(server) == 34, "what the dead worker counted stays"
        assert metric(server, "tidemill_worker_deaths_total") == 1
        until(lambda: get(server.admin + "/readyz")[0] == 200)
        after = children(server.process.pid)
        assert other in after
        assert victim not in after
        assert len(after) == 2
        server.terminate()
        assert server.wait() == 0


@pytest.mark.parametrize("attempt", range(2))
def test_no_request_is_lost_while_two_workers_drain(numbers: Published, tmp_path: Path, attempt: int) -> None:
    with serverprocess.running(tmp_path, numbers.config(workers=2, drain_seconds=1.0)) as server:
        server.wait_ready()
        drain_under_load(server)


def test_a_worker_that_dies_while_it_drains_has_a_successor_that_drains(numbers: Published, tmp_path: Path) -> None:
    with serverprocess.running(tmp_path, numbers.config(workers=2, drain_seconds=2.0)) as server:
        server.wait_ready()
        victim, other = children(server.process.pid)
        server.terminate()
        until(lambda: get(server.admin + "/readyz")[0] == 503)
        os.kill(victim, signal.SIGKILL)
        ids = {ask(server) for _ in range(24)}  # about half of them came to the socket of the one that died
        assert len(ids) == 24
        assert is_running(other)
        assert server.wait(30) == 1
        assert server.termination_log.read_text() == "WorkersFailed: 1 worker died while draining"


def test_a_second_signal_hurries_every_worker(numbers: Published, tmp_path: Path) -> None:
    with serverprocess.running(tmp_path, numbers.config(workers=2, drain_seconds=60.0)) as server:
        server.wait_ready()
        server.terminate()
        until(lambda: get(server.admin + "/readyz")[0] == 503)
        server.terminate()
        assert server.wait(30) == 0


def test_no_worker_outlives_its_parent(numbers: Published, tmp_path: Path) -> None:
    with serverprocess.running(tmp_path, numbers.config(workers=2)) as server:
        server.wait_ready()
        workers = children(server.process.pid)
        server.process.kill()
        server.wait()
        until(lambda: not any(is_running(worker) for worker in workers), 5)
        # The first thread of a process that is killed is a zombie a moment before its last thread closes the sockets.
        until(lambda: refuses_connections(server.port), 5)


def test_a_worker_that_stands_still_is_replaced_and_liveness_holds(numbers: Published, tmp_path: Path) -> None:
    with serverprocess.running(tmp_path, numbers.config(workers=2), TIDEMILL_STUCK_SECONDS="2.5") as server:
        server.wait_ready()
        victim = children(server.process.pid)[1]
        os.kill(victim, signal.SIGSTOP)
        until(lambda: victim not in children(server.process.pid))
        until(lambda: len(children(server.process.pid)) == 2)
        assert get(server.admin + "/livez")[0] == 200
        assert get(server.admin + "/readyz")[0] == 200
        ask(server)


def test_workers_that_die_again_and_again_end_the_container(numbers: Published, tmp_path: Path) -> None:
    with serverprocess.running(tmp_path, numbers.config(workers=2)) as server:
        server.wait_ready()
        killed: set[int] = set()

        def running() -> list[int]:
            return [worker for worker in children(server.process.pid) if worker not in killed and is_running(worker)]

        for death in range(6):
            until(lambda: len(running()) == 2)
            if death:
                assert get(server.admin + "/livez")[0] == 200
            victim = running()[0]
            killed.add(victim)
            os.kill(victim, signal.SIGKILL)
        assert server.wait(30) == 1
        message = server.termination_log.read_text()
        assert message == "WorkersFailed: workers died 6 times within 60 s; the last one was killed by signal 9"


def test_a_fork_that_the_system_refuses_is_tried_again_later(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused() -> int:
        raise OSError(11, "Resource temporarily unavailable")

    class Admin:
        paused = staticmethod(contextlib.nullcontext)

    monkeypatch.setattr(os, "fork", refused)
    with sockets.listen(0) as listener:
        cells = shared_counters.SharedCounters(1, shared_counters.GAUGES)
        parent = Workers([listener], State(), cells, cast(AdminServer, Admin()), lambda _: None, 1, 1)
        for deaths in (1, 2):
            parent._start_missing()
            assert (parent.ids, parent.deaths) == ([], deaths)
        assert parent._workers[0].start_at > time.monotonic()
        assert parent._failure is None
