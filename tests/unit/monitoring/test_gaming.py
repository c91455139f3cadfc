"""Clients that may game the system: what the condition says, what reaches the monitor's pod, and what spec allows."""

from dataclasses import replace
from typing import Any

import pytest
from pydantic import ValidationError
from tests.unit.monitoring.make import FULL, report, snapshot, window

from tidemill.api.v1alpha1.model_monitor import ModelMonitorSpec
from tidemill.monitoring import plan, status
from tidemill.monitoring.builders import workload
from tidemill.monitoring.policy import actions, evaluation
from tidemill.monitoring.snapshot import Snapshot
from tidemill_contracts.gaming import ClientReport, GamingConfig, GamingFinding, GamingReport

ASKED = {**FULL, "gaming": {"maxPredictionsPerMinute": 600, "maxLabelShareOfClient": 0.2}}
A, B = "a" * 16, "b" * 16


def finding(kind: Any = "LabelMix", **changes: Any) -> GamingFinding:
    values = {"began": 0.0, "found": 0.0, "value": 0.19, "limit": 0.1, "of": 120, "expected": 0.83}
    return GamingFinding(kind=kind, **{**values, **changes})


def found(*clients: ClientReport, spec: dict[str, Any] | None = None, keys: bool = True, **changes: Any) -> Snapshot:
    suspected = sum(bool(client.findings) for client in clients)
    gaming = GamingReport(clients=clients, **{"known": len(clients), "suspected": suspected, **changes})
    read = report(window(1)).model_copy(update={"gaming": gaming})
    made = snapshot(ASKED if spec is None else spec, read=read)
    assert made.served is not None
    return replace(made, served=replace(made.served, has_keys=keys))


