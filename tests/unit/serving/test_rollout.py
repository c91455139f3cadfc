"""What happens next: every policy of the chain, alone and together."""

from dataclasses import replace
from datetime import timedelta

import pytest
from tests.unit.serving.make import (
    ANALYSIS,
    CANARY,
    NOW,
    TWO,
    ago,
    brief,
    candidate,
    decide,
    digest,
    failed,
    measured,
    measurement,
    router,
    scrape,
    snapshot,
    stable,
    stats,
    version,
    workload,
)

from tidemill.api.v1alpha1.rollout_analysis import Comparison, LimitEvidence
from tidemill.core import hashing
from tidemill.core.conditions import format_time
from tidemill.serving import baseline
from tidemill.serving.policy import rollout, strategies, target
from tidemill.serving.router_stats import Scrape
from tidemill.serving.snapshot import PodFailure, children_of

ANALYSED = {**CANARY, "analysis": ANALYSIS}
WAITING = {"strategy": "Canary", "steps": [{"weight": 10}, {"weight": 50, "durationSeconds": 60}]}
ON_1_TO_2 = {"stable": stable(1), "candidate": candidate(2, started=20)}


def canary(**fields):
    return snapshot({"rollout": fields.pop("rollout", CANARY)}, fields.pop("status", ON_1_TO_2), **{**TWO, **fields})


def in_step(step: int, since: float, **changes):
    return {"stable": stable(1), "candidate": candidate(2, step, step_started=since, **changes)}


BAD = measurement(stable=(1, stats(500)), candidate=(2, stats(100, 50)))
GOOD = measurement(stable=(1, stats(500)), candidate=(2, stats(100)))
FEW = measurement(stable=(1, stats(500)), candidate=(2, stats(10)))

REFUSED = measurement(stable=(1, stats(500)), candidate=(2, replace(stats(100), client_errors=100)))
REFUSING = {
    "comparison": Comparison(
        time=ago(15),
        counters=baseline.to_counters(
            {"p": Scrape({}, {})}, [children_of("churn", version(number))[0] for number in (1, 2)]
        ),
        limits=[
            LimitEvidence(
                metric="ClientErrorRatio",
                max_ratio_to_stable=2,
                requests=100,
                events=100,
                stable_requests=500,
                exceeded=[4.0] * 20,
            )
        ],
    )
}
"""Evidence that one more look completes."""

