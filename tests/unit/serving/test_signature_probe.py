"""Server pods are asked for their signature where no record has it, while two versions may be compared."""

from collections.abc import Callable
from typing import Any

import pytest
from tests.unit.serving.make import CANARY, COLUMNS, UID, candidate, digest, snapshot, stable, version
from tests.unit.serving.test_reconciler import KEY, Client, World

from tidemill.kube.scraper import Answer, Limits
from tidemill.serving import observe, signature_probe
from tidemill.serving.builders import server
from tidemill.serving.requeue import ASK_SECONDS
from tidemill_contracts.artifact import ColumnSpec, Signature
from tidemill_contracts.runtimes import PARITY_CHECK
from tidemill_contracts.signatures import MOST_INPUTS, ServedSignature
from tidemill_contracts.signatures import digest as digest_of

Parse = Callable[[bytearray], Any]

SAME = version(1).signature
assert SAME is not None
RENAMED = Signature(inputs=(SAME.inputs[0].model_copy(update={"name": "months"}), SAME.inputs[1]), outputs=SAME.outputs)


class Pods(Client):
    """Answers with what the test says of an address."""

    def __init__(self) -> None:
        super().__init__()
        self.says: dict[str, str] = {}

    async def read(
        self, namespace: str, owner: str, urls: list[str], limits: Limits, parse: Parse
    ) -> list[Answer[Any]]:
        if limits != signature_probe.LIMITS:
            return [Answer(error="it did not answer in time") for _ in urls]
        assert owner == f"{UID} servers"
        self.asked += urls
        texts = (self.says.get(url.removeprefix("http://").removesuffix(":8081/signature")) for url in urls)
        return [Answer(error="it is gone") if t is None else Answer(parse(bytearray(t.encode()))) for t in texts]


class Two(World):
    """Version 1 serves and version 2 is about to; neither record has its columns."""

    def __init__(self, rollout: dict[str, Any] | None = None, step: int = -1, **spec: Any) -> None:
        super().__init__()
        self.client: Pods = Pods()
        self.reconciler = self.leader()
        found = candidate(2, step, step_started=5 if step >= 0 else None)
        status = {"stable": stable(1).to_json(), "candidate": found.to_json()}
        self.deployment(status, {"rollout": rollout or CANARY})
        for number in (1, 2):
            self.record(number, **spec)
            self.live(number)

    def record(self, number: int, **spec: Any) -> None:
        base = {"pipeline": "churn", "number": number, "digest": digest(number), "uri": "pvc://m/x"}
        base |= {"formats": ["onnx"], "onnxCheck": PARITY_CHECK, **spec}
        meta = {"name": f"churn-{number}"}
        self.put({"apiVersion": "tidemill.io/v1alpha1", "kind": "ModelVersion", "metadata": meta, "spec": base})

    def live(self, number: int) -> None:
        deployment = server.deployment(snapshot(), version(number))
        name = deployment["metadata"]["name"]
        deployment["metadata"]["uid"] = f"u-Deployment-{name}"
        self.put(deployment)
        status = {"podIP": f"10.0.0.{number}", "conditions": [{"type": "Ready", "status": "True"}]}
        labels = server.labels(snapshot(), version(number))
        meta = {"name": f"s-{number}", "labels": labels, "ownerReferences": self.client.owners(name)}
        self.put({"apiVersion": "v1", "kind": "Pod", "metadata": meta, "status": status})

    def says(self, number: int, signature: Signature, of: int | None = None) -> None:
        answer = ServedSignature(digest=digest(of or number), signature=signature)
        self.client.says[f"10.0.0.{number}"] = answer.to_json()

    async def known(self, seconds: float = 0) -> dict[int, Signature | None]:
        return {w.version.number: w.signature for w in (await self.look(seconds)).workloads}


async def test_both_versions_are_asked_and_each_pod_once() -> None:
    world = Two()
    world.says(1, SAME)
    world.says(2, RENAMED)
    assert await world.known() == await world.known(3600) == {1: SAME, 2: RENAMED}
    assert sorted(world.client.asked) == [f"http://10.0.0.{n}:8081/signature" for n in (1, 2)]
    await world.look_anew()
    assert len(world.client.asked) == 4, "a new leader asks anew"


async def test_who_did_not_answer_is_asked_again_after_a_while() -> None:
    world = Two()
    world.says(1, SAME)
    assert await world.known() == {1: SAME, 2: None}
    world.says(2, SAME)
    assert await world.known(ASK_SECONDS - 1) == {1: SAME, 2: None}
    assert await world.known(1) == {1: SAME, 2: SAME}


