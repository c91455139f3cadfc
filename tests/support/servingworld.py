"""What a person does and sees around one ModelDeployment, in short words, on a real API server."""

from __future__ import annotations

import contextlib
import json
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from hack.tools.kubectl import Kubectl
from tests.support.invariants import check_status
from tests.support.operators import InProcess, Installation, wait
from tests.support.servingcluster import Cluster

from tidemill.app import Slices
from tidemill.core import conditions
from tidemill.engine.contract import Deps
from tidemill.kube import metrics
from tidemill.monitoring import reconcilers as monitoring
from tidemill.serving import reconcilers
from tidemill_contracts.runtimes import PARITY_CHECK

Obj = dict[str, Any]

CANARY: Obj = {
    "strategy": "Canary",
    "steps": [{"weight": 10, "durationSeconds": 2}, {"weight": 50, "durationSeconds": 2}],
}
ANALYSIS: Obj = {
    "intervalSeconds": 1,
    "minRequests": 20,
    "failureLimit": 2,
    "checks": [{"metric": "ErrorRatio", "max": 0.05}, {"metric": "LatencyP99Milliseconds", "max": 50}],
}


SIGNATURE: Obj = {
    "inputs": [{"name": name, "datatype": "FP64", "shape": [-1]} for name in ("tenure", "age")],
    "outputs": [{"name": "label", "datatype": "INT64", "shape": [-1]}],
}


def load(deps: Deps) -> Slices:
    """Only this slice: records are written by the test."""
    return Slices(reconcilers.build(deps), reconcilers.WATCHES)


def load_with_monitoring(deps: Deps) -> Slices:
    """This slice and monitoring."""
    both = [*reconcilers.build(deps), *monitoring.build(deps)]
    return Slices(both, [*reconcilers.WATCHES, *monitoring.WATCHES])


def operator_of(installation: Installation, slices: Callable[[Deps], Slices] = load) -> InProcess:
    """An operator with some slices, without leader election and without a resync that would help."""
    settings = {"lease_name": "serving", "leader_election": False, "resync_seconds": 3600}
    return InProcess(installation, slices, **settings).start()