CASES = {
    "the first version starts": (snapshot(versions=(version(1),)), (None, 1, -1), ["RolloutStarted"]),
    "the first version waits for its pods": (
        snapshot({}, {"candidate": candidate(1)}, versions=(version(1),), workloads=(workload(1, ready=0),)),
        (None, 1, -1),
        [],
    ),
    "the first version goes out without a canary": (
        snapshot(
            {"rollout": CANARY},
            {"candidate": candidate(1)},
            versions=(version(1),),
            workloads=(workload(1),),
            router=router(ready=False),
        ),
        (1, None, None),
        ["Promoted"],
    ),
    "a newer version while the first is starting": (
        snapshot({}, {"candidate": candidate(1)}, versions=(version(1), version(2)), workloads=(workload(1, ready=0),)),
        (None, 2, -1),
        ["RolloutStarted"],
    ),
    "nothing to do": (
        snapshot({}, {"stable": stable(1)}, versions=(version(1),), workloads=(workload(1),)),
        (1, None, None),
        [],
    ),
    "a newer version starts": (
        snapshot(
            {"rollout": CANARY}, {"stable": stable(1)}, versions=(version(1), version(2)), workloads=(workload(1),)
        ),
        (1, 2, -1),
        ["RolloutStarted"],
    ),
    "pods ready, address known: first step": (canary(), (1, 2, 0), ["CanaryStep"]),
    "pods ready, address not known to every router": (
        canary(router=router(scrape(members={2: 1}), scrape(members={1: 1}))),
        (1, 2, -1),
        [],
    ),
    "the router cannot be asked: the address counts after a while": (
        canary(router=router(None)),
        (1, 2, 0),
        ["CanaryStep"],
    ),
    "the router cannot be asked and the pods are young": (
        canary(router=router(None), workloads=(workload(1), workload(2, available_since=ago(3)))),
        (1, 2, -1),
        [],
    ),
    "not all pods are ready": (
        snapshot(
            {"rollout": CANARY, "replicas": 2},
            ON_1_TO_2,
            **{**TWO, "workloads": (workload(1, ready=2, replicas=2), workload(2))},
        ),
        (1, 2, -1),
        [],
    ),
    "Immediate takes all requests": (canary(rollout={"strategy": "Immediate"}), (2, None, None), ["Promoted"]),
    "Immediate requested in the middle of a canary": (
        canary(rollout={"strategy": "Immediate"}, status=in_step(0, 5)),
        (2, None, None),
        ["Promoted"],
    ),
    "the step is not over": (canary(status=in_step(0, 59)), (1, 2, 0), []),
    "the step is over": (canary(status=in_step(0, 60)), (1, 2, 1), ["CanaryStep"]),
    "the last step is over": (canary(status=in_step(1, 60)), (2, None, None), ["Promoted"]),
    "spec has fewer steps than were taken": (canary(status=in_step(5, 1)), (2, None, None), ["Promoted"]),
    "a step without duration waits": (canary(rollout=WAITING, status=in_step(0, 9999)), (1, 2, 0), []),
    "promote passes a waiting step": (
        canary(rollout=WAITING, status=in_step(0, 5), annotations={"tidemill.io/promote": "a"}),
        (1, 2, 1),
        ["CanaryStep"],
    ),
    "promote skips to the end": (
        canary(status=in_step(0, 5), annotations={"tidemill.io/promote": "a"}),
        (2, None, None),
        ["Promoted"],
    ),
    "promote that names the candidate skips to the end": (
        canary(status=in_step(0, 5), annotations={"tidemill.io/promote": "churn-2"}),
        (2, None, None),
        ["Promoted"],
    ),
    "promote that names another version promotes nothing": (
        canary(status=in_step(0, 5), annotations={"tidemill.io/promote": "churn-1"}),
        (1, 2, 0),
        ["PromoteIgnored"],
    ),
    "promote that names another version ends no waiting step": (
        canary(rollout=WAITING, status=in_step(0, 5), annotations={"tidemill.io/promote": "churn-1"}),
        (1, 2, 0),
        ["PromoteIgnored"],
    ),
    "promote that named the version before, which this one has just replaced": (
        canary(annotations={"tidemill.io/promote": "churn-1"}),
        (1, 2, 0),
        ["PromoteIgnored", "CanaryStep"],
    ),
    "promote counts once": (
        canary(status={**in_step(0, 5), "last_handled_promote": "a"}, annotations={"tidemill.io/promote": "a"}),
        (1, 2, 0),
        [],
    ),
    "promote without a candidate is noted and does nothing later": (
        snapshot(
            {},
            {"stable": stable(1)},
            versions=(version(1),),
            workloads=(workload(1),),
            annotations={"tidemill.io/promote": "a"},
        ),
        (1, None, None),
        ["PromoteIgnored"],
    ),
    "promote waits for the pods": (
        canary(
            workloads=(workload(1), workload(2, ready=0)),
            annotations={"tidemill.io/promote": "a"},
        ),
        (1, 2, -1),
        [],
    ),
    "abort takes the candidate back": (
        canary(status=in_step(0, 5), annotations={"tidemill.io/abort": "a"}),
        (1, None, None),
        ["RolledBack"],
    ),
    "abort counts once": (
        canary(status={**in_step(0, 5), "last_handled_abort": "a"}, annotations={"tidemill.io/abort": "a"}),
        (1, 2, 0),
        [],
    ),
    "a failed version is not tried again": (
        snapshot({}, {"stable": stable(1), "failed_versions": [failed(2)]}, **TWO),
        (1, None, None),
        [],
    ),
    "a changed spec tries it again": (
        snapshot(
            {"server": {"runtime": "Native"}},
            {"stable": stable(1), "failed_versions": [failed(2)]},
            **TWO,
            router=router(scrape()),
        ),
        (1, 2, -1),
        ["RolloutStarted"],
    ),
    "retry tries it again": (
        snapshot(
            {},
            {"stable": stable(1), "failed_versions": [failed(2)]},
            annotations={"tidemill.io/retry": "x"},
            router=router(scrape()),
            **TWO,
        ),
        (1, 2, -1),
        ["RetryRequested", "RolloutStarted"],
    ),
    "a newer version restarts from the stable one": (
        canary(status=in_step(1, 5), versions=(version(1), version(2), version(3))),
        (1, 3, -1),
        ["RolloutStarted"],
    ),
    "pinned back to the stable one": (
        snapshot({"model": {"pipeline": "churn", "number": 1}, "rollout": CANARY}, in_step(0, 5), **TWO),
        (1, None, None),
        ["RolloutCancelled"],
    ),
    "the record of the candidate is gone: it is given up": (
        canary(status=in_step(0, 5), versions=(version(1),)),
        (1, None, None),
        ["RolloutCancelled"],
    ),
    "pods not ready within the deadline": (
        canary(
            status={"stable": stable(1), "candidate": candidate(2, started=601)},
            workloads=(workload(1), workload(2, ready=0)),
        ),
        (1, None, None),
        ["RolledBack"],
    ),
    "a changed artifact is refused at once": (
        canary(
            workloads=(
                workload(1),
                workload(2, ready=0, failure=PodFailure("DigestMismatch", "model.onnx differs", 42)),
            )
        ),
        (1, None, None),
        ["RolledBack"],
    ),
    "a crash may heal": (
        canary(workloads=(workload(1), workload(2, ready=0, failure=PodFailure("OOMKilled", "no memory", 137)))),
        (1, 2, -1),
        [],
    ),
    "the first version is not rolled back, whatever happens": (
        snapshot(
            {},
            {"candidate": candidate(1, started=9999)},
            versions=(version(1),),
            workloads=(workload(1, ready=0, failure=PodFailure("DigestMismatch", "differs", 42)),),
        ),
        (None, 1, -1),
        [],
    ),
    "a candidate that lost its pods goes": (
        canary(status=in_step(0, 40), workloads=(workload(1), workload(2, ready=0, unavailable_since=ago(31)))),
        (1, None, None),
        ["RolledBack"],
    ),
    "without an analysis, refused requests stop a candidate before its step ends": (
        canary(status=in_step(0, 60, **REFUSING), measurement=REFUSED),
        (1, 2, -1),
        ["RolloutRetried"],
    ),
    "without an analysis, refused requests are not looked at earlier than in an interval": (
        canary(status=in_step(0, 14, **REFUSING), measurement=replace(REFUSED, start=ago(14))),
        (1, 2, 0),
        [],
    ),
    "without an analysis, unreadable stats hold no step": (
        canary(status=in_step(0, 60, **REFUSING), measurement=replace(REFUSED, missing=("router-0",))),
        (1, 2, 1),
        ["AnalysisError", "CanaryStep"],
    ),
    "refused requests may be ignored": (
        canary(
            rollout={**CANARY, "analysis": {"clientErrors": "Ignore"}},
            status=in_step(0, 60, **REFUSING),
            measurement=REFUSED,
        ),
        (1, 2, 1),
        ["CanaryStep"],
    ),
    "the second attempt waits": (
        canary(status={"stable": stable(1), "candidate": candidate(2, started=59, attempt=2, attempt_reason="errors")}),
        (1, 2, -1),
        [],
    ),
    "the second attempt begins": (
        canary(status={"stable": stable(1), "candidate": candidate(2, started=60, attempt=2, attempt_reason="errors")}),
        (1, 2, 0),
        ["CanaryStep"],
    ),
    "the second attempt is aborted": (
        canary(
            status={"stable": stable(1), "candidate": candidate(2, started=5, attempt=2, attempt_reason="errors")},
            annotations={"tidemill.io/abort": "a"},
        ),
        (1, None, None),
        ["RolledBack"],
    ),
    "a version that is stopped a second time is remembered": (
        canary(
            rollout=ANALYSED,
            status=in_step(0, 30, attempt=2, attempt_reason="errors", **REFUSING),
            measurement=REFUSED,
        ),
        (1, None, None),
        ["RolledBack"],
    ),
    "a comparison, and a limit that has not failed often enough: it is tried again": (
        canary(
            rollout=ANALYSED,
            status=in_step(0, 30, **REFUSING),
            measurement=measurement(stable=(1, stats(500)), candidate=(2, replace(stats(100, 50), client_errors=50))),
        ),
        (1, 2, -1),
        ["RolloutRetried"],
    ),
    "a comparison and a limit at once: it is not tried again": (
        canary(
            rollout=ANALYSED,
            status=in_step(0, 30, failures=1, last_analysis=measured("Failed"), **REFUSING),
            measurement=measurement(stable=(1, stats(500)), candidate=(2, replace(stats(100, 50), client_errors=50))),
        ),
        (1, None, None),
        ["RolledBack"],
    ),
    "analysis: not due": (
        canary(rollout=ANALYSED, status=in_step(0, 14), measurement=replace(BAD, start=ago(14))),
        (1, 2, 0),
        [],
    ),
    "analysis: first failure": (
        canary(rollout=ANALYSED, status=in_step(0, 15), measurement=BAD),
        (1, 2, 0),
        ["AnalysisFailed"],
    ),
    "analysis: failures in one step take it back": (
        canary(
            rollout=ANALYSED,
            status=in_step(0, 30, failures=1, last_analysis=measured("Failed")),
            measurement=BAD,
        ),
        (1, None, None),
        ["RolledBack"],
    ),
    "analysis: the step is over and it is good": (
        canary(rollout=ANALYSED, status=in_step(0, 60), measurement=GOOD),
        (1, 2, 1),
        ["CanaryStep"],
    ),
    "analysis: the step is over and the last measurement failed": (
        canary(rollout=ANALYSED, status=in_step(0, 60, successes=2), measurement=BAD),
        (1, 2, 0),
        ["AnalysisFailed"],
    ),
    "analysis: the step is over without traffic, Wait": (
        canary(rollout=ANALYSED, status=in_step(0, 60), measurement=FEW),
        (1, 2, 0),
        [],
    ),
    "analysis: the step is over without traffic, Proceed": (
        canary(
            rollout={**CANARY, "analysis": {**ANALYSIS, "noTraffic": "Proceed"}}, status=in_step(0, 60), measurement=FEW
        ),
        (1, 2, 1),
        ["CanaryStep"],
    ),
    "analysis: traffic faded after a good measurement": (
        canary(
            rollout=ANALYSED,
            status=in_step(0, 60, successes=1, last_analysis=measured("Inconclusive", time=3)),
            measurement=FEW,
        ),
        (1, 2, 1),
        ["CanaryStep"],
    ),
    "analysis: the step is over and nothing was measured yet": (
        canary(rollout=ANALYSED, status=in_step(0, 61)),
        (1, 2, 0),
        [],
    ),
    "analysis: unreadable stats hold the step": (
        canary(rollout=ANALYSED, status=in_step(0, 61, successes=1), measurement=replace(GOOD, missing=("router-0",))),
        (1, 2, 0),
        ["AnalysisError"],
    ),
    "analysis: stats that stay unreadable are reported once": (
        canary(
            rollout=ANALYSED,
            status=in_step(0, 61, last_analysis=measured("Error", time=15)),
            measurement=replace(GOOD, missing=("router-0",)),
        ),
        (1, 2, 0),
        [],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_decide(name: str) -> None:
    found, want, events = CASES[name]
    state, reasons = decide(found)
    assert brief(state) == want
    assert reasons == events


@pytest.mark.parametrize("name", CASES)
def test_every_decision_is_settled(name: str) -> None:
    """Deciding again at the same moment on the decided state changes nothing."""
    found, _, _ = CASES[name]
    state, _ = decide(found)
    again = rollout.decide(found, state, target.choose(found, state))
    assert again.state == state and not again.events


def test_a_version_that_a_comparison_stops_begins_again_with_nothing_counted() -> None:
    found = canary(rollout=ANALYSED, status=in_step(0, 30, failures=1, **REFUSING), measurement=REFUSED)
    state, _ = decide(found)
    second = state.candidate
    assert second is not None and not state.failed and state.stable == stable(1)
    assert (second.version, second.step, second.weight, second.attempt) == ("churn-2", -1, 0, 2)
    assert second.started_at == NOW and second.step_started_at is None
    assert (second.comparison, second.last_analysis, second.failures, second.baseline_counters) == (None, None, 0, None)
    assert second.attempt_reason is not None and second.attempt_reason.startswith("ClientErrorRatio is more than 2 ×")
    (event,) = events(found)
    begins = format_time(NOW + timedelta(seconds=strategies.PAUSE_SECONDS))
    assert f"churn-2 was stopped and is tried once more after a pause, at {begins} (ClientErrorRatio" in event
    assert event.endswith("; churn-1 gets all requests")


def test_a_version_that_fails_twice_is_remembered_with_both_reasons() -> None:
    status = in_step(0, 30, attempt=2, attempt_reason="ErrorRatio was higher", **REFUSING)
    state, _ = decide(canary(rollout=ANALYSED, status=status, measurement=REFUSED))
    (record,) = state.failed
    assert (record.version, record.reason) == ("churn-2", "AnalysisFailed")
    assert record.message.startswith("ClientErrorRatio is more than 2 ×")
    assert record.message.endswith("; the attempt before: ErrorRatio was higher")


def test_a_deadline_shorter_than_the_pause_does_not_end_the_second_attempt() -> None:
    waiting = {"stable": stable(1), "candidate": candidate(2, started=9, attempt=2, attempt_reason="errors")}
    state, _ = decide(canary(rollout={**CANARY, "progressDeadlineSeconds": 10}, status=waiting))
    assert brief(state) == (1, 2, 0)
    assert strategies.PAUSE_SECONDS == 60


def test_the_requests_of_a_step_are_counted_when_the_next_begins() -> None:
    """Between two measurements: a step may end at any time."""
    last = measured("Successful", time=5)
    status = in_step(0, 60, successes=1, last_analysis=last, **REFUSING)
    state, reasons = decide(canary(rollout=ANALYSED, status=status, measurement=replace(GOOD, start=ago(5))))
    assert reasons == ["CanaryStep"]
    assert state.candidate is not None and state.candidate.comparison is not None
    (entry,) = state.candidate.comparison.limits
    assert (entry.requests, entry.events, entry.stable_requests) == (200, 100, 1000)
    assert state.candidate.comparison.time == NOW


def test_the_stable_versions_counters_are_kept_while_its_pods_are_made_again() -> None:
    status = in_step(0, 30, **REFUSING)
    found = canary(rollout=ANALYSED, status=status, measurement=GOOD, workloads=(workload(2),))
    state, _ = decide(found)
    assert state.candidate is not None and state.candidate.comparison is not None
    services = {entry.service for entry in state.candidate.comparison.counters}
    assert services == {children_of("churn", version(number))[0] for number in (1, 2)}


def test_requests_of_a_router_that_does_not_answer_are_counted_when_it_does() -> None:
    status = in_step(0, 60, successes=1, last_analysis=measured("Successful", time=5), **REFUSING)
    silent = router(scrape(members={1: 1, 2: 1}), None)
    found = canary(rollout=ANALYSED, status=status, measurement=replace(GOOD, start=ago(5)), router=silent)
    state, reasons = decide(found)
    assert reasons == ["CanaryStep"]
    assert state.candidate is not None and state.candidate.comparison == REFUSING["comparison"]


def test_a_step_starts_with_a_clean_count() -> None:
    state, _ = decide(canary(rollout=ANALYSED, status=in_step(0, 60, failures=1), measurement=GOOD))
    assert state.candidate is not None
    assert (state.candidate.weight, state.candidate.failures, state.candidate.successes) == (50, 0, 0)
    assert state.candidate.step_started_at == NOW and state.candidate.last_analysis is None


def test_a_step_with_an_analysis_records_the_stats_that_it_begins_with() -> None:
    old, new = (children_of("churn", version(n))[0] for n in (1, 2))
    routed = {**TWO, "router": router(scrape(**{old: stats(40), new: stats(4), "admin": stats(9)}))}
    state, _ = decide(snapshot({"rollout": ANALYSED}, in_step(0, 60), **{**routed, "measurement": GOOD}))
    assert state.candidate is not None and state.candidate.step == 1
    (known,) = baseline.of(state.candidate).values()
    assert {name: f.requests for name, f in known.clusters.items()} == {old: 40, new: 4}


@pytest.mark.parametrize(("measurement", "recorded"), [(GOOD, GOOD.after), (FEW, FEW.before)], ids=["judged", "few"])
def test_a_judged_measurement_begins_the_next_an_inconclusive_one_goes_on(measurement, recorded) -> None:
    state, _ = decide(canary(rollout=ANALYSED, status=in_step(0, 16), measurement=measurement))
    assert state.candidate is not None and state.candidate.step == 0
    kept = {pod: {c: f.requests for c, f in s.clusters.items() if f.requests} for pod, s in recorded.items()}
    for found in (baseline.of(state.candidate), baseline.decode(state.candidate.baseline or "")):
        assert {pod: {c: f.requests for c, f in s.clusters.items() if f.requests} for pod, s in found.items()} == kept


def test_inconclusive_is_looked_at_again_after_an_interval_only() -> None:
    last = measured("Inconclusive", time=10, since=40)
    state, _ = decide(canary(rollout=ANALYSED, status=in_step(0, 50, last_analysis=last), measurement=FEW))
    assert state.candidate is not None and state.candidate.last_analysis == last


def test_rolled_back_remembers_why() -> None:
    state, _ = decide(canary(status=in_step(0, 5), annotations={"tidemill.io/abort": "because"}))
    (record,) = state.failed
    assert (record.version, record.digest, record.reason) == ("churn-2", digest(2), "Aborted")
    assert "because" in record.message and record.spec == canary().spec_digest and state.abort == "because"


@pytest.mark.parametrize(
    ("changes", "is_kept"),
    [
        ({"replicas": 3}, True),
        ({"autoscaling": {"maxReplicas": 5}}, True),
        ({"suspend": True}, True),
        ({"logging": {"sampleRatio": 0.5}}, True),
        ({"server": {"runtime": "Auto"}}, True),
        ({"model": {"pipeline": "churn", "number": 2}}, False),
        ({"server": {"resources": {"requests": {"memory": "1Gi"}}}}, False),
        ({"rollout": {"progressDeadlineSeconds": 900}}, False),
    ],
    ids=["scale", "autoscaling", "suspend", "logging", "default written out", "model", "server", "rollout"],
)
def test_only_a_spec_that_rolls_out_something_else_forgets_failures(changes, is_kept: bool) -> None:
    status = {"stable": stable(1), "failed_versions": [failed(2)]}
    found = snapshot(changes, status, generation=2, router=router(scrape()), **TWO)
    state, reasons = decide(found)
    assert [f.version for f in state.failed] == (["churn-2"] if is_kept else [])
    assert ("RolloutStarted" in reasons) == (not is_kept)


def test_a_stored_analysis_has_the_digest_that_it_had_before_it_got_new_fields() -> None:
    """Else every version that failed under it would be tried again after an upgrade."""
    check = {"metric": "LatencyP95Milliseconds", "maxRatioToStable": 1.3}
    stored = {"model": {"pipeline": "churn"}, "rollout": {**CANARY, "analysis": {"minRequests": 20, "checks": [check]}}}
    assert snapshot(stored).spec_digest == hashing.digest(stored)
    written = {**stored["rollout"]["analysis"], "confidence": 0.99, "requireProof": False, "clientErrors": "Compare"}
    assert snapshot({**stored, "rollout": {**CANARY, "analysis": written}}).spec_digest == hashing.digest(stored)


def test_promotion_keeps_the_way_back() -> None:
    state, _ = decide(canary(status=in_step(1, 60)))
    assert state.previous is not None and state.previous.version == "churn-1"
    assert state.stable is not None and state.stable.since == NOW


def events(found):
    """The sentences of one pass."""
    before = rollout.State.of(found.status)
    return [e.message for e in rollout.decide(found, before, target.choose(found, before)).events]


def test_the_first_version_cannot_be_aborted() -> None:
    """Nothing would serve; the annotation is recorded, so that it does nothing to a later one either."""
    status = {"candidate": candidate(1)}
    found = snapshot({}, status, versions=(version(1),), annotations={"tidemill.io/abort": "a"})
    state, reasons = decide(found)
    assert (brief(state), reasons, state.abort) == ((None, 1, -1), [], "a")


def test_promoting_nothing_is_recorded() -> None:
    found = snapshot({}, {"stable": stable(2)}, **TWO, annotations={"tidemill.io/promote": "a"})
    state, reasons = decide(found)
    assert (brief(state), reasons, state.promote) == ((2, None, None), ["PromoteIgnored"], "a")


def test_a_candidate_that_gets_no_requests_yet_is_not_judged() -> None:
    starting = {**TWO, "workloads": (workload(1), workload(2, ready=0))}
    found = canary(rollout=ANALYSED, measurement=BAD, **starting)
    state, reasons = decide(found)
    assert (brief(state), reasons) == ((1, 2, -1), [])
    assert state.candidate is not None
    assert state.candidate.last_analysis is None


def test_a_ratio_is_one_to_the_stable_version_since_the_rollout_began() -> None:
    check = {"metric": "ErrorRatio", "maxRatioToStable": 2}
    wanted = {**CANARY, "analysis": {**ANALYSIS, "checks": [check]}}
    verdicts = []
    for known in ({}, REFUSING):
        state, _ = decide(canary(rollout=wanted, status=in_step(0, 16, **known), measurement=GOOD))
        assert state.candidate is not None and state.candidate.last_analysis is not None
        verdicts.append(state.candidate.last_analysis.verdict)
    assert verdicts == ["Inconclusive", "Successful"], "counting begins with the first look"


def test_sentences_name_who_goes_and_who_serves() -> None:
    aborted = canary(status=in_step(0, 5), annotations={"tidemill.io/abort": "a"})
    (said,) = events(aborted)
    assert "churn-2 was rolled back (Aborted: " in said
    assert said.endswith("churn-1 gets all requests")
    unwanted = snapshot({}, in_step(0, 5), versions=(version(1),), workloads=TWO["workloads"])
    assert "churn-2 is no longer wanted; churn-1 keeps serving" in events(unwanted)
