"""Which objects of its namespace the pods of a manifest read by name."""

from __future__ import annotations

from typing import Any

import pytest

from tidemill.core import pod_reads

Obj = dict[str, Any]
BOTH = [{"configMap": {"name": "c"}}, {"secret": {"name": "s"}}]


def workload(**spec: Any) -> Obj:
    return {"kind": "Deployment", "metadata": {"name": "d"}, "spec": {"template": {"spec": spec}}}


@pytest.mark.parametrize(
    ("spec", "read"),
    [
        ({}, set()),
        ({"volumes": [{"name": "tmp", "emptyDir": {}}]}, set()),
        ({"volumes": [{"name": "v", "configMap": {"name": "c"}}]}, {("ConfigMap", "c")}),
        ({"volumes": [{"name": "v", "secret": {"secretName": "s"}}]}, {("Secret", "s")}),
        ({"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "p"}}]}, {("PersistentVolumeClaim", "p")}),
        ({"volumes": [{"name": "v", "projected": {"sources": BOTH}}]}, {("ConfigMap", "c"), ("Secret", "s")}),
        ({"serviceAccountName": "a"}, {("ServiceAccount", "a")}),
        (
            {"containers": [{"envFrom": [{"configMapRef": {"name": "c"}}, {"secretRef": {"name": "s"}}]}]},
            {("ConfigMap", "c"), ("Secret", "s")},
        ),
        (
            {
                "initContainers": [
                    {
                        "env": [
                            {"name": "A", "value": "1"},
                            {"name": "B", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "k"}}},
                            {"name": "C", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
                            {"name": "D", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                        ]
                    }
                ]
            },
            {("ConfigMap", "c"), ("Secret", "s")},
        ),
    ],
)  # fmt: skip
def test_every_way_by_which_a_pod_reads_an_object(spec: Obj, read: set[tuple[str, str]]) -> None:
    assert pod_reads.of(workload(**spec)) == read


@pytest.mark.parametrize(
    "manifest",
    [
        {"kind": "ConfigMap", "metadata": {"name": "c"}, "data": {}},
        {"kind": "PersistentVolumeClaim", "metadata": {"name": "c"}, "spec": {"accessModes": []}},
        {"kind": "TrainingRun", "metadata": {"name": "r"}, "spec": {"template": None}},
    ],
)
def test_what_has_no_pods_reads_nothing(manifest: Obj) -> None:
    assert pod_reads.of(manifest) == set()
