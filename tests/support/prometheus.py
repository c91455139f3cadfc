"""A real Prometheus for tests: the Debian package, unpacked into the user cache, run as a process.

Needs Linux with apt (or `prometheus` and `promtool` on PATH). Its targets come from the annotations of pods.
"""

import json
import os
import shutil
import socket
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CONFIG = """
global: {{scrape_interval: 2s, scrape_timeout: 2s, evaluation_interval: 2s}}
rule_files: [{rules}]
scrape_configs:
- job_name: pods
  honor_labels: true
  file_sd_configs:
  - files: [{targets}]
    refresh_interval: 2s
"""


def targets_of(pods: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the scrape targets that the usual annotations of running pods ask for.

    Debian's Prometheus is built without discovery of Kubernetes, so the rule of the community's chart is applied here:
    prometheus.io/scrape "true", prometheus.io/port, prometheus.io/path.
    """
    found = []
    for pod in pods:
        wanted = pod["metadata"].get("annotations") or {}
        if wanted.get("prometheus.io/scrape") == "true" and pod["status"].get("phase") == "Running":
            address = f"{pod['status']['podIP']}:{wanted['prometheus.io/port']}"
            path = wanted.get("prometheus.io/path", "/metrics")
            found.append({"targets": [address], "labels": {"pod": pod["metadata"]["name"], "__metrics_path__": path}})
    return found


def binary(name: str) -> Path:
    """Return the path of `prometheus` or `promtool`, from PATH or from the Debian package.

    Raises:
        RuntimeError: neither is there; the message says what to install, or what apt-get and dpkg said.
    """
    found = shutil.which(name)
    if found:
        return Path(found)
    cache = Path(os.environ.get("TIDEMILL_CACHE", Path.home() / ".cache" / "tidemill")) / "prometheus"
    unpacked = cache / "usr" / "bin" / name
    if unpacked.exists():
        return unpacked
    if not shutil.which("apt-get"):
        raise RuntimeError(f"{name} was not found on PATH: install Prometheus 2.40 or newer")
    cache.mkdir(parents=True, exist_ok=True)
    download = ["apt-get", "download", "-q", "prometheus"]
    try:
        _run(download, cache)
    except RuntimeError:
        # The lists may be old or absent; refreshing them first would cost seconds each time.
        _run(["apt-get", "update", "-q"], cache)
        _run(download, cache)
    package = next(cache.glob("prometheus_*.deb"))
    _run(["dpkg", "-x", str(package), str(cache)], cache)
    package.unlink()
    return unpacked


def _run(command: list[str], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"`{' '.join(command)}` failed: {done.stderr.strip()[-2000:]}")


class Prometheus:
    """A running Prometheus."""

    def __init__(self, port: int) -> None:
        """Talk to the server on a port of the loopback interface."""
        self.url = f"http://127.0.0.1:{port}"

    def get(self, path: str, **query: str) -> Any:
        """Return the `data` of an API answer."""
        text = f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(query)}"
        with urllib.request.urlopen(text, timeout=10) as reply:
            return json.load(reply)["data"]

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Return the samples of an instant query."""
        result: list[dict[str, Any]] = self.get("query", query=expression)["result"]
        return result

    def targets(self) -> list[dict[str, Any]]:
        """Return the active targets."""
        active: list[dict[str, Any]] = self.get("targets", state="active")["activeTargets"]
        return active

    def firing(self) -> dict[str, dict[str, str]]:
        """Return the labels of the alerts that fire, by the name of the alert."""
        alerts = self.get("alerts")["alerts"]
        return {a["labels"]["alertname"]: a["labels"] for a in alerts if a["state"] == "firing"}


@contextmanager
def running(folder: Path, pods: list[dict[str, Any]], groups: Sequence[dict[str, Any]] = ()) -> Iterator[Prometheus]:
    """Run Prometheus over the annotated ones of some pods, with groups of rules.

    Raises:
        RuntimeError: it did not start; the message is the end of its log.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    config, targets, rules = folder / "prometheus.yml", folder / "targets.json", folder / "groups.yml"
    targets.write_text(json.dumps(targets_of(pods)))
    rules.write_text(json.dumps({"groups": list(groups)}))
    config.write_text(CONFIG.format(targets=targets, rules=rules))
    command = [str(binary("prometheus")), f"--config.file={config}", f"--storage.tsdb.path={folder / 'data'}"]
    with (folder / "prometheus.log").open("w") as log:
        process = subprocess.Popen([*command, f"--web.listen-address=127.0.0.1:{port}"], stdout=log, stderr=log)
    try:
        server = Prometheus(port)
        for _ in range(300):
            try:
                server.targets()
                break
            except OSError:
                if process.poll() is not None:
                    break
                time.sleep(0.1)
        if process.poll() is not None:
            raise RuntimeError((folder / "prometheus.log").read_text()[-2000:])
        yield server
    finally:
        process.terminate()
        process.wait(timeout=20)
