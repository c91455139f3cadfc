"""A burst of all kinds at once, as after the restore of a cluster: how long until everything was looked at.

A real kube-apiserver and etcd, and the operator as a process of its own on the same cores. Observed means that the
status says so (`observedGeneration`), or, for a pipeline, whose status a run writes later, that its run is there.
"""

import argparse
import asyncio
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hack.bench import memory
from hack.bench.operator_process import Operator
from hack.bench.table import Row
from tidemill.api.base import API_VERSION
from tidemill.core.plan import ObjectRef
from tidemill.kube.access import from_kubeconfig
from tidemill.kube.client import KubeClient
from tidemill.kube.registry import lookup
from tidemill.kube.streams import Scope

COUNTS = {"TrainingPipeline": 2000, "ModelDeployment": 500, "ModelMonitor": 500}
GOAL_SECONDS, GOAL_CHANGE_SECONDS = 40.0, 1.0
NAMESPACE = memory.NAMESPACE
Obj = dict[str, Any]


def manifest(kind: str, index: int) -> Obj:
    """Return one object; deployments follow pipelines of the burst, monitors watch deployments of it."""
    specs: dict[str, Obj] = {
        "TrainingPipeline": {
            "data": [{"name": "iris", "uri": "builtin://iris"}],
            "target": "target",
            "code": {"configMap": {"name": "code"}, "entrypoint": "train:train"},
        },
        "ModelDeployment": {"model": {"pipeline": f"burst-{index}"}},
        "ModelMonitor": {"deployment": f"burst-{index}", "quality": {"maxMissingRatio": 0.1}},
    }
    metadata = {"name": f"burst-{index}", "namespace": NAMESPACE}
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": metadata, "spec": specs[kind]}


class Observed:
    """Which objects were looked at, by watches of the six kinds."""

    def __init__(self, client: KubeClient) -> None:
        """Watch nothing yet."""
        self.client = client
        self.seen: dict[str, dict[str, float]] = {kind: {} for kind in COUNTS}
        self.changed: dict[str, float] = {}

    def note(self, obj: Obj) -> None:
        """Take one object, as a watch shows it."""
        now = time.monotonic()
        kind, name, generation = obj["kind"], obj["metadata"]["name"], obj["metadata"].get("generation")
        if kind == "TrainingRun":
            self.seen["TrainingPipeline"].setdefault(obj["spec"]["pipeline"], now)
            return
        if (obj.get("status") or {}).get("observedGeneration") == generation:
            self.seen[kind].setdefault(name, now)
            if generation == 2:
                self.changed.setdefault(name, now)

    async def watch(self, kind: str) -> None:
        """Follow a kind for ever."""
        scope = Scope(lookup(API_VERSION, kind), NAMESPACE)
        version = str(await self.client.streams.read(scope, self.note))
        while True:
            async for verb, obj in self.client.streams.watch(scope, version):
                version = obj["metadata"]["resourceVersion"]
                if verb != "BOOKMARK":
                    self.note(obj)

    def count(self) -> Counter[str]:
        """Return how many were seen, by kind."""
        return Counter({kind: len(found) for kind, found in self.seen.items()})


async def until(fact: Callable[[], bool], seconds: float) -> None:
    """Wait for a fact; TimeoutError when it does not come true."""
    async with asyncio.timeout(seconds):
        while not fact():  # noqa: ASYNC110 - several watches bring it about
            await asyncio.sleep(0.02)


async def measure(kubeconfig: Path) -> tuple[dict[str, float], float]:
    """Return the seconds from the operator's start to the last of each kind, and those of one change afterwards."""
    async with KubeClient(from_kubeconfig(kubeconfig)) as client:
        gate = asyncio.Semaphore(16)

        async def create(kind: str, index: int) -> None:
            async with gate:
                await client.create(manifest(kind, index))

        await asyncio.gather(*(create(kind, n) for kind, count in COUNTS.items() for n in range(count)))
        observed = Observed(client)
        watches = [asyncio.create_task(observed.watch(kind)) for kind in (*COUNTS, "TrainingRun")]
        operator = Operator(kubeconfig, 18086, "bench-burst")
        try:
            started = time.monotonic()
            await until(lambda: observed.count() == Counter(COUNTS), 300)
            times = {kind: max(found.values()) - started for kind, found in observed.seen.items()}
            ref = ObjectRef(API_VERSION, "ModelDeployment", NAMESPACE, "burst-7")
            changed = time.monotonic()
            await client.patch_merge(ref, {"spec": {"rollout": {"strategy": "Immediate"}, "replicas": 2}})
            await until(lambda: ref.name in observed.changed, 60)
            return times, observed.changed[ref.name] - changed
        finally:
            operator.stop()
            for task in watches:
                task.cancel()


def run(_: argparse.Namespace) -> list[Row]:
    """Measure one burst."""
    with memory.cluster() as kubeconfig:
        times, change = asyncio.run(measure(kubeconfig))
    last = max(times.values())
    total = sum(COUNTS.values())
    rows = [Row(f"{COUNTS[k]} {k}s of the burst observed", s, "s") for k, s in times.items()]
    rows.append(Row(f"all {total:,} observed", last, "s", None, "", f"≤ {GOAL_SECONDS:.0f} s", last <= GOAL_SECONDS))
    goal, met = f"≤ {GOAL_CHANGE_SECONDS:.0f} s", change <= GOAL_CHANGE_SECONDS
    rows.append(Row("one change right after it observed", change, "s", None, "", goal, met))
    return rows