class World:
    """One namespace: short ways to say what a person does and sees."""

    def __init__(self, installation: Installation, cluster: Cluster, namespace: str) -> None:
        self.installation, self.cluster, self.namespace = installation, cluster, namespace

    def version(
        self, number: int, *, approved: bool = True, digest: int | None = None, series: str = "churn", **spec: Any
    ) -> None:
        """A ModelVersion as training records it."""
        spec = {"signature": SIGNATURE, **spec}
        hexdigits = f"{digest or number:064x}"
        name = f"{series}-{number}"
        manifest = {
            "apiVersion": "tidemill.io/v1alpha1",
            "kind": "ModelVersion",
            "metadata": {"name": name, "namespace": self.namespace},
            "spec": {
                "pipeline": series,
                "number": number,
                "digest": f"sha256:{hexdigits}",
                "modelDigest": f"sha256:{hexdigits}",
                "uri": f"pvc://tidemill-artifacts/{series}/{hexdigits}",
                "formats": ["skops", "onnx"],
                "onnxCheck": PARITY_CHECK,  # else its pods are asked what they serve
                "task": "classification",
                "lineage": {
                    "run": name,
                    "trigger": "NeverTrained",
                    "key": f"sha256:{hexdigits}",
                    "data": {},
                    "code": f"sha256:{hexdigits}",
                    "image": "trainer:1",
                },
                **{field: value for field, value in spec.items() if value is not None},
            },
        }
        self.installation.apply(manifest)
        if approved:
            self.approve(name)

    def approve(self, name: str) -> None:
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        condition = {
            "type": "Approved",
            "status": "True",
            "reason": "Gates",
            "message": "by the gates",
            "observedGeneration": 1,
            "lastTransitionTime": now,
        }
        ready = {**condition, "type": "Ready", "reason": "Recorded"}
        status = {"status": {"observedGeneration": 1, "conditions": [ready, condition]}}
        self.kubectl("patch", "modelversion", name, "--subresource=status", "--type=merge", "-p", json.dumps(status))

    def deploy(self, spec: Obj | None = None, name: str = "churn") -> None:
        """A ModelDeployment as a person applies it."""
        meta = {"name": name, "namespace": self.namespace}
        body = {"model": {"pipeline": "churn"}, "rollout": CANARY, **(spec or {})}
        self.installation.apply(
            {"apiVersion": "tidemill.io/v1alpha1", "kind": "ModelDeployment", "metadata": meta, "spec": body}
        )

    def mark(self, version: str, deployment: str = "churn") -> Obj | None:
        """What a deployment has written onto a version that it rolled back."""
        found = self.get("modelversion", version) or {}
        marks: dict[str, Obj] = (found.get("status") or {}).get("takenBack") or {}
        return marks.get(deployment)

    def kubectl(self, *arguments: str) -> str:
        return self.installation.kubectl("-n", self.namespace, *arguments)

    def get(self, kind: str, name: str) -> Obj | None:
        text = self.kubectl("get", kind, name, "-o", "json", "--ignore-not-found")
        found: Obj | None = json.loads(text) if text.strip() else None
        return found

    @contextlib.contextmanager
    def watched(self, kind: str, name: str) -> Iterator[list[Obj]]:
        """Every state of an object, as the API server reports it to a watch, in order; all hold the status rules."""
        seen: list[Obj] = []
        kubectl = Kubectl(self.namespace, self.installation.kubeconfig)
        command = kubectl.command("get", kind, name, "--watch", "-o", "json")
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            reader = threading.Thread(target=_read, args=(process, seen))
            reader.start()
            try:
                wait(lambda: seen, 10, "the watch has begun")
                yield seen
            finally:
                process.terminate()
                reader.join(10)

    def md(self, name: str = "churn") -> Obj:
        found = self.get("modeldeployment", name)
        assert found is not None
        check_status(found)
        return found

    def until(self, fact: Any, what: str, seconds: float = 20, name: str = "churn") -> Obj:
        """Waits for a fact about the ModelDeployment."""

        def probe() -> Obj | None:
            obj = self.md(name)
            return obj if fact(obj) else None

        try:
            found: Obj = wait(probe, seconds, what)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{json.dumps(self.md(name).get('status'), indent=1)}") from None
        return found

    def served(self, version: str, seconds: float = 20) -> Obj:
        return self.until(
            lambda o: ready(o) == ("True", "Serving") and stable(o) == version, f"{version} serves", seconds
        )

    def events(self) -> list[str]:
        return [e["reason"] for e in self.installation.get("events.events.k8s.io", "-n", self.namespace)["items"]]


def _read(process: subprocess.Popen[str], seen: list[Obj]) -> None:
    """Objects of a stream of indented JSON documents, each of which ends with a brace at the start of a line."""
    lines: list[str] = []
    for line in process.stdout or ():
        lines.append(line)
        if line.rstrip() == "}":
            seen.append(json.loads("".join(lines)))
            check_status(seen[-1])
            lines.clear()


def ready(obj: Obj) -> tuple[str, str] | None:
    found = conditions.get((obj.get("status") or {}).get("conditions") or (), "Ready")
    return (found["status"], found["reason"]) if found else None


def stable(obj: Obj) -> str | None:
    return ((obj.get("status") or {}).get("stable") or {}).get("version")


def candidate(obj: Obj) -> tuple[str, int] | None:
    found = (obj.get("status") or {}).get("candidate")
    return (found["version"], found["step"]) if found else None


def rolled_back(obj: Obj) -> bool:
    """Whether the condition RolledBack is True."""
    return conditions.is_true((obj.get("status") or {}).get("conditions") or (), "RolledBack")


def condition(obj: Obj, kind: str) -> Obj:
    found = conditions.get(obj["status"]["conditions"], kind)
    assert found is not None
    return found


def deployments(world: World) -> list[str]:
    found = world.installation.get("deployments", "-n", world.namespace)["items"]
    return [d["metadata"]["name"] for d in found]


def writes() -> float:
    samples = (sample for metric in metrics.REQUESTS.collect() for sample in metric.samples)
    return sum(s.value for s in samples if s.name.endswith("_total") and s.labels["method"] != "GET")
