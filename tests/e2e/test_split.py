"""Rows of one customer on one side, from the manifest to the version, and the champion on the same rows afterwards."""

from typing import Any

import pytest
from hack.tools.kubectl import Kubectl, condition, wait_for
from tests.e2e.conftest import conditions
from tests.e2e.manifests import code, pipeline, table

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

NAME = "returns"
SPLIT = {"type": "Group", "column": "customer"}
GATE = {"metric": "accuracy", "againstChampion": {"minDelta": -1}}


def orders(number: int) -> list[str]:
    rows = [f"{i % 60},{i % 17}.5,{i % 11}.25,{int(i % 17 + i % 11 > 13)}" for i in range(number)]
    return ["customer,price,weight,returned", *rows]


def ended(namespace: Kubectl, number: int) -> dict[str, Any]:
    """Wait until so many runs have ended, and return the newest."""

    def probe() -> dict[str, Any] | None:
        runs = namespace.list("trainingrun")
        over = [run for run in runs if condition(run, "Succeeded").get("status") in ("True", "False")]
        over.sort(key=lambda run: run["metadata"]["creationTimestamp"])
        return over[-1] if len(over) == number else None

    return wait_for(f"{number} runs", probe, 120, lambda: conditions(namespace.get("trainingpipeline", NAME)))


def test_customers_are_held_out_whole_and_stay_so(namespace: Kubectl) -> None:
    source = [{"name": "orders", "uri": "configmap://orders/d.csv"}]
    evaluation = {"split": SPLIT, "gates": [GATE]}
    namespace.apply([table("orders", orders(300)), code(f"{NAME}-code")])
    spec = {"data": source, "target": "returned", "triggers": {"dataChange": {"settleSeconds": 0}}}
    namespace.apply(pipeline(NAME, evaluation=evaluation, **spec))

    first = ended(namespace, 1)
    groups = first["status"]["result"]["holdout"]["groups"]
    assert (first["status"]["result"]["holdout"]["type"], sum(groups.values())) == ("Group", 60)
    version = namespace.get("modelversion", f"{NAME}-1")
    assert version is not None
    assert [column["name"] for column in version["spec"]["signature"]["inputs"]] == ["price", "weight"]
    assert version["spec"]["lineage"]["split"] == {**SPLIT, "ratio": 0.2}

    namespace.apply(table("orders", orders(420)))
    second = ended(namespace, 2)
    assert second["status"]["result"]["holdout"]["groups"] == groups
    assert second["status"]["result"]["championMetrics"]
    assert "championOverlap" not in second["status"]["result"]

    evaluation["split"] = {"type": "Hash"}
    namespace.apply(pipeline(NAME, evaluation=evaluation, **spec))
    third = ended(namespace, 3)
    assert third["spec"]["trigger"]["type"] == "SpecChanged"
    why = "its run divided rows by split Group of column 'customer', this one by split Hash"
    assert why in third["status"]["result"]["championOverlap"]
    assert why in condition(third, "Succeeded")["message"]
