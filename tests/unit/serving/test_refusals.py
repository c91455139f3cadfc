"""A candidate that the cluster refuses waits and goes on; it is not remembered as failed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.unit.serving.make import CANARY, NOW, TWO, ago, brief, candidate, decide, snapshot, stable, version, workload
from tests.unit.serving.test_plan import condition, summary

from tidemill.core.podfailure import LOOK_SECONDS, PodFailure
from tidemill.serving import plan
from tidemill.serving.snapshot import RouterWorkload, Snapshot

REFUSED: dict[str, PodFailure] = {
    "quota": PodFailure("FailedCreate", "exceeded quota: team"),
    "an image": PodFailure("ImagePullBackOff", "no such image"),
    "no node": PodFailure("Unschedulable", "0/3 nodes are available"),
    "a volume": PodFailure("FailedMount", "persistentvolumeclaim models not found"),
    "a Secret": PodFailure("ArtifactUnavailable", "SecretNotFound: Secret lake does not exist", 1),
}
CRASH = PodFailure("CrashLoopBackOff", "boom", 1)
DEADLINE = 600.0


def starting(
    failure: PodFailure | None, *, started: float, refused: float | None = None, step: int = -1, **pods: Any
) -> Snapshot:
    """Version 1 serves, version 2 is on its way; `refused`: recorded as refused so many seconds ago."""
    since = None if refused is None else ago(refused)
    record = candidate(2, step, started=started, step_started=5 if step >= 0 else None, refused_since=since)
    found = {"ready": 0, "failure": failure, **pods}
    return snapshot(
        {"rollout": CANARY},
        {"stable": stable(1), "candidate": record, "observed_generation": 1},
        **{**TWO, "workloads": (workload(1), workload(2, **found))},
    )


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("started", [5, DEADLINE - 1, DEADLINE, 100 * DEADLINE])
def test_it_is_never_rolled_back_nor_remembered(name: str, started: float) -> None:
    state, reasons = decide(starting(REFUSED[name], started=started))
    assert brief(state) == (1, 2, -1)
    assert state.failed == ()
    assert reasons == ["PodsRefused"], "one event when it begins"
    assert state.candidate is not None and state.candidate.refused_since == NOW
    again, more = decide(starting(REFUSED[name], started=started, refused=30))
    assert (brief(again), more) == ((1, 2, -1), [])


@pytest.mark.parametrize("name", REFUSED)
def test_it_says_so_at_once_and_is_stalled_after_the_deadline(name: str) -> None:
    cause = str(REFUSED[name])
    early = plan.plan(starting(REFUSED[name], started=5, refused=3))
    assert summary(early) == ("Unknown", "PodsRefused", "Reconciling")
    late = plan.plan(starting(REFUSED[name], started=DEADLINE, refused=DEADLINE - 2))
    assert summary(late) == ("False", "PodsRefused", "Stalled")
    for found in (early, late):
        text = condition(found, "Ready")["message"]
        assert cause in text and "churn-1 keeps serving" in text
        assert condition(found, "Progressing")["reason"] == "Starting"
        assert found.status["candidate"]["weight"] == 0
        assert "failedVersions" not in found.status
    assert [m["metadata"]["name"] for m in late.apply if m["kind"] == "Deployment"], "Kubernetes goes on trying"


@pytest.mark.parametrize("name", REFUSED)
def test_when_the_cause_is_gone_the_rollout_begins_by_itself(name: str) -> None:
    freed = starting(None, started=100 * DEADLINE, refused=99 * DEADLINE)
    state, reasons = decide(freed)
    assert (brief(state), reasons) == ((1, 2, -1), []), "the deadline measures from now"
    assert state.candidate is not None
    assert (state.candidate.started_at, state.candidate.refused_since) == (NOW, None)
    ready = starting(None, started=100 * DEADLINE, refused=99 * DEADLINE, ready=1, replicas=1)
    assert brief(decide(ready)[0]) == (1, 2, 0)
    del name


def test_a_start_that_takes_too_long_after_the_refusal_is_rolled_back() -> None:
    state, reasons = decide(starting(None, started=DEADLINE))
    assert (brief(state), reasons) == ((1, None, None), ["RolledBack"])
    assert [f.reason for f in state.failed] == ["ProgressDeadlineExceeded"]


@pytest.mark.parametrize(
    "failure", [CRASH, PodFailure("OOMKilled", "x", 137), PodFailure("ArtifactUnavailable", "AccessDenied: no", 42)]
)
def test_what_fails_by_itself_is_rolled_back_and_remembered(failure: PodFailure) -> None:
    state, reasons = decide(starting(failure, started=DEADLINE))
    assert (brief(state), reasons) == ((1, None, None), ["RolledBack"])
    assert [f.version for f in state.failed] == ["churn-2"]


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("step", [0, 1])
def test_one_that_loses_its_pods_to_the_cluster_begins_anew(name: str, step: int) -> None:
    lost = starting(REFUSED[name], started=300, step=step, unavailable_since=ago(30))
    state, reasons = decide(lost)
    assert (brief(state), reasons) == ((1, 2, -1), ["PodsRefused"])
    assert state.failed == ()
    assert plan.plan(lost).status["candidate"]["weight"] == 0
    kept, reasons = decide(starting(REFUSED[name], started=300, step=step, unavailable_since=ago(29)))
    assert (brief(kept), reasons) == ((1, 2, step), [])
    assert kept.candidate is not None and kept.candidate.refused_since is None, "it gets its requests meanwhile"


def test_the_event_says_what_serves_meanwhile() -> None:
    (event,) = plan.plan(starting(REFUSED["quota"], started=5)).events
    cause = REFUSED["quota"]
    assert event.message == f"churn-2 waits, its pods cannot start: {cause}; churn-1 keeps serving"
    alone = {"versions": (version(1),), "workloads": (workload(1, ready=0, failure=cause),)}
    (event,) = plan.plan(snapshot({}, {"candidate": candidate(1, started=5)}, **alone)).events
    assert event.message == f"churn-1 waits, its pods cannot start: {cause}"


def test_one_that_loses_its_pods_by_itself_is_rolled_back() -> None:
    state, reasons = decide(starting(CRASH, started=300, step=1, unavailable_since=ago(30)))
    assert (brief(state), reasons) == ((1, None, None), ["RolledBack"])
    assert [f.reason for f in state.failed] == ["CandidateUnavailable"]


def test_the_first_version_says_it_too_and_its_clock_begins_anew() -> None:
    def first(failure: PodFailure | None, started: float, refused: float | None) -> Snapshot:
        since = None if refused is None else ago(refused)
        status = {"candidate": candidate(1, started=started, refused_since=since), "observed_generation": 1}
        return snapshot({}, status, versions=(version(1),), workloads=(workload(1, ready=0, failure=failure),))

    quota = REFUSED["quota"]
    early = plan.plan(first(quota, 10, 5))
    assert summary(early) == ("False", "PodsRefused", "Reconciling")
    assert condition(early, "Ready")["message"] == f"0 of 1 pod of churn-1 is ready; {quota}"
    assert summary(plan.plan(first(quota, DEADLINE, 500))) == ("False", "PodsRefused", "Stalled")
    freed = plan.plan(first(None, DEADLINE, 500))
    assert summary(freed) == ("False", "Starting", "Reconciling")
    assert freed.status["candidate"]["startedAt"] == "2026-11-23T12:00:00Z"


def test_it_can_be_given_up_and_replaced() -> None:
    refused = starting(REFUSED["quota"], started=DEADLINE, refused=500)
    aborted = replace(refused, object={**refused.object, "metadata": {
        **refused.object["metadata"], "annotations": {"tidemill.io/abort": "now"},
    }})  # fmt: skip
    assert brief(decide(aborted)[0]) == (1, None, None)
    newer = replace(refused, versions=(version(1), version(2), version(3)))
    assert brief(decide(newer)[0]) == (1, 3, -1)


def test_what_gives_no_reason_is_looked_at_again() -> None:
    silent = starting(None, started=5, is_silent=True)
    assert (plan.plan(silent).requeue_after or 999) <= LOOK_SECONDS
    router = replace(silent.router, workload=RouterWorkload(2, 0, True, is_silent=True))
    assert (plan.plan(replace(starting(None, started=5), router=router)).requeue_after or 999) <= LOOK_SECONDS
