"""The cache takes a bounded amount of every object, and what it cut it says."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidemill.kube.transform import MAX_BYTES, is_truncated, size_of, transform, truncated

Obj = dict[str, Any]
VALUES = st.recursive(
    st.text(max_size=3).map(lambda t: t * 300) | st.integers() | st.none(),
    lambda inner: st.lists(inner, max_size=30) | st.dictionaries(st.text(max_size=20), inner, max_size=30),
    max_leaves=60,
)


def pipeline(**spec: Any) -> Obj:
    owner = {"kind": "K", "name": "k", "uid": "u", "controller": True, "apiVersion": "v1"}
    others = [{"kind": "K", "name": f"o{n}", "uid": "x" * 36, "apiVersion": "v1"} for n in range(5000)]
    meta = {"name": "p", "namespace": "ns", "uid": "u", "resourceVersion": "7", "generation": 3}
    made: Obj = {"apiVersion": "tidemill.io/v1alpha1", "kind": "TrainingPipeline"}
    return {**made, "metadata": {**meta, "ownerReferences": [*others, owner]}, "spec": spec}


def test_what_is_small_stays_as_it_is() -> None:
    small = {**pipeline(target="t"), "metadata": {"name": "p", "uid": "u"}}
    assert transform(small) == small
    assert not is_truncated(small)


@pytest.mark.slow
def test_a_large_object_keeps_its_identity_its_controller_and_all_small_values() -> None:
    code = {"configMap": {"name": "code"}, "entrypoint": "train:train"}
    large = pipeline(
        parameters={f"p{n}": "x" * 20_000 for n in range(50)},
        data=[{"name": "a", "uri": "configmap://c/k", "columns": [str(n) for n in range(100_000)]}],
        code=code,
        target="t",
    )
    large["metadata"]["labels"] = {f"l{n}": "x" * 60 for n in range(20_000)}
    large["status"] = {"conditions": [{"type": "Ready", "status": "True"}], "activeRun": "r"}
    thin = transform(large)
    assert is_truncated(thin)
    assert size_of(thin) <= MAX_BYTES
    assert {k: thin["metadata"][k] for k in ("name", "namespace", "uid", "resourceVersion", "generation")} == {
        "name": "p", "namespace": "ns", "uid": "u", "resourceVersion": "7", "generation": 3,
    }  # fmt: skip
    assert thin["metadata"]["ownerReferences"][0]["uid"] == "u"
    assert thin["metadata"]["ownerReferences"][0]["controller"] is True
    assert (thin["spec"]["code"], thin["spec"]["target"]) == (code, "t")
    assert thin["spec"]["data"][0]["uri"] == "configmap://c/k"
    assert thin["status"] == large["status"]
    assert len(large["spec"]["parameters"]) == 50, "the original is not changed"


@pytest.mark.slow
@settings(max_examples=50)
@given(VALUES, st.dictionaries(st.text(max_size=20), st.text(max_size=3).map(lambda t: t * 300), max_size=20))
def test_the_bound_holds_for_every_object(spec: Any, labels: dict[str, str]) -> None:
    most = 16 << 10
    obj = {**pipeline(x=spec), "metadata": {"name": "p", "uid": "u", "labels": labels, "annotations": labels}}
    assert size_of(truncated(obj, most)) <= most


def test_of_what_others_own_only_the_metadata_is_kept() -> None:
    meta = {"name": "c", "namespace": "ns", "uid": "u"}
    for kind in ("ConfigMap", "Service", "PersistentVolumeClaim"):
        obj = {"apiVersion": "v1", "kind": kind, "metadata": meta, "data": {"k": "v"}, "spec": {}, "status": {}}
        assert transform(obj) == {"apiVersion": "v1", "kind": kind, "metadata": meta}
