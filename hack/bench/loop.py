"""How soon a decision about traffic is in force at the router, on a whole cluster.

Needs the cluster of `make cluster` with the images loaded, and Service addresses that are reachable from here (the
local provider). A steady stream of requests shows when: the last answer of a candidate that was rolled back, the last
answer of the old version after a promotion.
"""

import argparse
import asyncio
import statistics
import time
from typing import Any

import aiohttp

from hack.bench.serving import quick
from hack.bench.serving.processes import free_ports
from hack.bench.table import Row
from hack.demo.console import Console
from hack.demo.scenario import Scenario
from hack.localcluster.choice import use_cluster
from hack.tools.kubectl import Kubectl, is_true, wait_for
from tidemill.api.base import API_VERSION

NAMESPACE = "tidemill-bench"
NAME = "flip"
ROUNDS = 3
CODE = """
from sklearn.linear_model import LogisticRegression

def train(data, target, *, seed: int = 0):
    return LogisticRegression(C={strength}, max_iter=500).fit(data, target)
"""


def manifests() -> list[dict[str, Any]]:
    """Return a pipeline on the iris data and a deployment whose only step waits for a person."""
    pipeline = {
        "data": [{"name": "iris", "uri": "builtin://iris"}],
        "target": "target",
        "code": {"configMap": {"name": "flip-code"}, "entrypoint": "train:train"},
        "triggers": {"codeChange": {}},
    }
    deployment = {"model": {"pipeline": NAME}, "rollout": {"strategy": "Canary", "steps": [{"weight": 50}]}}
    return [
        code(1.0),
        {
            "apiVersion": API_VERSION,
            "kind": "TrainingPipeline",
            "metadata": {"name": NAME},
            "spec": pipeline,
        },
        {
            "apiVersion": API_VERSION,
            "kind": "ModelDeployment",
            "metadata": {"name": NAME},
            "spec": deployment,
        },
    ]


def code(strength: float) -> dict[str, Any]:
    """Return the code, which differs by one number."""
    text = CODE.format(strength=strength)
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "flip-code"}, "data": {"train.py": text}}


class Stream:
    """Requests one after the other for as long as it runs; remembers when which version answered."""

    def __init__(self, url: str) -> None:
        """Send to the base URL of the router."""
        self.url = f"{url}/v2/models/{NAME}/infer"
        self.answers: list[tuple[float, str]] = []
        self.failed = 0

    async def run(self) -> None:
        """Ask about 100 times a second until cancelled."""
        tensor = {"name": "input", "shape": [1, 4], "datatype": "FP64", "data": [5.1, 3.5, 1.4, 0.2]}
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as session:
            while True:
                async with session.post(self.url, json={"inputs": [tensor]}) as reply:
                    body = await reply.json()
                    self.failed += reply.status != 200
                    self.answers.append((time.monotonic(), str(body.get("model_version"))))
                await asyncio.sleep(0.01)


async def candidate_on(kubectl: Kubectl, version: str, weight: int) -> None:
    """Wait until a version is the candidate at a weight."""

    def probe() -> bool:
        candidate = ((kubectl.get("modeldeployment", NAME) or {}).get("status") or {}).get("candidate") or {}
        return bool(candidate.get("version") == version and candidate.get("weight") == weight)

    await asyncio.to_thread(wait_for, f"{version} at {weight} %", probe, 180)


async def annotate(kubectl: Kubectl, what: str) -> float:
    """Set an annotation on the deployment and return when that was requested."""
    started = time.monotonic()
    value = f"tidemill.io/{what}=bench-{started:.3f}"
    await asyncio.to_thread(kubectl.run, "annotate", "modeldeployment", NAME, value, "--overwrite")
    return started


async def measure(kubectl: Kubectl) -> list[Row]:
    """Roll candidates back and promote them, and read from the stream when that was in force."""
    address = kubectl.run("get", "service", NAME, "-o", "jsonpath={.spec.clusterIP}")
    back, forth = [], []
    stream = Stream(f"http://{address}")
    task = asyncio.create_task(stream.run())
    number = 1
    try:
        for round_ in range(ROUNDS):
            number += 1
            kubectl.apply(code(1.0 + number / 10))
            await candidate_on(kubectl, f"{NAME}-{number}", 50)
            await asyncio.sleep(6)
            started = await annotate(kubectl, "abort")
            await asyncio.sleep(12)
            back.append(max(at for at, version in stream.answers if version == str(number)) - started)
            number += 1
            kubectl.apply(code(1.0 + number / 10))
            await candidate_on(kubectl, f"{NAME}-{number}", 50)
            await asyncio.sleep(6)
            started = await annotate(kubectl, "promote")
            await asyncio.sleep(12)
            forth.append(max(at for at, version in stream.answers if version != str(number)) - started)
            print(f"  round {round_ + 1}: rolled back in {back[-1]:.2f} s, promoted in {forth[-1]:.2f} s", flush=True)
    finally:
        task.cancel()
    return [
        Row("abort → last answer of the candidate, median", statistics.median(back), "s", goal="≤ 5 s"),
        Row("abort → last answer of the candidate, worst", max(back), "s", None, "", "≤ 5 s", max(back) <= 5),
        Row("promote → last answer of the old version, median", statistics.median(forth), "s", goal="≤ 5 s"),
        Row("promote → last answer of the old version, worst", max(forth), "s", None, "", "≤ 5 s", max(forth) <= 5),
        Row(f"failed of {len(stream.answers)} requests", stream.failed, "requests", goal="0", met=stream.failed == 0),
    ]


def through_router(kubectl: Kubectl) -> list[Row]:
    """Return one-row requests a second and their median, through the router and direct, beside a bare ASGI one."""
    address = kubectl.run("get", "service", NAME, "-o", "jsonpath={.spec.clusterIP}")
    pods = kubectl.list("pod", f"tidemill.io/deployment={NAME},app.kubernetes.io/component=server")
    path, floor_port = f"/v2/models/{NAME}/infer", free_ports(1)[0]
    rows = []
    with quick.floor(floor_port):
        for users in (1, 16):
            floor = quick.load(floor_port, users, 5, path)
            for how, host, port in (("through the router", address, 80), ("direct", pods[0]["status"]["podIP"], 8080)):
                own = quick.load(port, users, 5, path, host)
                what, name = f"one-row V2 request, {how}, {users} at once", "bare ASGI constant"
                rows.append(Row(f"{what}: throughput", own.per_second, "requests/s", floor.per_second, name))
                rows.append(Row(f"{what}: median", own.p50, "µs", floor.p50, name))
    return rows


def run(_: argparse.Namespace) -> list[Row]:
    """Install the operator, deploy a model, measure, and remove the namespace."""
    use_cluster()
    scenario, kubectl, cluster = Scenario(namespace=NAMESPACE, console=Console()), Kubectl(NAMESPACE), Kubectl()
    scenario.install()
    cluster.run("delete", "namespace", NAMESPACE, "--ignore-not-found", "--wait=true", timeout=180)
    cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
    try:
        kubectl.apply(manifests())
        wait_for("a first version", lambda: is_true(kubectl.get("modeldeployment", NAME), "Ready"), 180)
        return [*through_router(kubectl), *asyncio.run(measure(kubectl))]
    finally:
        cluster.run("delete", "namespace", NAMESPACE, "--wait=false")
