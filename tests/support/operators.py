"""Operators for integration tests: in this process on a thread of its own, or as a process that can be killed.

Both run as the ServiceAccount of manifests/base with the rights that the shipped overlay gives, never as administrator.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

import yaml
from hack import install
from hack.tools.kubectl import Kubectl

from tidemill.app import Operator, Slices, load_slices
from tidemill.config import OperatorConfig
from tidemill.engine.contract import Deps
from tidemill.kube import access

ROOT = Path(__file__).resolve().parents[2]
NAMESPACE = "tidemill-system"
Obj = dict[str, Any]


class Installation:
    """A control plane with CRDs, roles and the operator's ServiceAccount, as `kubectl apply -k` leaves them."""

    def __init__(
        self,
        kubeconfig: Path,
        folder: Path,
        overlay: str = "cluster-wide",
        namespace: str = NAMESPACE,
        served: Sequence[str] = (),
    ) -> None:
        """`namespace` is where the overlay puts the operator, `served` what an overlay that leaves it open is told."""
        self.kubeconfig = kubeconfig
        self.folder = folder
        self.namespace = namespace
        path = ROOT / "manifests" / "overlays" / overlay
        rendered = install.render(path, served)
        self.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=rendered)  # of whoever had them
        self.kubectl("wait", "--for=condition=Established", "--timeout=60s", "crd", "--all")
        self.operator_kubeconfig = self._as_operator()

    def kubectl(self, *arguments: str, check: bool = True, stdin: str | None = None) -> str:
        """Runs kubectl as administrator and returns its output; AssertionError with its complaint when it fails."""
        done = Kubectl(kubeconfig=self.kubeconfig).attempt(*arguments, stdin=stdin)
        assert done.returncode == 0 or not check, f"{' '.join(arguments)}: {done.stderr}"
        return done.stdout if done.returncode == 0 else done.stderr

    def get(self, *arguments: str) -> Obj:
        """`kubectl get … -o json`."""
        found: Obj = json.loads(self.kubectl("get", *arguments, "-o", "json"))
        return found

    def apply(self, *manifests: Obj) -> None:
        """`kubectl apply` of manifests."""
        self.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(manifests))

    def _as_operator(self) -> Path:
        token = self.kubectl("create", "token", "tidemill-operator", "-n", self.namespace, "--duration=4h").strip()
        config = yaml.safe_load(self.kubeconfig.read_text())
        config["users"][0]["user"] = {"token": token}
        path = self.folder / "operator.kubeconfig"
        path.write_text(yaml.safe_dump(config))
        return path


class InProcess:
    """An operator on its own thread and event loop, so that a test can look inside."""

    def __init__(
        self,
        installation: Installation,
        load: Callable[[Deps], Slices] = load_slices,
        reach: access.Access | None = None,
        **settings: Any,
    ) -> None:
        """`settings` are fields of OperatorConfig; `reach` replaces the way to the API server."""
        config = OperatorConfig(
            **{"http_port": 0, "pod_name": "in-process", "lease_name": "tidemill-operator", **settings}
        )
        self._access = reach or access.load(installation.operator_kubeconfig)
        self._stop = asyncio.Event()
        self._loop = asyncio.new_event_loop()
        self.operator = Operator(config, self._access, load=load)
        self.ended: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="operator", daemon=True)

    def start(self, seconds: float = 30) -> InProcess:
        """Returns when the workers run."""
        self.launch()
        wait(lambda: self.operator.leading.is_set() or self.ended is not None, seconds, "the operator leads")
        if self.ended is not None:
            raise self.ended
        return self

    def launch(self) -> None:
        """Starts it and does not wait."""
        self._thread.start()

    def stop(self) -> None:
        """Stops it as SIGTERM does, and waits."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(30)
        assert not self._thread.is_alive(), "the operator did not stop"

    def call(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Runs a coroutine on the operator's loop."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(30)

    def health(self, path: str = "/healthz") -> tuple[int, str]:
        """Code and text of a probe."""
        return fetch(self.operator.health.port, path)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self.operator.run(self._stop))
        except BaseException as error:  # kept for the test to look at
            self.ended = error
        finally:
            left = asyncio.all_tasks(self._loop)
            for task in left:
                task.cancel()
            if left:  # what the framework does not end by itself
                self._loop.run_until_complete(asyncio.wait(left, timeout=3))
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.run_until_complete(asyncio.sleep(0.3))  # TLS connections close in the background
            self._loop.close()


class Process:
    """`python -m tidemill`, to be killed."""

    def __init__(self, installation: Installation, name: str, port: int, **environment: str) -> None:
        self.name, self.port = name, port
        settings = {
            "KUBECONFIG": str(installation.operator_kubeconfig),
            "TIDEMILL_POD_NAME": name,
            "TIDEMILL_HTTP_PORT": str(port),
            **environment,
        }
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("TIDEMILL_", "KUBERNETES_"))}
        self.log = installation.folder / f"{name}.log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen([sys.executable, "-m", "tidemill"], env=kept | settings, stderr=log)

    def leads(self) -> bool:
        """Whether it says that it holds the Lease."""
        try:
            code, text = fetch(self.port, "/metrics")
        except OSError:
            return False
        return code == 200 and any(
            line.startswith("leader_election_master_status") and line.endswith(" 1.0") for line in text.splitlines()
        )

    def end(self, how: signal.Signals, seconds: float = 30) -> int:
        """Sends a signal and returns the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(how)
        return self.process.wait(seconds)


def fetch(port: int, path: str) -> tuple[int, str]:
    """Code and text of a GET on this machine."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as reply:
            return reply.status, reply.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def wait(fact: Callable[[], Any], seconds: float, what: str) -> Any:
    """The first true value of `fact()`; AssertionError when it does not come."""
    end = time.monotonic() + seconds
    while True:
        found = fact()
        if found:
            return found
        assert time.monotonic() < end, f"waited {seconds:.0f} s in vain until {what}"
        time.sleep(0.05)
