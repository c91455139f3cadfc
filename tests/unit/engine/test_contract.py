"""What slices get from the engine: whole objects, and mappers from a child to whom it concerns."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.engine.fakes import FakeApi, FakeClock

from tidemill.config import OperatorConfig
from tidemill.core.plan import Key
from tidemill.engine.contract import Deps, controller_keys, label_keys
from tidemill.kube.cache import Cache
from tidemill.kube.transform import transform

Obj = dict[str, Any]
KEY = Key("ModelMonitor", "ns", "m")


def monitor(**spec: Any) -> Obj:
    meta = {"name": "m", "namespace": "ns", "uid": "u", "managedFields": [{"manager": "kubectl"}]}
    return {"apiVersion": "tidemill.io/v1alpha1", "kind": "ModelMonitor", "metadata": meta, "spec": spec}


async def test_an_object_is_read_from_the_cache_and_whole_from_the_api_server_where_that_has_a_part() -> None:
    api, cache = FakeApi(), Cache()
    deps = Deps(api, cache, OperatorConfig(), FakeClock())  # type: ignore[arg-type]
    assert await deps.read(KEY) is None
    cache.put(transform(api.put(monitor(deployment="small"))))
    api.objects.clear()
    assert (await deps.read(KEY) or {})["spec"] == {"deployment": "small"}
    large = {"deployment": "x" * (1 << 20)}
    cache.put(transform(api.put(monitor(**large))))
    read = await deps.read(KEY)
    assert read is not None
    assert read["spec"] == large
    assert "managedFields" not in read["metadata"]
    api.objects.clear()
    assert await deps.read(KEY) is None, "gone meanwhile"


def child(owner: Obj | None, **labels: str) -> Obj:
    owners = [] if owner is None else [{"controller": True, "name": "churn", "uid": "u", **owner}]
    return {"kind": "Job", "metadata": {"name": "j", "namespace": "ns", "ownerReferences": owners, "labels": labels}}


OURS = {"apiVersion": "tidemill.io/v1alpha1", "kind": "TrainingRun"}


@pytest.mark.parametrize(
    ("owner", "kinds", "woken"),
    [
        (OURS, (), [Key("TrainingRun", "ns", "churn")]),
        (OURS, ("TrainingRun",), [Key("TrainingRun", "ns", "churn")]),
        (OURS, ("ModelMonitor",), []),
        ({"apiVersion": "apps/v1", "kind": "TrainingRun"}, (), []),
        ({"apiVersion": "apps/v1", "kind": "TrainingRun"}, ("TrainingRun",), []),
        (None, (), []),
    ],
)
def test_the_controller_of_a_child_is_woken_when_it_is_ours(
    owner: Obj | None, kinds: tuple[str, ...], woken: list[Key]
) -> None:
    assert list(controller_keys(*kinds)(child(owner), Cache())) == woken


def test_whom_a_label_names_is_woken() -> None:
    mapper = label_keys("of", "ModelDeployment")
    assert list(mapper(child(None, of="churn"), Cache())) == [Key("ModelDeployment", "ns", "churn")]
    assert list(mapper(child(None, of=""), Cache())) == []
    assert list(mapper(child(None), Cache())) == []
    assert list(mapper({"metadata": {"name": "j", "namespace": "ns"}}, Cache())) == []
