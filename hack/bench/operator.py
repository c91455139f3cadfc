"""The operator against the bare API server: latency, burst, writes, memory, fail-over.

A real kube-apiserver and etcd, and the operator as a process of its own with the administrator's kubeconfig. There is
no kubelet: the benchmark ends the Jobs itself.
"""

import argparse
import asyncio
import os
import signal
import statistics
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from hack.bench import kubelet
from hack.bench.operator_process import Operator
from hack.bench.table import Row
from hack.localcluster import control_plane
from hack.tools.kubectl import Kubectl
from tidemill.api.base import API_VERSION
from tidemill.kube.access import from_kubeconfig
from tidemill.kube.client import KubeClient

ROOT = Path(__file__).resolve().parents[2]
CODE = "def train(data, target):\n    raise RuntimeError('never run here')\n"
PAIRS, ALONE, BURST, CONCURRENT = 300, 15, 500, 10
WRITES = (("quick", 50, 0, 6), ("long", 10, 25, 7))
"""Which runs are counted: how many, how many seconds they take, and the most writes that each may cost.

After 20 s the pipeline's status says that a run is active, which is the seventh (docs/decisions/0070).
"""


def pipeline(namespace: str, name: str) -> dict[str, Any]:
    """Return the pipeline that is applied."""
    return {
        "apiVersion": API_VERSION,
        "kind": "TrainingPipeline",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "data": [{"name": "iris", "uri": "builtin://iris"}],
            "target": "target",
            "code": {"configMap": {"name": "code"}, "entrypoint": "train:train"},
        },
    }


def job(namespace: str, name: str) -> dict[str, Any]:
    """Return a Job as bare as it can be: the floor's second write."""
    container = {"name": "train", "image": "none", "command": ["true"]}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [container]}}},
    }


async def until(fact: Callable[[], bool], seconds: float) -> None:
    """Wait for a fact.

    Raises:
        TimeoutError: it did not come true.
    """
    end = time.monotonic() + seconds
    while not fact():
        if time.monotonic() > end:
            raise TimeoutError(f"did not happen within {seconds:.0f} s")
        await asyncio.sleep(0.2)


class Jobs:
    """When each Job appeared, by a watch."""

    def __init__(self, client: KubeClient, namespace: str) -> None:
        """Watch nothing yet."""
        self.client = client
        self.namespace = namespace
        self.seen: dict[str, float] = {}
        self.changed = asyncio.Condition()
        self.manifests: dict[str, dict[str, Any]] = {}

    async def poll(self) -> None:
        """Look for new Jobs every few milliseconds; each look is one small list by resourceVersion 0 (from memory)."""
        while True:
            for item in await self.client.list(
                "batch/v1", "Job", self.namespace, "app.kubernetes.io/managed-by=tidemill"
            ):
                key = item["metadata"]["labels"]["tidemill.io/pipeline"]
                if key not in self.seen:
                    self.manifests[key] = item
                    async with self.changed:
                        self.seen[key] = time.monotonic()
                        self.changed.notify_all()
            await asyncio.sleep(0.005 if len(self.seen) < 100 else 0.2)

    async def first(self, name: str, seconds: float = 60) -> float:
        """Return when the first Job of a pipeline appeared; TimeoutError when it does not."""
        async with asyncio.timeout(seconds), self.changed:
            await self.changed.wait_for(lambda: name in self.seen)
        return self.seen[name]

    @asynccontextmanager
    async def polling(self) -> AsyncIterator[None]:
        """Poll in the background."""
        task = asyncio.create_task(self.poll())
        try:
            yield
        finally:
            task.cancel()


async def namespace(client: KubeClient, name: str) -> None:
    """Create a namespace with the code that the pipelines name."""
    await client.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    account = {"name": "default", "namespace": name}  # no controller makes it here, and pods need one
    await client.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": account})
    metadata = {"name": "code", "namespace": name}
    await client.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"train.py": CODE}})


