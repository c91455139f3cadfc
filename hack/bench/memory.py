"""The operator's peak memory beside large objects of other people: at its start, and while they change.

A real kube-apiserver and etcd, and the operator as a process of its own. Peak is VmHWM of /proc: the most that was ever
resident. Each figure is of a fresh operator.
"""

import argparse
import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hack.bench.operator_process import Operator
from hack.bench.table import Row
from hack.localcluster import control_plane
from hack.tools.kubectl import Kubectl
from tidemill.api.base import API_VERSION
from tidemill.core.plan import ObjectRef
from tidemill.kube.access import from_kubeconfig
from tidemill.kube.client import KubeClient

ROOT = Path(__file__).resolve().parents[2]
COUNT, GOAL_MEBIBYTES = 200, 150.0
NAMESPACE = "bench-memory"
_MEBIBYTE = 1 << 20
_PORT = 18084
Obj = dict[str, Any]


def config_map(index: int) -> Obj:
    """Return a ConfigMap of 1 MiB, the most that one may hold, without a label of ours."""
    metadata = {"name": f"large-{index}", "namespace": NAMESPACE}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"blob": "x" * (_MEBIBYTE - 64)}}


def labelled(index: int) -> Obj:
    """Return one that says that it is ours."""
    made = config_map(index)
    made["metadata"]["labels"] = {"app.kubernetes.io/managed-by": "tidemill"}
    return made


def deployment(index: int) -> Obj:
    """Return a Deployment of 1 MiB that says that it is ours; nobody runs it."""
    labels = {"app.kubernetes.io/managed-by": "tidemill"}
    env = [{"name": f"V{n}", "value": "x" * 1000} for n in range(1000)]
    container = {"name": "c", "image": "none", "env": env}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
    spec = {"replicas": 0, "selector": {"matchLabels": labels}, "template": template}
    metadata = {"name": f"large-{index}", "namespace": NAMESPACE, "labels": labels}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec}


def pipeline(index: int) -> Obj:
    """Return a TrainingPipeline of 1 MiB in every field that takes long text; each 50th in 170,000 short words.

    The latter takes the API server a second to check.
    """
    allowed = [f"{n:x}" for n in range(1000)]
    columns = [{"name": f"c{n}", "type": "Category", "allowed": allowed} for n in range(170)]
    source: Obj = {"name": "iris", "uri": "builtin://iris"}
    code: Obj = {"configMap": {"name": "code"}, "command": ["train"]}
    spec: Obj = {"data": [source], "target": "target", "code": code}
    metadata: Obj = {"name": f"large-{index}", "namespace": NAMESPACE}
    if index % 50 == 1:
        source["expectations"] = {"columns": columns}
    else:
        spec["parameters"] = {f"p{n}": "x" * 3_900 for n in range(100)}
        code["command"] += ["x" * 4_096] * 60
        metadata["annotations"] = {f"a{n}": "x" * 2_500 for n in range(100)}
        metadata["labels"] = {f"{n:04}{'l' * 56}": "x" * 60 for n in range(1_100)}
    return {"apiVersion": API_VERSION, "kind": "TrainingPipeline", "metadata": metadata, "spec": spec}


CASES: dict[str, Callable[[int], Obj]] = {
    "ConfigMaps": config_map,
    "ConfigMaps with our label": labelled,
    "Deployments with our label": deployment,
    "TrainingPipelines": pipeline,
}


async def create(client: KubeClient, make: Callable[[int], Obj], count: int = COUNT) -> list[ObjectRef]:
    """Create that many, four at a time."""
    gate = asyncio.Semaphore(4)

    async def one(index: int) -> ObjectRef:
        async with gate:
            return ObjectRef.of(await client.create(make(index)))

    return list(await asyncio.gather(*(one(i) for i in range(count))))


async def touch(client: KubeClient, refs: list[ObjectRef]) -> None:
    """Change each of them, so that every watch delivers it again."""
    gate = asyncio.Semaphore(4)

    async def one(ref: ObjectRef) -> None:
        async with gate:
            await client.patch_merge(ref, {"metadata": {"annotations": {"touched": str(time.time())}}})

    await asyncio.gather(*(one(ref) for ref in refs))


async def settled(operator: Operator, seconds: float = 120) -> None:
    """Wait until the operator leads and has had nothing to do for two seconds.

    Raises:
        TimeoutError: it did not come to rest.
    """
    end, quiet, last = time.monotonic() + seconds, 0, -1.0
    while quiet < 8:
        if time.monotonic() > end:
            raise TimeoutError(f"the operator was still at work after {seconds:.0f} s")
        await asyncio.sleep(0.25)
        if operator.process.poll() is not None:
            raise RuntimeError("the operator has ended")
        now = passes(operator) if operator.leads() else -1.0
        quiet = quiet + 1 if now == last >= 0 else 0
        last = now


def passes(operator: Operator) -> float:
    """Return how many passes it has made."""
    samples = operator.metrics()
    return sum(v for n, v in samples.items() if n.startswith("controller_runtime_reconcile_total"))


async def peaks(kubeconfig: Path, make: Callable[[int], Obj]) -> tuple[float, float]:
    """Return the peak in MiB after the start beside such objects, and after each of them has changed once."""
    async with KubeClient(from_kubeconfig(kubeconfig)) as client:
        refs = await create(client, make)
        operator = Operator(kubeconfig, _PORT, "bench-memory")
        try:
            await settled(operator)
            start = operator.peak_mebibytes()
            await touch(client, refs)
            await settled(operator)
            return start, operator.peak_mebibytes()
        finally:
            operator.stop()
            await asyncio.gather(*(client.delete(ref) for ref in refs))


@contextmanager
def cluster() -> Iterator[Path]:
    """Bring a control plane up with our definitions and a namespace."""
    with control_plane() as path:
        kubectl = Kubectl(kubeconfig=path)
        kubectl.run("apply", "--server-side", "-k", str(ROOT / "crds"))
        for name in ("tidemill-system", NAMESPACE):
            kubectl.run("create", "namespace", name)
        kubectl.run("create", "configmap", "code", "-n", NAMESPACE, "--from-literal=train.py=pass")
        yield path


def run(_: argparse.Namespace) -> list[Row]:
    """Measure beside each kind of large objects."""
    rows = []
    with cluster() as kubeconfig:
        for what, make in CASES.items():
            start, live = asyncio.run(peaks(kubeconfig, make))
            for when, peak in (("at its start", start), ("after each has changed", live)):
                name = f"operator beside {COUNT} {what} of 1 MiB, peak {when}"
                goal = f"≤ {GOAL_MEBIBYTES:.0f} MiB"
                rows.append(Row(name, peak, "MiB", None, "", goal, peak <= GOAL_MEBIBYTES))
    return rows
