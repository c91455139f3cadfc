"""Processes that outlive their starter are known by pid and start time, never by pid alone."""

import os
import signal
import sys
from pathlib import Path

import pytest
from hack.localcluster.local import host
from hack.localcluster.local.processes import Process, descendants, kill_all, start_time
from hack.localcluster.local.watchdog import watch
from hack.localcluster.progress import LocalClusterError, wait_until


def sleeper(folder: Path, code: str = "import time; time.sleep(60)") -> Process:
    return Process("sleeper", [sys.executable, "-c", code], folder, stop_seconds=0.5)


def test_start_is_idempotent_and_stop_leaves_nothing(tmp_path: Path) -> None:
    process = sleeper(tmp_path)
    process.start()
    pid = process.pid()
    process.start()
    assert process.pid() == pid is not None
    process.stop()
    assert process.pid() is None
    assert start_time(pid) is None
    assert not process.pid_file.exists()


def test_a_process_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('on', flush=True); time.sleep(60)"
    process = sleeper(tmp_path, code)
    process.start()
    wait_until("sleeper", lambda: process.log.read_text() == "on\n", seconds=10)
    process.stop()
    assert not process.running()


def test_a_pid_that_belongs_to_somebody_else_is_never_signalled(tmp_path: Path) -> None:
    process = sleeper(tmp_path)
    process.pid_file.parent.mkdir(parents=True)
    process.pid_file.write_text(f"{os.getpid()} another-boot:1\n")
    assert not process.running()
    process.signal(signal.SIGKILL)
    process.stop()
    assert not process.pid_file.exists()


@pytest.mark.parametrize("content", ["", "x", "1 2 3"])
def test_a_broken_pid_file_means_not_running(tmp_path: Path, content: str) -> None:
    process = sleeper(tmp_path)
    process.pid_file.parent.mkdir(parents=True)
    process.pid_file.write_text(content)
    assert not process.running()


def test_descendants_are_found_and_killed(tmp_path: Path) -> None:
    code = (
        "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']); "
        "print('on', flush=True); time.sleep(60)"
    )
    process = sleeper(tmp_path, code)
    process.start()
    wait_until("sleeper", lambda: process.log.read_text() == "on\n", seconds=10)
    pid = process.pid()
    assert pid is not None
    below = descendants([pid])
    assert len(below) == 1
    kill_all(below)
    assert start_time(below[0]) is None
    process.stop()


def test_a_dead_process_ends_the_wait_at_once_with_its_log(tmp_path: Path) -> None:
    process = sleeper(tmp_path, "import sys; sys.exit('port is taken')")
    process.start()
    with pytest.raises(LocalClusterError, match=r"sleeper: its process ended[\s\S]*port is taken"):
        wait_until("sleeper", lambda: False, seconds=30, log=process.log, alive=process.running)
    process.stop()


def test_the_watchdog_ends_what_a_killed_test_left(tmp_path: Path) -> None:
    folder = tmp_path / "plane"
    parent, left = sleeper(tmp_path / "parent"), sleeper(folder)
    parent.start()
    left.start()
    pid, child = parent.pid(), left.pid()
    assert pid is not None
    assert child is not None
    started = start_time(pid)
    parent.signal(signal.SIGKILL)
    watch(pid, str(started), folder, every=0.01)
    assert start_time(child) is None
    assert not folder.exists()
    parent.stop()


def test_a_cluster_of_another_folder_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = {
        7: ["--config", "/clone/.tidemill/cluster/config/containerd.toml"],
        8: ["--config", "/etc/containerd/config.toml"],
    }
    monkeypatch.setattr(host, "command_lines", lambda _program: lines)
    assert host.other_cluster(Path("/mine")) == Path("/clone/.tidemill/cluster")
    assert host.other_cluster(Path("/clone/.tidemill/cluster")) is None