async def bare_pairs(client: KubeClient) -> float:
    """Return seconds per pair of bare writes (a suspended pipeline and a Job), 32 at a time."""
    await namespace(client, "bench-floor")
    gate = asyncio.Semaphore(32)

    async def pair(index: int) -> None:
        async with gate:
            manifest = pipeline("bench-floor", f"floor-{index}")
            manifest["spec"]["suspend"] = True
            await client.create(manifest)
            await client.create(job("bench-floor", f"floor-{index}"))

    started = time.monotonic()
    await asyncio.gather(*(pair(i) for i in range(PAIRS)))
    return (time.monotonic() - started) / PAIRS


async def bare_alone(client: KubeClient) -> float:
    """Return the median seconds of one pair of bare writes, one after the other."""
    times = []
    for index in range(ALONE):
        started = time.monotonic()
        manifest = pipeline("bench-floor", f"alone-{index}")
        manifest["spec"]["suspend"] = True
        await client.create(manifest)
        await client.create(job("bench-floor", f"alone-{index}"))
        times.append(time.monotonic() - started)
    return statistics.median(times)


async def one_alone(client: KubeClient) -> float:
    """Return the median seconds from the start of an apply to the Job, one pipeline at a time."""
    await namespace(client, "bench-alone")
    times = []
    jobs = Jobs(client, "bench-alone")
    async with jobs.polling():
        for index in range(ALONE):
            name = f"alone-{index}"
            started = time.monotonic()
            await client.create(pipeline("bench-alone", name))
            times.append(await jobs.first(name) - started)
            await asyncio.sleep(0.2)
        for manifest in jobs.manifests.values():  # left alone they would be written about 20 s later
            await kubelet.run_job(client, manifest, 0)
    return statistics.median(times)


async def burst(client: KubeClient, jobs: Jobs) -> float:
    """Return the seconds from the first of 500 applies to the last Job."""
    await namespace(client, "bench-burst")
    gate = asyncio.Semaphore(32)

    async def create(index: int) -> None:
        async with gate:
            await client.create(pipeline("bench-burst", f"burst-{index}"))

    names = {f"burst-{i}" for i in range(BURST)}
    async with jobs.polling():
        started = time.monotonic()
        await asyncio.gather(*(create(i) for i in range(BURST)))
        return max([await jobs.first(name, 120) for name in names]) - started


async def run_to_end(client: KubeClient, jobs: Jobs, namespace: str, name: str, seconds: float) -> None:
    """Apply a pipeline; its Job's pod runs at once and ends well after that many seconds."""
    await client.create(pipeline(namespace, name))
    await jobs.first(name)
    await kubelet.run_job(client, jobs.manifests[name], seconds)


async def writes_per_run(client: KubeClient, operator: Operator, where: str, runs: int, seconds: float) -> float:
    """Return the operator's writes per run, from the apply to a registered version, for runs of that many seconds.

    Each Job ends as soon as it should, as with a kubelet, and only a few are on their way at once: what is counted is
    the operator's doing, not how long a busy machine leaves a Job lying. The namespace's claim, made once for all its
    runs, is made before.
    """
    await namespace(client, where)
    jobs, gate = Jobs(client, where), asyncio.Semaphore(CONCURRENT)

    async def one(name: str) -> None:
        async with gate:
            await run_to_end(client, jobs, where, name, seconds)

    async with jobs.polling():
        await run_to_end(client, jobs, where, f"{where}-first", 0)
        await registered(client, where, 1)
        await settle(operator)
        before = operator.writes() - operator.leases()
        await asyncio.gather(*(one(f"{where}-{i}") for i in range(runs)))
    await registered(client, where, runs + 1)
    await settle(operator)
    return (operator.writes() - operator.leases() - before) / runs


async def registered(client: KubeClient, where: str, count: int) -> None:
    """Wait until a namespace has that many versions."""
    for _ in range(240):
        versions = await client.list(API_VERSION, "ModelVersion", where)
        if len(versions) >= count:
            return
        await asyncio.sleep(0.5)
    raise TimeoutError(f"{len(versions)} of {count} versions were registered in 120 s")