@pytest.mark.parametrize(
    "world",
    [
        lambda: Two(signature=COLUMNS),
        lambda: Two({**CANARY, "signatureChanges": "Allow"}),
        lambda: Two(step=0),
    ],
    ids=["the records have them", "nothing is compared", "it has begun"],
)
async def test_nobody_is_asked_without_need(world: Callable[[], Two]) -> None:
    made = world()
    assert await made.known() == {1: None, 2: None} and made.client.asked == []


async def test_the_record_is_believed_and_not_the_pod() -> None:
    world = Two(signatureDigest=digest_of(SAME))
    world.says(1, SAME)
    world.says(2, RENAMED)
    assert await world.known() == {1: SAME, 2: None}, "a pod that contradicts the digest has said nothing"


async def test_what_no_server_of_this_version_says_is_not_believed() -> None:
    for text in ("", "null", '{"error": "the model is not loaded yet"}', '{"digest": 5, "signature": {}}'):
        world = Two()
        world.client.says["10.0.0.2"] = text
        assert (await world.known())[2] is None
    world = Two()
    world.says(2, SAME, of=1)
    assert (await world.known())[2] is None, "it speaks of another version"


async def test_what_is_kept_of_an_answer_is_small_and_bounded() -> None:
    world = Two()
    columns = tuple(ColumnSpec(name=f"feature_{n}", datatype="FP64", categories=("a",) * 5) for n in range(MOST_INPUTS))
    world.says(2, Signature(inputs=columns, outputs=()))
    assert len((await world.known())[2].inputs) == MOST_INPUTS  # type: ignore[union-attr]
    known = world.reconciler._signature_probe._answers._memory.get(KEY, UID) or {}
    assert 0 < sum(len(said) for said, _ in known.values() if said is not None) < 1 << 15
    more = Two()
    more.says(2, Signature(inputs=(*columns, columns[0]), outputs=()))
    assert (await more.known())[2] is None


async def test_pods_that_contradict_each_other_have_said_nothing() -> None:
    world = Two()
    world.says(2, SAME)
    pod = dict(world.cache.get("Pod", "team", "s-2") or {})
    other = {**pod["metadata"], "name": "s-2b", "uid": "u-other"}
    world.put({**pod, "metadata": other, "status": {**pod["status"], "podIP": "10.0.0.3"}})
    world.client.says["10.0.0.3"] = ServedSignature(digest=digest(2), signature=RENAMED).to_json()
    assert (await world.known())[2] is None


async def test_a_false_pod_hides_nothing_of_what_the_digest_of_the_record_proves() -> None:
    for false, of in ((RENAMED, 2), (Signature(inputs=(), outputs=()), 2), (SAME, 1)):
        world = Two(signatureDigest=digest_of(SAME))
        world.says(2, SAME)
        pod = dict(world.cache.get("Pod", "team", "s-2") or {})
        other = {**pod["metadata"], "name": "s-1z", "uid": "u-other"}
        world.put({**pod, "metadata": other, "status": {**pod["status"], "podIP": "10.0.0.3"}})
        world.client.says["10.0.0.3"] = ServedSignature(digest=digest(of), signature=false).to_json()
        assert (await world.known())[2] == SAME


async def test_nothing_is_kept_when_nothing_is_compared_any_more() -> None:
    world = Two()
    world.says(1, SAME)
    await world.known()
    world.deployment({"stable": stable(1).to_json()}, {"rollout": {**CANARY, "signatureChanges": "Allow"}})
    await world.look()
    assert world.reconciler._signature_probe._answers._memory.get(KEY, UID) is None


def test_a_record_is_read_as_it_is() -> None:
    meta = {"name": "churn-1"}
    spec = {"number": 1, "digest": digest(1), "uri": "pvc://m/x", "formats": ["onnx"]}
    found = observe.version({"metadata": meta, "spec": {**spec, "signature": COLUMNS, "signatureDigest": "sha256:1"}})
    assert (found.signature, found.signature_digest) == (SAME, "sha256:1")
    unused = {**COLUMNS, "inputs": [{"name": "id", "datatype": "BYTES", "used": False}]}
    read = observe.version({"metadata": meta, "spec": {**spec, "signature": unused}}).signature
    assert read is not None and read.inputs[0].shape == (-1,) and read.used_inputs == ()
    assert observe.version({"metadata": meta, "spec": spec}).signature is None
