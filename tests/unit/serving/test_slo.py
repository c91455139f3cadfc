"""Error budgets and burn rates from counters of the router: over windows, restarts, changes of the spec, lost pods."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.serving.make import NOW, TWO, ago, router, scrape, snapshot, stable

from tidemill.api.v1alpha1.model_deployment import ModelDeploymentSpec
from tidemill.api.v1alpha1.objectives import MAX_SLOTS, ObjectivesStatus, RequestHistory
from tidemill.serving import plan, router_stats
from tidemill.serving.builders import envoy
from tidemill.serving.builders import router as router_builder
from tidemill.serving.policy import slo
from tidemill.serving.policy.slo import DAY_SECONDS, SLOT_SECONDS, Slot
from tidemill.serving.router_stats import ClusterStats
from tidemill.serving.snapshot import Router, RouterPod, Snapshot
from tidemill_contracts.burn_rates import MIN_BAD, RULES, WINDOWS

INF = float("inf")
SPEC = {"slo": {"availability": 0.999, "latency": {"quantile": 0.99, "milliseconds": 50}}}


def counted(requests: int, errors: int = 0, slow: int = 0) -> ClusterStats:
    return ClusterStats(requests, errors, {49.0: requests - slow, INF: requests})


def look(
    known: ObjectivesStatus | None,
    now: datetime,
    *pods: ClusterStats | None,
    spec: dict[str, Any] = SPEC,
    **fields: Any,
) -> Snapshot:
    """A look at a deployment with router pods that have counted so much; None: a pod that does not answer."""
    scrapes = [None if one is None else scrape(**{"churn-1": one}) for one in pods]
    found = snapshot(spec, {"stable": stable(1), "slo": known}, **{"router": router(*scrapes), **TWO, **fields})
    return replace(found, now=now)


def after(*looks: tuple[float, ClusterStats | None], spec: dict[str, Any] = SPEC) -> ObjectivesStatus:
    """The status after looks, each at some seconds before NOW."""
    known: ObjectivesStatus | None = None
    for seconds, one in looks:
        known = slo.measured(look(known, ago(seconds), one, spec=spec))
    assert known is not None
    return known


def history(*slots: Slot, since: float = 30 * DAY_SECONDS, **changes: Any) -> ObjectivesStatus:
    return ObjectivesStatus(
        since=ago(since),
        time=NOW,
        latency_milliseconds=50,
        history=RequestHistory(
            starts=[s.start for s in slots],
            seconds=[s.seconds for s in slots],
            requests=[s.requests for s in slots],
            errors=[s.errors for s in slots],
            timed=[s.timed for s in slots],
            slow=[s.slow for s in slots],
        ),
        **changes,
    )


def slot(seconds_ago: float, requests: int, errors: int = 0, slow: int = 0, seconds: int = SLOT_SECONDS) -> Slot:
    start = int(ago(seconds_ago).timestamp()) // seconds * seconds
    return Slot(start, seconds, requests, errors, requests, slow)


def said(*slots: Slot, spec: dict[str, Any] = SPEC) -> tuple[str, str, str]:
    found = look(history(*slots), NOW, None, spec=spec)
    condition = slo.condition(found, slo.measured(found))
    assert condition is not None
    return condition.status, condition.reason, condition.message


def test_the_first_reading_is_what_later_ones_are_compared_with() -> None:
    found = after((60, counted(1_000, 900, 900)))
    assert found.budget_left is None
    assert found.history.requests == []
    assert found.counters[0].requests == 1_000
    assert found.since == ago(60)


def test_budgets_are_what_the_bad_share_leaves_of_the_allowed_one() -> None:
    found = after((60, counted(0)), (0, counted(10_000, errors=4, slow=50)))
    assert found.availability is not None and found.latency is not None
    assert (found.availability.requests, found.availability.bad) == (10_000, 4)
    assert found.availability.budget_left == pytest.approx(0.6)  # 4 of 10 that 0.999 allows
    assert found.latency.budget_left == pytest.approx(0.5)  # 50 of 100 that 0.99 allows
    assert found.budget_left == found.latency.budget_left
    rates = {entry.window: entry.rate for entry in found.availability.burn_rates}
    assert rates == pytest.approx(dict.fromkeys(WINDOWS, 0.4))


def test_all_that_is_known_is_in_the_status() -> None:
    """Each reading here is by an operator that has just started, from a status that went through the API server."""
    known: ObjectivesStatus | None = None
    for minute in range(120):
        known = slo.measured(look(known, ago(60 * (119 - minute)), counted(100 * minute, errors=minute)))
        assert known is not None
        known = ObjectivesStatus.model_validate(known.to_json())
    assert known is not None
    assert sum(known.history.requests) == 100 * 119
    assert sum(known.history.errors) == 119


def test_requests_that_came_while_nobody_read_are_spread_over_that_time() -> None:
    found = after((3_600, counted(0)), (0, counted(1_200, errors=120)))
    assert found.availability is not None
    assert (found.availability.requests, found.availability.bad) == (1_200, 120)
    assert max(found.history.requests) == 100
    assert len(found.history.requests) == 12


@given(st.integers(0, 10**9), st.integers(0, 40 * DAY_SECONDS))
def test_spreading_loses_no_request(requests: int, gap: int) -> None:
    slots = slo.spread(Slot(0, 0, requests, requests // 3, requests, 1), NOW - timedelta(seconds=gap), NOW)
    assert sum(s.requests for s in slots) == requests
    assert sum(s.errors for s in slots) == requests // 3
    assert sum(s.slow for s in slots) == 1
    assert len(slots) <= slo.MAX_SPREAD
    assert all(s.start <= NOW.timestamp() for s in slots)


def test_a_restarted_router_pod_counts_from_zero() -> None:
    found = after((120, counted(500)), (60, counted(700, 1)), (0, counted(30, 2)))
    assert found.availability is not None
    assert (found.availability.requests, found.availability.bad) == (230, 3)


def test_a_pod_that_does_not_answer_is_counted_when_it_does() -> None:
    known = slo.measured(look(None, ago(120), counted(10), counted(10)))
    known = slo.measured(look(known, ago(60), counted(20), None))
    assert known is not None and [c.requests for c in known.counters] == [20, 10]
    known = slo.measured(look(known, NOW, counted(30), counted(50)))
    assert known is not None and known.availability is not None
    assert known.availability.requests == 60
    gone = slo.measured(look(known, NOW + timedelta(seconds=60), counted(30)))
    assert gone is not None and len(gone.counters) == 1


@pytest.mark.parametrize(("age", "requests"), [(30, 50), (600, 0)], ids=["started since", "older, never read"])
def test_a_pod_that_was_never_read_counts_whole_if_it_is_new(age: float, requests: int) -> None:
    known = slo.measured(look(None, ago(60), counted(10)))
    pods = (RouterPod("other", True, None, scrape(**{"churn-1": counted(50)}), created=ago(age)),)
    found = slo.measured(look(known, NOW, router=Router(pods)))
    assert found is not None and found.availability is not None
    assert found.availability.requests == requests


def test_a_version_that_is_new_to_a_known_pod_counts_from_zero() -> None:
    known = slo.measured(look(None, ago(60), counted(10)))
    both = scrape(**{"churn-1": counted(10), "churn-2": counted(7, 7)})
    found = slo.measured(look(known, NOW, router=router(both)))
    assert found is not None and found.availability is not None
    assert (found.availability.requests, found.availability.bad) == (7, 7)


def test_a_histogram_without_the_edge_says_nothing_of_latency() -> None:
    old = ClusterStats(100, 0, {INF: 100})
    found = after((120, old), (60, ClusterStats(300, 0, {INF: 300})), (0, counted(400, slow=9)))
    assert found.latency is not None and found.latency.requests == 0
    assert found.availability is not None and found.availability.requests == 300


def test_another_objective_of_latency_begins_anew_and_keeps_availability() -> None:
    known = after((60, counted(0)), (0, counted(100, 1, 9)))
    spec = {"slo": {"availability": 0.99, "latency": {"quantile": 0.9, "milliseconds": 100}}}
    stats = ClusterStats(200, 1, {49.0: 150, 99.0: 190, INF: 200})
    found = slo.measured(look(known, NOW + timedelta(seconds=60), stats, spec=spec))
    assert found is not None and found.availability is not None and found.latency is not None
    assert (found.availability.requests, found.availability.bad, found.availability.objective) == (200, 1, 0.99)
    assert found.latency.requests == 0
    assert found.latency_milliseconds == 100


def test_nothing_is_read_or_changed_between_two_readings() -> None:
    known = after((60, counted(0)), (0, counted(100)))
    soon = look(known, NOW + timedelta(seconds=20), counted(500))
    assert slo.measured(soon) == known
    assert slo.due_in(soon) == 40
    assert slo.due_in(look(known, NOW + timedelta(seconds=60), counted(500))) == slo.READ_SECONDS
    assert slo.due_in(look(known, NOW + timedelta(seconds=60), None)) == slo.RETRY_SECONDS
    assert slo.due_in(look(known, NOW, spec={})) is None
    assert slo.due_in(look(known, NOW, spec={**SPEC, "suspend": True})) is None


@pytest.mark.parametrize("days", [7, 30, 90])
def test_a_history_is_bounded_and_loses_nothing_within_the_window(days: int) -> None:
    slots: list[Slot] = []
    start = NOW - timedelta(days=days + 5)
    for hour in range(24 * (days + 5) + 1):
        now = start + timedelta(hours=hour)
        slots = slo.compacted([*slots, *slo.spread(Slot(0, 0, 12, 1, 12, 2), now - timedelta(hours=1), now)], now, days)
        assert len(slots) <= MAX_SLOTS
        assert [s.start for s in slots] == sorted({s.start for s in slots})
    for seconds in WINDOWS.values():
        found = slo.window(slots, seconds, NOW).requests
        assert seconds / 300 <= found <= seconds / 300 * 13 / 12 + 2
    assert 24 * days * 12 <= slo.window(slots, days * DAY_SECONDS, NOW).requests <= 24 * (days + 1) * 12 + 12


def test_requests_leave_the_budget_with_the_window() -> None:
    old = slot(31 * DAY_SECONDS, 100, errors=100, seconds=DAY_SECONDS)
    assert slo.compacted([old, slot(60, 5)], NOW, 30) == [slot(60, 5)]


BAD = {"1h": 0.0144, "6h": 0.006, "1d": 0.003, "3d": 0.001}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.reason)
def test_each_rule_fires_at_its_factor_in_both_windows(rule: Any) -> None:
    """Google's workbook, table 5-8. Of slots with one request in a thousand bad the rate is 1."""
    long, short = WINDOWS[rule.long], WINDOWS[rule.short]
    bad = round(1_000_000 * BAD[rule.long])
    now = [slot(seconds, 1_000_000, bad) for seconds in (0, short - 1)]
    old = [slot(seconds, 1_000_000, bad) for seconds in (long // 2, long - 1)]
    calm = slot(short + 2 * SLOT_SECONDS, 1_000_000)
    assert said(*now, *old)[:2] == ("True", rule.reason)
    status, reason, message = said(*old, calm)
    assert (status, reason) != ("True", rule.reason), "the short window has no bad request: the cause has ended"
    fewer = [replace(s, errors=s.errors - 2_00) for s in (*now, *old)]
    assert said(*fewer)[1] != rule.reason
    assert "burns at" in said(*now, *old)[2]
    assert f"limit {rule.factor:g}" in said(*now, *old)[2]
    assert message


def test_the_table_is_that_of_the_workbook() -> None:
    assert [(r.factor, r.long, r.short, r.severity) for r in RULES] == [
        (14.4, "1h", "5m", "page"),
        (6.0, "6h", "30m", "page"),
        (3.0, "1d", "2h", "ticket"),
        (1.0, "3d", "6h", "ticket"),
    ]
    for rule in RULES:  # the share of a budget of 30 days that is used within the long window
        used = rule.factor * WINDOWS[rule.long] / (30 * DAY_SECONDS)
        assert used == pytest.approx({"1h": 0.02, "6h": 0.05, "1d": 0.1, "3d": 0.1}[rule.long])
        assert WINDOWS[rule.long] == 12 * WINDOWS[rule.short]


def test_a_few_bad_requests_of_little_traffic_are_no_finding() -> None:
    assert said(slot(0, 10, errors=MIN_BAD - 1))[:2] == ("False", "WithinObjectives")
    assert said(slot(0, 10, errors=MIN_BAD))[:2] == ("True", "BurnRate1h")


def test_a_budget_that_is_used_up_is_a_finding_when_nothing_burns_any_more() -> None:
    status, reason, message = said(slot(10 * DAY_SECONDS, 1_000, errors=20, seconds=DAY_SECONDS), slot(0, 1_000))
    assert (status, reason) == ("True", "BudgetSpent")
    assert "the error budget of availability is used up: 20 requests of 2000 were bad" in message


def test_slow_answers_burn_the_budget_of_latency() -> None:
    status, reason, message = said(slot(0, 1_000, slow=200))
    assert (status, reason) == ("True", "BurnRate1h")
    assert message.startswith("the error budget of latency burns at 20 in 1h and 20 in 5m, limit 14.4")


def test_without_requests_and_without_answers_nothing_is_known() -> None:
    assert said()[:2] == ("Unknown", "NoRequests")
    silent = look(history(slot(0, 1_000)), NOW + timedelta(seconds=901), None)
    condition = slo.condition(silent, slo.measured(silent))
    assert condition is not None
    assert (condition.status, condition.reason) == ("Unknown", "NotMeasured")
    assert slo.condition(look(None, NOW, None, spec={}), None) is None


def test_a_damaged_history_is_read_as_far_as_it_goes() -> None:
    found = history(slot(0, 100), slot(600, 100))
    damaged = found.model_copy(
        update={"history": found.history.model_copy(update={"errors": [5], "seconds": [0, 300]})}
    )
    measured = slo.measured(look(damaged, NOW, None))
    assert measured is not None and measured.availability is not None
    assert measured.availability.requests == 0


def test_the_plan_writes_it_and_looks_again() -> None:
    found = plan.plan(look(None, NOW, counted(10)))
    assert found.status is not None
    assert found.status["slo"]["time"] == found.status["slo"]["since"]
    assert [c["reason"] for c in found.status["conditions"] if c["type"] == "SLOBreached"] == ["NoRequests"]
    assert found.requeue_after is not None and found.requeue_after <= slo.READ_SECONDS
    without = plan.plan(look(None, NOW, counted(10), spec={})).status
    assert without is not None
    assert "slo" not in without
    assert not [c for c in without["conditions"] if c["type"] == "SLOBreached"]


def test_setting_objectives_is_no_new_spec_for_a_version_that_failed() -> None:
    assert look(None, NOW, None).spec_digest == look(None, NOW, None, spec={}).spec_digest


@pytest.mark.parametrize(("milliseconds", "own"), [(1, None), (11, None), (50, 49), (120, 119), (60_000, 59_999)])
def test_the_router_has_an_edge_at_the_objective(milliseconds: int, own: int | None) -> None:
    spec = {"slo": {"latency": {"quantile": 0.9, "milliseconds": milliseconds}}}
    found = look(None, NOW, None, spec=spec)
    assert router_stats.own_edge(ModelDeploymentSpec.model_validate({"model": {"pipeline": "a"}, **spec})) == own
    settings = envoy.bootstrap("a", edge=own)["stats_config"]["histogram_bucket_settings"][0]["buckets"]
    assert router_stats.edge_of(milliseconds) in settings
    assert settings == sorted(set(settings))
    usual = router_builder.config(look(None, NOW, None, spec={}), []).bootstrap
    assert (router_builder.config(found, []).bootstrap == usual) is (own is None)