async def finish_all(client: KubeClient, operator: Operator, jobs: Jobs, where: str) -> None:
    """End all Jobs, oldest first, and wait for their versions."""
    gate = asyncio.Semaphore(16)

    async def finish(manifest: dict[str, Any]) -> None:
        async with gate:
            await kubelet.run_job(client, manifest, 0)

    oldest = sorted(jobs.manifests.values(), key=lambda m: str(m["metadata"]["creationTimestamp"]))
    await asyncio.gather(*(finish(m) for m in oldest))
    await registered(client, where, len(oldest))
    await settle(operator)


async def settle(operator: Operator) -> None:
    """Wait until the operator has written nothing for five seconds."""
    last, quiet = -1.0, 0
    while quiet < 5:
        now = operator.writes() - operator.leases()
        quiet = quiet + 1 if now == last else 0
        last = now
        await asyncio.sleep(1)


async def failover(client: KubeClient, first: Operator, second: Operator) -> float:
    """Return the seconds from SIGKILL of the leader to the Job of a pipeline that was applied right after."""
    leader = first if first.leads() else second
    jobs = Jobs(client, "bench-alone")
    async with jobs.polling():
        await asyncio.sleep(1)
        leader.stop(signal.SIGKILL)
        started = time.monotonic()
        await client.create(pipeline("bench-alone", "failover"))
        return await jobs.first("failover") - started


async def measure(kubeconfig: Path) -> list[Row]:
    """Run everything against one control plane."""
    rows = []
    async with KubeClient(from_kubeconfig(kubeconfig)) as client:
        await client.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "tidemill-system"}})
        await asyncio.sleep(2)
        pair, alone_floor = await bare_pairs(client), await bare_alone(client)
        operator = Operator(kubeconfig, 18080, "bench-1")
        other = None
        try:
            await until(operator.leads, 60)
            alone = await one_alone(client)
            rows.append(
                Row(
                    "apply → Job, one alone, median",
                    1000 * alone,
                    "ms",
                    1000 * alone_floor,
                    "two bare writes",
                    "≤ 100 ms",
                    alone <= 0.1,
                )
            )
            for what, runs, length, most in WRITES:
                writes = await writes_per_run(client, operator, f"bench-{length}-seconds", runs, length)
                row = f"API writes per {what} run ({length} s), events included"
                rows.append(Row(row, writes, "writes", None, "", f"≤ {most}", writes <= most))
            jobs = Jobs(client, "bench-burst")
            seconds = await burst(client, jobs)
            rows.append(
                Row(
                    f"{BURST} pipelines at once → all Jobs",
                    seconds,
                    "s",
                    pair * BURST,
                    "bare pairs",
                    "≤ 10 s",
                    seconds <= 10,
                )
            )
            await finish_all(client, operator, jobs, "bench-burst")
            idle_from = operator.writes() - operator.leases()
            await asyncio.sleep(60)
            idle = operator.writes() - operator.leases() - idle_from
            rows.append(
                Row(f"API writes per minute, idle with {BURST} pipelines", idle, "writes", None, "", "0", idle == 0)
            )
            total = sum(
                [len(await client.list(API_VERSION, k)) for k in ("TrainingPipeline", "TrainingRun", "ModelVersion")]
            )
            memory = operator.memory_mebibytes()
            rows.append(Row(f"operator memory at {total} objects", memory, "MiB", None, "", "≤ 130 MiB", memory <= 130))
            other = Operator(kubeconfig, 18081, "bench-2")
            await asyncio.sleep(10)
            seconds = await failover(client, operator, other)
            rows.append(Row("leader killed → next Job", seconds, "s", None, "", "≤ 20 s", seconds <= 20))
        finally:
            for each in (operator, other):
                if each and each.process.poll() is None:
                    each.stop()
    return rows


def run(_: argparse.Namespace) -> list[Row]:
    """Bring a control plane up, measure, and take it down."""
    with control_plane() as kubeconfig:
        os.environ["KUBECONFIG"] = str(kubeconfig)
        Kubectl().run("apply", "--server-side", "-k", str(ROOT / "crds"))
        return asyncio.run(measure(Path(kubeconfig)))
