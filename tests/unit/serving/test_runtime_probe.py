"""Server pods are asked which form they serve: those that are proven, once each, and only where nobody else knows."""

from collections.abc import Callable
from typing import Any

import pytest
from tests.unit.serving.make import UID, digest, snapshot, stable, version
from tests.unit.serving.test_reconciler import KEY, Client, World

from tidemill.kube.scraper import Answer, Limits
from tidemill.serving import runtime_probe
from tidemill.serving.builders import server
from tidemill.serving.requeue import ASK_SECONDS
from tidemill.serving.snapshot import Snapshot
from tidemill_contracts.inference import ServedForm
from tidemill_contracts.runtimes import OUTDATED, PARITY_CHECK, VERIFIED

Parse = Callable[[bytearray], Any]

ONE = version(1, onnx=VERIFIED, onnx_check=1)
NATIVE = ServedForm(digest=ONE.digest, runtime="Native", surprise=OUTDATED)
ONNX = ServedForm(digest=ONE.digest, runtime="ONNX")


class Pods(Client):
    """Answers with what the test says of an address; nothing else can be connected to."""

    def __init__(self) -> None:
        super().__init__()
        self.says: dict[str, str] = {}

    async def read(
        self, namespace: str, owner: str, urls: list[str], limits: Limits, parse: Parse
    ) -> list[Answer[Any]]:
        assert (namespace, limits) == ("team", runtime_probe.LIMITS)
        assert owner == f"{UID} servers", "late servers must not make the router's pods rest"
        self.asked += urls
        texts = (self.says.get(url.removeprefix("http://").removesuffix(":8081/form")) for url in urls)
        return [
            Answer(error="it refused the connection or cannot be reached")
            if t is None
            else Answer(parse(bytearray(t.encode())))
            for t in texts
        ]


class Servers(World):
    def __init__(self, runtime: str = "Auto", check: int = 1) -> None:
        super().__init__()
        self.client: Pods = Pods()
        self.reconciler = self.leader()
        self.deployment({"stable": stable(1).to_json()}, {"server": {"runtime": runtime}})
        meta = {"name": "churn-1"}
        spec = {"pipeline": "churn", "number": 1, "digest": digest(1), "uri": ONE.uri, "formats": [*ONE.formats]}
        spec |= {"onnx": VERIFIED, "onnxCheck": check}
        self.put({"apiVersion": "tidemill.io/v1alpha1", "kind": "ModelVersion", "metadata": meta, "spec": spec})
        self.live = server.deployment(snapshot(), ONE)
        self.live["metadata"]["uid"] = f"u-Deployment-{self.live['metadata']['name']}"
        self.put(self.live)

    def pod(self, name: str, says: ServedForm | str | None, restarts: int = 0, **meta: Any) -> None:
        address = f"10.0.0.{len(name)}"
        if says is not None:
            self.client.says[address] = says if isinstance(says, str) else says.to_json()
        status = {"podIP": address, "conditions": [{"type": "Ready", "status": "True"}]}
        status["containerStatuses"] = [{"name": "server", "restartCount": restarts}]
        owners = self.client.owners(self.live["metadata"]["name"])
        meta = {"name": name, "labels": server.labels(snapshot(), ONE), "ownerReferences": owners, **meta}
        self.put({"apiVersion": "v1", "kind": "Pod", "metadata": meta, "status": status})

    async def forms(self, seconds: float = 0) -> set[ServedForm]:
        return said(await self.look(seconds))


def said(found: Snapshot) -> set[ServedForm]:
    (one,) = found.workloads
    return set(one.forms)


async def test_a_pod_is_asked_once_in_its_life() -> None:
    world = Servers()
    world.pod("s", NATIVE)
    assert await world.forms() == {NATIVE}
    assert await world.forms(3600) == {NATIVE}
    assert world.client.asked == ["http://10.0.0.1:8081/form"]
    world.pod("s", ONNX, restarts=1)
    assert await world.forms() == {ONNX}
    world.pod("ss", NATIVE)
    assert await world.forms() == {ONNX, NATIVE}
    assert len(world.client.asked) == 3
    world.reconciler = world.leader()
    assert await world.forms() == {ONNX, NATIVE}, "a new leader asks anew"


async def test_what_the_record_says_is_not_asked() -> None:
    for world in (Servers(check=PARITY_CHECK), Servers("ONNX"), Servers("Native")):
        world.pod("s", NATIVE)
        assert await world.forms() == set()
        assert world.client.asked == []


async def test_who_did_not_answer_is_asked_again_after_a_while() -> None:
    world = Servers()
    world.pod("s", None)
    assert await world.forms() == await world.forms(ASK_SECONDS - 1) == set()
    assert len(world.client.asked) == 1
    world.client.says["10.0.0.1"] = ONNX.to_json()
    assert await world.forms(1) == {ONNX}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        '{"error": "the model is not loaded yet"}',
        NATIVE.to_json().replace("Native", "Native; see http://evil"),
        NATIVE.to_json().replace(OUTDATED, "x" * 100),
        NATIVE.model_copy(update={"digest": digest(2)}).to_json(),
        ServedForm(digest=ONE.digest, runtime="Native").to_json(),  # configured to be native: a pod of the spec before
        ServedForm(digest=ONE.digest, runtime="ONNX", surprise=OUTDATED).to_json(),
    ],
)
async def test_what_no_server_of_this_version_says_is_not_believed(text: str) -> None:
    world = Servers()
    world.pod("s", text)
    assert await world.forms() == set()
    world.pod("ss", ONNX)
    assert await world.forms() == {ONNX}


async def test_pods_that_are_not_ready_or_somebody_elses_are_not_asked() -> None:
    world = Servers()
    stray = [{**world.client.owners("other")[0]}]
    world.pod("s", NATIVE, ownerReferences=stray)
    world.pod("ss", NATIVE, ownerReferences=[])
    world.pod("sss", NATIVE, deletionTimestamp="2026-11-29T00:00:00Z")
    assert await world.forms() == set()
    assert world.client.asked == []


async def test_of_many_pods_a_few_are_asked() -> None:
    world = Servers()
    for number in range(1, 2 * runtime_probe.PODS):
        world.pod("s" * number, ONNX)
    assert await world.forms() == {ONNX}
    assert await world.forms(1) == {ONNX}
    assert len(world.client.asked) == runtime_probe.PODS


async def test_nothing_is_kept_of_a_deployment_that_is_gone() -> None:
    world = Servers()
    world.pod("s", NATIVE)
    await world.forms()
    obj = dict(world.cache.get("ModelDeployment", "team", "churn") or {})
    obj["metadata"] = {**obj["metadata"], "deletionTimestamp": "2026-11-29T00:00:00Z"}
    world.put(obj)
    assert await world.reconciler.gather(KEY) is None
    assert world.reconciler._runtime_probe._answers._memory.get(KEY, UID) is None
