"""Locks, memory of a family of processes, and judging an answer."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hack.bench.serving.environments import LOCKS, NEWEST_PYTHON, version
from hack.bench.serving.generator import Form
from hack.bench.serving.processes import descendants, file_pages, memory_mib
from hack.bench.serving.servers import PROGRAMS

SMAPS = """\
55a0-55b0 r-xp 00000000 fe:01 42                         /usr/bin/python3
Size:                 64 kB
Rss:                  48 kB
Pss:                   3 kB
Anonymous:             0 kB
55b0-55c0 rw-p 00010000 fe:01 42                         /usr/bin/python3
Rss:                  16 kB
Pss:                  16 kB
Anonymous:            12 kB
7f00-7f10 rw-p 00000000 00:00 0 
Rss:                 900 kB
Anonymous:           900 kB
"""  # noqa: W291  as the kernel writes it


def test_pages_of_files_count_whole_whoever_else_has_them() -> None:
    assert file_pages(SMAPS) == {
        "00000000 fe:01 42                         /usr/bin/python3": 48,
        "00010000 fe:01 42                         /usr/bin/python3": 4,
    }


@pytest.mark.slow
def test_what_a_forked_child_shares_counts_once() -> None:
    code = "import os, time; kept = bytearray(os.urandom(64 << 20)); os.fork(); time.sleep(30)"
    with subprocess.Popen([sys.executable, "-c", code]) as process:
        try:
            deadline = time.monotonic() + 20
            while len(family := descendants(process.pid)) < 2 and time.monotonic() < deadline:
                time.sleep(0.05)
            assert len(family) == 2
            assert 64 < memory_mib(family) < 110
        finally:
            for pid in descendants(process.pid)[::-1]:
                os.kill(pid, 15)


@pytest.mark.parametrize(
    ("body", "is_right"),
    [
        (b'{"outputs":[{"data":[1,2]}]}', True),
        (b'{"outputs":[{"data":[[1],[2]]}]}', True),
        (b'{"outputs":[{"data":[2,1]}]}', False),
        (b'{"outputs":[{"data":[1]}]}', False),
        (b'{"outputs":[]}', False),
        (b"{", False),
    ],
)
def test_an_answer_is_its_labels(body: bytes, is_right: bool) -> None:
    assert Form("/", [""], [[1, 2]], ["outputs", 0, "data"]).is_right(0, body) is is_right


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["raise SystemExit(3)", "os._exit(3)"])
def test_samples_are_of_the_function_that_is_busy(tmp_path: Path, ending: str) -> None:
    code = f"""
import os, signal, time
def before():
    while time.process_time() < 0.3:
        pass
def busy():
    end = time.process_time() + 0.5
    while time.process_time() < end:
        pass
before()
os.kill(os.getpid(), {signal.SIGUSR2.value})
busy()
{ending}
"""
    (tmp_path / "worker.py").write_text(code)
    result = tmp_path / "samples.json"
    command = [sys.executable, str(PROGRAMS / "sampled.py"), str(result), "worker"]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(tmp_path)}, timeout=60, check=False)

    assert done.returncode == 3
    found = json.loads(result.read_text())
    functions = {name.rpartition(": ")[2]: counts for name, counts in found["functions"].items()}
    assert found["samples"] > 10
    assert functions["busy"][0] > 0.9 * found["samples"]
    assert functions["<module>"][1] == found["samples"]
    assert "before" not in functions


@pytest.mark.parametrize("name", NEWEST_PYTHON)
def test_locks_pin_everything_with_hashes(name: str) -> None:
    text = (LOCKS / f"{name}.txt").read_text()
    requirements = re.findall(r"^(\S+)==(\S+)((?: .*)?)\\\n    --hash=", text, re.MULTILINE)
    assert len(requirements) == len(re.findall(r"^[a-zA-Z]", text, re.MULTILINE)) > 20
    assert "://" not in text
    pinned = {package: number for package, number, _ in requirements}
    for line in (LOCKS / f"{name}.in").read_text().splitlines():
        package, _, number = line.partition("#")[0].strip().partition("==")
        package = package.partition("[")[0]  # without its extras
        assert package in pinned
        assert number in ("", pinned[package])
    if name not in ("tritonclient", "evidently"):  # these have no models
        assert pinned["scikit-learn"] == version("mlserver", "scikit-learn")
