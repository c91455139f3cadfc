"""A real Prometheus for tests: the Debian package, unpacked into the user cache, run as a process.

Needs Linux with apt (or `prometheus` and `promtool` on PATH). It reads the cluster with the kubeconfig of the test.
"""

import json
import os
import shutil
import socket
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# The scrape configuration that Prometheus' own Kubernetes example and its community chart use for annotated pods.
CONFIG = """
global: {{scrape_interval: 2s, scrape_timeout: 2s}}
scrape_configs:
- job_name: pods
  kubernetes_sd_configs:
  - role: pod
    kubeconfig_file: {kubeconfig}
    namespaces: {{names: [{namespace}]}}
  relabel_configs:
  - {{source_labels: [__meta_kubernetes_pod_annotation_prometheus_io_scrape], action: keep, regex: "true"}}
  - source_labels: [__meta_kubernetes_pod_annotation_prometheus_io_path]
    action: replace
    regex: (.+)
    target_label: __metrics_path__
  - source_labels: [__meta_kubernetes_pod_ip, __meta_kubernetes_pod_annotation_prometheus_io_port]
    action: replace
    regex: (.+);(\\d+)
    replacement: $1:$2
    target_label: __address__
  - {{source_labels: [__meta_kubernetes_pod_name], action: replace, target_label: pod}}
"""


def binary(name: str) -> Path:
    """Return the path of `prometheus` or `promtool`, from PATH or from the Debian package.

    Raises:
        RuntimeError: neither is there; the message says what to install.
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
    subprocess.run(["apt-get", "download", "-q", "prometheus"], cwd=cache, check=True, capture_output=True)
    package = next(cache.glob("prometheus_*.deb"))
    subprocess.run(["dpkg", "-x", str(package), str(cache)], check=True, capture_output=True)
    package.unlink()
    return unpacked


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


@contextmanager
def running(folder: Path, kubeconfig: str, namespace: str) -> Iterator[Prometheus]:
    """Run Prometheus over the annotated pods of a namespace."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    config = folder / "prometheus.yml"
    config.write_text(CONFIG.format(kubeconfig=kubeconfig, namespace=namespace))
    command = [str(binary("prometheus")), f"--config.file={config}", f"--storage.tsdb.path={folder / 'data'}"]
    with (folder / "prometheus.log").open("w") as log:
        process = subprocess.Popen([*command, f"--web.listen-address=127.0.0.1:{port}"], stdout=log, stderr=log)
    try:
        server = Prometheus(port)
        for _ in range(100):
            try:
                server.targets()
                break
            except OSError:
                time.sleep(0.1)
        yield server
    finally:
        process.terminate()
        process.wait(timeout=20)
