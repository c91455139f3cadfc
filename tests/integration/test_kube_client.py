"""Our client on a real API server, beside the official one: what is sent is what was meant."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from kubernetes import client as official
from kubernetes import config as official_config
from tests.support.invariants import DEFAULT_STATUS
from tests.support.operators import Installation

from tidemill.core.children import owner_reference
from tidemill.core.plan import Event, ObjectRef
from tidemill.engine.clock import SystemClock
from tidemill.errors import ApiError
from tidemill.kube.access import Access
from tidemill.kube.client import KubeClient
from tidemill.kube.events import EventRecorder

pytestmark = pytest.mark.integration
Obj = dict[str, Any]


@pytest.fixture
async def client(installation: Installation) -> AsyncIterator[KubeClient]:
    """An administrator."""
    async with KubeClient(Access.from_kubeconfig(installation.kubeconfig)) as found:
        yield found
    await asyncio.sleep(0.1)  # TLS connections close in the background


@pytest.fixture
def core(installation: Installation) -> official.CoreV1Api:
    """The official client."""
    return official.CoreV1Api(official_config.new_client_from_config(str(installation.kubeconfig)))


def config_map(namespace: str, name: str = "c", **data: str) -> Obj:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": namespace}, "data": data}


def monitor(namespace: str) -> Obj:
    spec = {"deployment": "d", "quality": {"maxMissingRatio": 0.1}}
    meta = {"name": "m", "namespace": namespace}
    return {"apiVersion": "tidemill.io/v1alpha1", "kind": "ModelMonitor", "metadata": meta, "spec": spec}


async def test_apply_removes_what_is_no_longer_said_and_spares_what_others_said(
    client: KubeClient, core: official.CoreV1Api, namespace: str
) -> None:
    await client.apply(config_map(namespace, a="1", b="2"))
    core.patch_namespaced_config_map("c", namespace, {"data": {"theirs": "3"}})
    await client.apply(config_map(namespace, a="1"))
    assert core.read_namespaced_config_map("c", namespace).data == {"a": "1", "theirs": "3"}


async def test_both_clients_see_the_same_object(client: KubeClient, core: official.CoreV1Api, namespace: str) -> None:
    await client.create(config_map(namespace, a="ü"))
    ours = await client.get("v1", "ConfigMap", namespace, "c")
    theirs = core.read_namespaced_config_map("c", namespace)
    assert ours is not None
    assert (ours["metadata"]["uid"], ours["data"]) == (theirs.metadata.uid, theirs.data)
    with pytest.raises(ApiError) as caught:
        await client.create(config_map(namespace))
    assert (caught.value.status, caught.value.reason) == (409, "AlreadyExists")


async def test_lists_longer_than_a_page(client: KubeClient, namespace: str) -> None:
    await asyncio.gather(*(client.create(config_map(namespace, f"c{n}")) for n in range(510)))
    found = await client.list("v1", "ConfigMap", namespace)
    assert len({o["metadata"]["name"] for o in found}) == 510
    assert {(o["apiVersion"], o["kind"]) for o in found} == {("v1", "ConfigMap")}


async def test_status_write_needs_the_object_that_was_read(client: KubeClient, namespace: str) -> None:
    read = await client.create(monitor(namespace))
    assert read["status"] == DEFAULT_STATUS["ModelMonitor"], "until somebody has looked"
    stale = read
    fresh = await client.replace_status(read, {"observedGeneration": 1, "conditions": []})
    assert fresh["status"] == {"observedGeneration": 1, "conditions": []}, "nothing of the default is left"
    with pytest.raises(ApiError) as caught:
        await client.replace_status(stale, {"observedGeneration": 1})
    assert caught.value.is_conflict
    await client.delete(ObjectRef.of(fresh))
    again = await client.create(monitor(namespace))
    with pytest.raises(ApiError) as caught:
        await client.replace_status(fresh, {"observedGeneration": 1})
    assert caught.value.is_conflict, "another object of the same name"
    await client.delete(ObjectRef.of(again))


async def test_history_tells_whether_an_object_was_ever_there(client: KubeClient, namespace: str) -> None:
    before = await client.create(config_map(namespace, "witness"))
    since, owner = before["metadata"]["resourceVersion"], before["metadata"]["uid"]
    assert await client.changed_since("v1", "ConfigMap", namespace, "c", since, owner) is False
    owned = config_map(namespace)
    owned["metadata"]["ownerReferences"] = [owner_reference(before)]
    made = await client.create(owned)
    await client.delete(ObjectRef.of(made))
    assert await client.get(ObjectRef.of(made)) is None
    assert await client.changed_since("v1", "ConfigMap", namespace, "c", since, owner) is True
    assert await client.changed_since("v1", "ConfigMap", namespace, "c", since, "a predecessor") is False


async def test_uid_preconditions(client: KubeClient, namespace: str) -> None:
    made = await client.create(config_map(namespace, a="1"))
    wrong = ObjectRef("v1", "ConfigMap", namespace, "c", "00000000-0000-0000-0000-000000000000")
    assert await client.get(wrong) is None
    assert await client.delete(wrong) is False
    with pytest.raises(ApiError) as caught:
        await client.patch_merge(wrong, {"data": {"a": "2"}})
    assert caught.value.is_conflict
    patched = await client.patch_merge(ObjectRef.of(made), {"data": {"a": "2"}})
    assert patched["data"] == {"a": "2"}
    assert await client.delete(ObjectRef.of(made)) is True
    assert await client.delete(ObjectRef.of(made)) is False


async def test_kinds_that_are_there_and_not(client: KubeClient) -> None:
    assert await client.has_kind("tidemill.io/v1alpha1", "ModelMonitor")
    assert not await client.has_kind("monitoring.coreos.com/v1", "ServiceMonitor")


async def test_refusals_keep_the_servers_sentence(client: KubeClient, namespace: str) -> None:
    broken = monitor(namespace)
    del broken["spec"]["quality"]
    with pytest.raises(ApiError, match="at least one of drift, quality, performance, fairness and gaming") as caught:
        await client.create(broken)
    assert (caught.value.status, caught.value.reason) == (422, "Invalid")


async def test_events_are_seen_by_kubectl_and_counted(
    client: KubeClient, installation: Installation, namespace: str
) -> None:
    made = await client.create(config_map(namespace, a="1"))
    clock = SystemClock()
    for _ in range(2):
        for recorder in [EventRecorder(client, pod, clock.now, clock.monotonic) for pod in ("pod-1", "pod-2")]:
            await recorder.post(made, Event("Warning", "Broken", "spec.x must be 1", "Check"))
    (found,) = installation.get("events", "-n", namespace)["items"]
    assert found["count"] == 4
    assert found["firstTimestamp"] <= found["lastTimestamp"], "by which kubectl sorts"
    shown = installation.kubectl("describe", "configmap", "c", "-n", namespace)
    assert "Broken" in shown
    assert "spec.x must be 1" in shown


async def test_the_operators_account_may_not_read_secrets(installation: Installation, namespace: str) -> None:
    asked = installation.kubectl(
        "auth", "can-i", "get", "secrets", "-n", namespace,
        "--as=system:serviceaccount:tidemill-system:tidemill-operator", check=False,
    )  # fmt: skip
    assert "no" in asked.split() or asked == ""