CASES: dict[str, tuple[Snapshot, tuple[str, str], str]] = {
    "no keys": (found(ClientReport(client=A), keys=False), ("Unknown", "ClientsNotKnown"), "churn has no spec.access"),
    "nobody yet": (found(), ("Unknown", "ClientsNotKnown"), "no prediction and no label of a client"),
    "nobody suspected": (found(ClientReport(client=A)), ("False", "NobodySuspected"), "nobody of 1 client"),
    "false labels": (
        found(ClientReport(client=A, findings=(finding(),)), ClientReport(client=B), known=7),
        ("True", "ClientsSuspected"),
        f"1 client is suspected, of 7: {A}: LabelMix, 19% of 120 labels agree with the predictions, 83% of those of "
        "others at the same scores (maxLabelDifference 0.1)",
    ),
    "limits": (
        found(
            ClientReport(
                client=A,
                findings=(
                    finding("PredictionRate", value=900.0, limit=600.0),
                    finding("LabelShare", value=0.2004, limit=0.2, of=9_000),
                ),
            ),
            ClientReport(client=B, findings=(finding("ForeignLabels", value=0.5, limit=0.1, of=1),)),
        ),
        ("True", "ClientsSuspected"),
        f"2 clients are suspected, of 2: {A}: PredictionRate, 900 predictions in a minute (maxPredictionsPerMinute "
        "600), LabelShare, 20.04% of 9000 labels came from it (maxLabelShareOfClient 0.2); "
        f"{B}: ForeignLabels, 50% of 1 label are for predictions of others",
    ),
    "just above limits": (
        found(
            ClientReport(
                client=A, findings=(finding("PredictionRate", value=600.4, limit=600.0), finding(expected=None))
            ),
        ),
        ("True", "ClientsSuspected"),
        "PredictionRate, 600.4 predictions in a minute (maxPredictionsPerMinute 600), "
        "LabelMix, 19% of 120 labels agree with the predictions, 0% of those",
    ),
    "duplicates": (
        found(ClientReport(client=A, findings=(finding("NearDuplicates", value=0.9, limit=0.5),))),
        ("True", "ClientsSuspected"),
        "NearDuplicates, 90% of 120 rows nearly equal an earlier one (maxNearDuplicateShare 0.5)",
    ),
    "a pod that names somebody": (
        found(ClientReport(client="alice@example.com", findings=(finding(),))),
        ("False", "NobodySuspected"),
        "nobody of 1 client",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_the_condition(name: str) -> None:
    read, wanted, part = CASES[name]
    condition = evaluation.evaluate(read).get("GamingSuspected")
    assert condition is not None
    assert (condition.status, condition.reason) == wanted
    assert part in condition.message
    assert "more" not in condition.message
    assert condition.reason in status.REASONS


def test_many_suspects_are_counted_and_the_message_is_bounded() -> None:
    many = [ClientReport(client=f"{n:016x}", findings=(finding(),) * 5) for n in range(20)]
    condition = evaluation.evaluate(found(*many, known=256, suspected=200)).get("GamingSuspected")
    assert condition is not None
    assert condition.message.startswith("200 clients are suspected, of 256: ")
    assert condition.message.endswith("; 195 more")
    assert len(condition.message) < 4_000


def test_without_the_section_there_is_no_condition_and_nothing_in_the_pods_configuration() -> None:
    read = found(ClientReport(client=A, findings=(finding(),)), spec=FULL)
    assert evaluation.evaluate(read).get("GamingSuspected") is None
    assert workload.config(read).gaming is None
    assert "gaming" not in workload.config(read).to_json()


def told(read: Snapshot) -> Any:
    return (plan.plan(read).status or {}).get("suspectedClients")


def test_status_has_the_hashes_of_suspects_and_nothing_else() -> None:
    suspect, other = ClientReport(client=A, findings=(finding(),)), ClientReport(client=B)
    assert told(found(suspect, other)) == [A]
    assert told(found(other)) is None
    assert told(found(suspect, spec=FULL)) is None, "spec does not ask"
    assert told(found(suspect, keys=False)) is None
    assert told(found(ClientReport(client="alice@example.com", findings=(finding(),)))) is None
    many = [ClientReport(client=f"{n:016x}", findings=(finding(),)) for n in range(30)]
    assert len(told(found(*many))) == 20


def test_suspects_stay_while_there_is_no_report() -> None:
    """Else rows that pipelines leave out would be read while the operator or the monitor begins anew."""
    read = found()
    before = read.status.model_copy(update={"suspected_clients": [A]})
    away = replace(read, status=before, reading=replace(read.reading, report=None))
    assert told(away) == [A]
    assert told(replace(read, status=before)) is None, "the report says that nobody is suspected"


def test_limits_reach_the_pod_and_a_change_replaces_it() -> None:
    made = snapshot(ASKED)
    assert workload.config(made).gaming == GamingConfig(max_predictions_per_minute=600, max_label_share_of_client=0.2)
    assert workload.config(snapshot({**FULL, "gaming": {}})).gaming == GamingConfig()
    assert workload.unit(made).inputs != workload.unit(snapshot(FULL)).inputs


def test_a_suspicion_is_told_and_causes_no_action() -> None:
    read = found(ClientReport(client=A, findings=(finding(),)))
    assert "GamingSuspected" in [e.reason for e in plan.plan(read).events if e.type == "Warning"]
    assert actions.decide(read, evaluation.evaluate(read)).requests == ()


@pytest.mark.parametrize(
    ("gaming", "field"),
    [
        ({"maxPredictionsPerMinute": 0}, "maxPredictionsPerMinute"),
        ({"maxLabelShareOfClient": 1}, "maxLabelShareOfClient"),
        ({"maxNearDuplicateShare": -0.1}, "maxNearDuplicateShare"),
        ({"maxLabelDifference": 1}, "maxLabelDifference"),
        ({"falseAlarmsPerMonth": 0}, "falseAlarmsPerMonth"),
        ({"maxRequests": 5}, "maxRequests"),
    ],
)
def test_what_spec_refuses(gaming: dict[str, Any], field: str) -> None:
    with pytest.raises(ValidationError, match=field):
        ModelMonitorSpec.model_validate({**FULL, "gaming": gaming})
