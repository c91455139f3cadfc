"""One operator as a process of its own, and what its metrics say of it. No measuring here."""

import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path


class Operator:
    """One operator process."""

    def __init__(self, kubeconfig: Path, port: int, identity: str) -> None:
        """Start it."""
        environment = {
            **os.environ,
            "KUBECONFIG": str(kubeconfig),
            "TIDEMILL_HTTP_PORT": str(port),
            "TIDEMILL_POD_NAME": identity,
            "TIDEMILL_LOG_LEVEL": "WARNING",
        }
        self.port = port
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tidemill"], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def metrics(self) -> dict[str, float]:
        """Return every sample of /metrics by name and labels."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=5) as reply:
            lines = reply.read().decode().splitlines()
        return {k: float(v) for k, _, v in (line.rpartition(" ") for line in lines if line and line[0] != "#")}

    def writes(self) -> float:
        """Return how many writing API requests it has made, the Lease's apart (it is renewed for ever)."""
        return sum(
            value
            for name, value in self.metrics().items()
            if name.startswith("rest_client_requests_total") and 'method="GET"' not in name
        )

    def leases(self) -> float:
        """Return how many times it has renewed its Lease."""
        return sum(v for n, v in self.metrics().items() if n.startswith("tidemill_lease_renewals_total"))

    def leads(self) -> bool:
        """Tell whether it holds the Lease."""
        try:
            samples = self.metrics()
        except OSError:
            return False
        return any(n.startswith("leader_election_master_status") and v == 1 for n, v in samples.items())

    def memory_mebibytes(self) -> float:
        """Return the resident set size."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) / 1024

    def peak_mebibytes(self) -> float:
        """Return the most that was ever resident."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) / 1024

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End it."""
        self.process.send_signal(how)
        self.process.wait(timeout=30)
