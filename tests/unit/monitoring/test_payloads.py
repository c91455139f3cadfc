"""Rows that a deployment wants to be kept: what the monitor's pod gets, and what is said of them."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.monitoring.make import SPEC, report, served, snapshot, window

from tidemill.api.v1alpha1.payload_log import Payloads
from tidemill.monitoring import observe
from tidemill.monitoring.builders import payloads, workload
from tidemill.monitoring.policy import evaluation
from tidemill.monitoring.snapshot import Settings
from tidemill_contracts.payloads import PayloadReport

LAKE = {"purpose": "training data of the churn model", "uri": "s3://lake/log", "secretRef": {"name": "lake"}}
CLAIM = {"purpose": "audits", "uri": "pvc://lake/log", "columns": [], "retentionDays": 7}


def kept(spec: dict[str, Any]) -> Payloads:
    return Payloads.model_validate(spec)


def pod(**fields: Any) -> dict[str, Any]:
    found: dict[str, Any] = workload.deployment(snapshot(**fields))["spec"]["template"]["spec"]
    return found


def test_the_monitor_of_a_deployment_that_keeps_rows_gets_store_secret_and_networks() -> None:
    settings = Settings("monitor:dev", data_environment={"TIDEMILL_ALLOWED_NETWORKS": "10.0.0.0/8"})
    found = snapshot(served=served(payloads=kept(LAKE)), settings=settings)
    config = payloads.config(found)
    assert config is not None
    assert (config.uri, config.secret) == ("s3://lake/log/team/churn", "lake")
    assert (config.columns, config.retention_seconds, config.wait_seconds) == (None, 90 * 86_400, 86_400)
    spec = pod(served=served(payloads=kept(LAKE)), settings=settings)
    (container,) = spec["containers"]
    assert {"name": "TIDEMILL_ALLOWED_NETWORKS", "value": "10.0.0.0/8"} in container["env"]
    mounts = {m["mountPath"]: m for m in container["volumeMounts"]}
    assert mounts["/mnt/secret/lake"]["readOnly"] is True
    (volume,) = [v for v in spec["volumes"] if v["name"] == "payload-credentials"]
    assert "AWS_SECRET_ACCESS_KEY" in {item["key"] for item in volume["secret"]["items"]}


def test_a_claim_is_mounted_for_writing_and_labels_are_waited_for() -> None:
    performance = {"metric": "accuracy", "min": 0.8, "labelDelaySeconds": 120}
    found = snapshot({**SPEC, "performance": performance}, served=served(payloads=kept(CLAIM)))
    config = payloads.config(found)
    assert config is not None
    assert (config.columns, config.retention_seconds, config.wait_seconds) == ((), 7 * 86_400, 120)
    spec = pod(served=served(payloads=kept(CLAIM)))
    assert {"name": "payloads", "persistentVolumeClaim": {"claimName": "lake"}} in spec["volumes"]
    assert {"name": "payloads", "mountPath": "/mnt/pvc/lake"} in spec["containers"][0]["volumeMounts"]


def test_a_monitor_that_keeps_no_rows_is_as_before_and_another_purpose_restarts_none() -> None:
    assert payloads.config(snapshot()) is None
    assert "payload" not in str(workload.unit(snapshot()).inputs)
    one, other = (
        workload.unit(snapshot(served=served(payloads=kept({**LAKE, "purpose": p})))) for p in ("one", "another")
    )
    assert one.inputs == other.inputs


def test_what_a_deployment_says_is_read_and_what_cannot_be_read_keeps_nothing() -> None:
    assert observe.payloads({"spec": {"logging": {"payloads": LAKE}}}) == kept(LAKE)
    for spec in ({}, {"logging": {}}, {"logging": {"payloads": {"uri": "s3://lake"}}}):
        assert observe.payloads({"spec": spec}) is None


@pytest.mark.parametrize(
    ("told", "wanted"),
    [
        (None, None),
        (PayloadReport(), ("True", "RowsWritten")),
        (PayloadReport(error="AccessDenied: no", discarded=3), ("False", "StoreFailed")),
    ],
)
def test_the_condition_says_whether_rows_reach_the_store(told: PayloadReport | None, wanted: Any) -> None:
    read = report(window(1)).model_copy(update={"payloads": told})
    found = evaluation.evaluate(snapshot(read=read, served=served(payloads=kept(LAKE)))).get("PayloadsWritten")
    assert (found and (found.status, found.reason)) == wanted
    if told and told.error:
        assert found is not None
        assert "AccessDenied: no; 3 rows were discarded" in found.message
    assert evaluation.evaluate(snapshot(read=read)).get("PayloadsWritten") is None
