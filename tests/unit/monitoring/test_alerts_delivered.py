"""Whether webhooks take alerts: told apart, soon, and without an address or a text of a receiver."""

from typing import Any

import pytest
from tests.unit.monitoring.make import FULL, NOW, report, snapshot, window

from tidemill.core.conditions import Condition
from tidemill.monitoring import plan, requeue
from tidemill.monitoring.policy import evaluation
from tidemill.monitoring.snapshot import Snapshot
from tidemill_contracts.notices import DeliveryProblem, WebhookReport

SECRET_URL = "https://hooks.example.com/services/T0/B0/secret-part"
HOOK = {"name": "ops", "url": SECRET_URL, "secretRef": {"name": "hook"}}
NOTIFY = {**FULL, "notify": {"webhooks": [HOOK, {**HOOK, "name": "all"}]}}
SINCE = NOW.strftime("%Y-%m-%dT%H:%M:%SZ")


def says(*told: WebhookReport, status: dict[str, Any] | None = None, spec: dict[str, Any] = NOTIFY) -> Snapshot:
    return snapshot(spec, status, read=report(window(1)).model_copy(update={"webhooks": told}))


def condition(found: Snapshot) -> Condition | None:
    return evaluation.evaluate(found).get("AlertsDelivered")


@pytest.mark.parametrize(
    ("told", "status", "reason", "part"),
    [
        ((), "Unknown", "NothingSent", "no alert to send yet"),
        ((WebhookReport(name="ops"),), "True", "MessagesTaken", "by ops; to 1 webhook there was none yet"),
        ((WebhookReport(name="ops"), WebhookReport(name="all")), "True", "MessagesTaken", "taken by ops, all"),
        (
            (WebhookReport(name="ops", problem="NotTaken", http_status=403, waiting=2), WebhookReport(name="all")),
            "False",
            "MessagesNotTaken",
            "webhook ops: its receiver does not take messages (HTTP status 403); 2 messages wait and are sent again",
        ),
    ],
)
def test_failure_success_and_nothing_are_told_apart(
    told: tuple[WebhookReport, ...], status: str, reason: str, part: str
) -> None:
    found = condition(says(*told))
    assert found is not None
    assert (found.status, found.reason) == (status, reason)
    assert part in found.message


@pytest.mark.parametrize("problem", ["NoKey", "AddressRefused", "NotReachable", "NotTaken"])
def test_no_message_has_the_address(problem: DeliveryProblem) -> None:
    found = condition(says(WebhookReport(name="ops", problem=problem, waiting=1)))
    assert found is not None
    assert found.message.startswith("webhook ops: ")
    assert not [part for part in ("hooks.example.com", "secret-part", "https://") if part in found.message]


def test_what_the_pod_invents_is_not_passed_on() -> None:
    foreign = WebhookReport(name=SECRET_URL, problem="NotTaken")
    odd = WebhookReport(name="ops", problem="NotTaken", http_status=10**30, waiting=1)
    found = condition(says(foreign, odd))
    assert found is not None
    assert found.message.startswith("webhook ops: its receiver does not take messages; 1 message waits")


def test_it_is_absent_without_webhooks_and_of_a_monitor_that_does_not_report_it() -> None:
    assert condition(says(WebhookReport(name="ops"), spec=FULL)) is None
    assert condition(snapshot(NOTIFY, read=report(window(1)))) is None


def test_while_the_monitor_is_away_nothing_is_known() -> None:
    found = condition(snapshot(NOTIFY, error="it does not answer"))
    assert found is not None
    assert (found.status, found.reason) == ("Unknown", "MonitorUnreachable")


def test_there_is_one_event_when_it_begins_to_fail() -> None:
    def events(before: str | None) -> list[str]:
        listed = [] if before is None else [
            {"type": "AlertsDelivered", "status": before, "reason": "R", "message": "", "lastTransitionTime": SINCE}
        ]  # fmt: skip
        failing = WebhookReport(name="ops", problem="NotReachable", waiting=1)
        made = plan.plan(says(failing, status={"conditions": listed, "version": "churn-2"})).events
        return [event.reason for event in made if event.reason == "MessagesNotTaken"]

    assert events(None) == events("True") == events("Unknown") == ["MessagesNotTaken"]
    assert events("False") == []


def test_the_report_is_read_every_five_seconds_where_there_are_webhooks() -> None:
    """A try of at most 10 s, a look of the pod every 5 s and this make at most 20 s."""
    hourly = {"window": {"seconds": 3600, "minRows": 10}}
    assert requeue.requeue_after(says(spec={**NOTIFY, **hourly}), {}) == pytest.approx(5.0)
    assert requeue.requeue_after(says(spec={**FULL, **hourly}), {}) == pytest.approx(30.0)
