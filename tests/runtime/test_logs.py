"""Log lines of every process have the keys of the contract: each is started, as far as it comes without a cluster."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tidemill_contracts.inference import MONITOR_CONFIG_ENV, SERVER_CONFIG_ENV, ServerConfig
from tidemill_contracts.logs import ERROR, KEYS
from tidemill_contracts.training import CONFIG_ENV, PROBE_ENV
from tidemill_runtime.server.telemetry.access_log import AccessLog
from tidemill_runtime.server.telemetry.metrics import Telemetry

ROOT = Path(__file__).resolve().parents[2]
PROCESSES = {
    "operator": ("tidemill", {"TIDEMILL_WORKERS": "many"}),
    "operator outside a cluster": ("tidemill", {"KUBECONFIG": "/nonexistent", "TIDEMILL_TYPO": "1"}),
    "server": ("tidemill_runtime.server", {SERVER_CONFIG_ENV: "{"}),
    "batch": ("tidemill_runtime.batch --uri /nonexistent --input a --output b", {}),
    "trainer": ("tidemill_runtime.trainer", {CONFIG_ENV: "{"}),
    "probe": ("tidemill_runtime.trainer probe", {PROBE_ENV: "{"}),
    "monitor": ("tidemill_runtime.monitor", {MONITOR_CONFIG_ENV: "{"}),
}


def lines(module: str, variables: dict[str, str], folder: Path) -> list[dict[str, Any]]:
    """Start a process that cannot do its work; return its log lines, of which there is at least one."""
    known = {name: value for name, value in os.environ.items() if not name.startswith(("TIDEMILL_", "KUBE"))}
    environment = known | {"TIDEMILL_TERMINATION_LOG": str(folder / "termination-log"), **variables}
    command = [sys.executable, "-m", *module.split()]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert ended.returncode != 0
    written = (ended.stdout + ended.stderr).splitlines()
    assert written, "it wrote nothing"
    return [json.loads(line) for line in written]


@pytest.mark.parametrize("process", PROCESSES)
def test_each_process_writes_the_keys_and_nothing_else(process: str, tmp_path: Path) -> None:
    for line in lines(*PROCESSES[process], tmp_path):
        assert tuple(line)[: len(KEYS)] == KEYS
        assert set(line) - {*KEYS, ERROR} == set()
        assert line["logger"].split(".")[0] in ("tidemill", "tidemill_runtime")
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["time"])
        assert line["level"] in ("debug", "info", "warning", "error", "critical")


async def test_so_does_the_access_log() -> None:
    config = ServerConfig(namespace="n", deployment="d", version="v", number="1", digest="sha256:0", uri="file:///x")
    read, write = os.pipe()
    log = AccessLog(1.0, Telemetry(config).access_lines_dropped, write)
    log.record(0.0, 200, {"status": 200, "rows": None})
    log.record(0.0, 500, {"status": 500})
    await log.flush(5)
    good, bad = (json.loads(line) for line in os.read(read, 1 << 16).splitlines())
    assert tuple(good) == tuple(bad) == (*KEYS, "status")
    assert (good["level"], bad["level"]) == ("info", "error")


def test_the_page_has_the_keys() -> None:
    first = (ROOT / "docs" / "logs.md").read_text().split("Further keys")[0]
    assert tuple(re.findall(r"^\| `(\w+)` \|", first, flags=re.MULTILINE)) == (*KEYS, ERROR)
