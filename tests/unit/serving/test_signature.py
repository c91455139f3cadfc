"""A candidate whose signature differs from the stable version's gets no request until a person has named it."""

import json
from dataclasses import replace
from typing import Any

import pytest
from tests.support.invariants import kstatus
from tests.unit.serving.make import (
    CANARY,
    COLUMNS,
    ago,
    brief,
    candidate,
    decide,
    router,
    scrape,
    snapshot,
    stable,
    version,
    workload,
)

from tidemill.core import conditions
from tidemill.serving import plan, requeue
from tidemill.serving.policy import signature
from tidemill.serving.snapshot import PodFailure, Snapshot, children_of
from tidemill_contracts import signatures

ON_1_TO_2 = {"stable": stable(1), "candidate": candidate(2, started=20)}
HELD = {"stable": stable(1), "candidate": candidate(2, started=9000, held_since=ago(8000))}
IMMEDIATE = {"strategy": "Immediate"}


def columns(*names: str, **changes: Any) -> dict[str, Any]:
    return {**COLUMNS, "inputs": [{"name": n, "datatype": "FP64", "shape": [-1], **changes} for n in names]}


RENAMED = columns("tenure_months", "age")
NEW = version(2, columns=RENAMED)


def held(
    rollout: dict[str, Any] | None = None,
    status: dict[str, Any] | None = None,
    *,
    new: Any = NEW,
    old: Any = None,
    promote: str | None = None,
    **fields: Any,
) -> Snapshot:
    """A candidate with ready pods and a renamed column, unless a row says another one."""
    old = old or version(1)
    workloads = (workload(1, version=old), workload(2, version=new))
    fields = {"versions": (old, new), "workloads": workloads, **fields}
    annotations = {"tidemill.io/promote": promote} if promote else {}
    return snapshot({"rollout": rollout or CANARY}, status or ON_1_TO_2, annotations=annotations, **fields)


def status_of(found: Snapshot) -> dict[str, Any]:
    written = plan.plan(found).status
    assert written is not None
    return {**found.object, "status": written}


@pytest.mark.parametrize("rollout", [CANARY, IMMEDIATE], ids=["Canary", "Immediate"])
def test_a_renamed_column_is_held_before_any_request(rollout: dict[str, Any]) -> None:
    found = held(rollout)
    state, reasons = decide(found)
    assert brief(state) == (1, 2, -1) and reasons == ["SignatureChanged"]
    obj = status_of(found)
    ready = conditions.get(obj["status"]["conditions"], "Ready") or {}
    assert (ready["status"], ready["reason"]) == ("False", "SignatureChanged")
    for text in ("'tenure' is not taken any more", "'tenure_months' is required", "promote=churn-2", "Allow"):
        assert text in ready["message"]
    assert conditions.get(obj["status"]["conditions"], "Progressing")["reason"] == "SignatureChanged"  # type: ignore[index]
    assert kstatus(obj) == "Failed", "nothing happens until a person acts"
    assert conditions.is_true(obj["status"]["conditions"], "Available")
    assert obj["status"]["candidate"]["weight"] == 0 and obj["status"]["stable"]["weight"] == 100
    assert obj["status"]["candidate"]["heldSince"] == "2026-11-23T12:00:00Z"


IGNORE = "First set spec.server.extraColumns to Ignore, wait until the servers are replaced, and let clients send the "
BOTH = "columns of both versions, by name: no request is refused then. "
TEXT = {**COLUMNS, "inputs": [{**COLUMNS["inputs"][0], "datatype": "BYTES"}, *COLUMNS["inputs"][1:]]}
OTHER_OUTPUT = {**COLUMNS, "outputs": [{"name": "value", "datatype": "FP64", "shape": [-1]}]}


@pytest.mark.parametrize(
    ("after", "way"),
    [
        (RENAMED, IGNORE + BOTH),
        (columns("tenure"), IGNORE + BOTH),
        ({**RENAMED, "outputs": OTHER_OUTPUT["outputs"]}, IGNORE + "columns of both versions, by name, and take the "),
        (columns("age", "tenure"), "First let clients send the " + BOTH),
        (TEXT, "No request suits both versions: let the new one take the changed column by a new name, or serve it "),
        (OTHER_OUTPUT, "First let clients take the answers of both versions. "),
    ],
    ids=["renamed", "fewer", "renamed and another output", "moved", "retyped", "another output"],
)
def test_the_message_says_what_comes_before_the_name_so_that_no_request_is_refused(
    after: dict[str, Any], way: str
) -> None:
    ready = conditions.get(status_of(held(new=version(2, columns=after)))["status"]["conditions"], "Ready") or {}
    assert way in ready["message"]
    command = "kubectl -n team annotate modeldeployment churn --overwrite tidemill.io/promote=churn-2/$(date +%s)"
    assert f". It gets no requests until it is named: {command}; then " in ready["message"]


@pytest.mark.parametrize(
    ("steps", "then"),
    [
        (
            [{"weight": 10, "durationSeconds": 60}],
            "begins with 10 % of the requests; the same command again gives it all ",
        ),
        ([{"weight": 25}], "begins with 25 % of the requests, and the same command again ends that step. "),
        (None, "then it gets all requests. "),
    ],
)
def test_the_message_says_what_the_name_does_and_what_it_does_again(
    steps: list[dict[str, Any]] | None, then: str
) -> None:
    found = held({"strategy": "Canary", "steps": steps} if steps else IMMEDIATE)
    assert then in (conditions.get(status_of(found)["status"]["conditions"], "Ready") or {})["message"]


@pytest.mark.parametrize(("settled", "observed"), [(True, 1), (False, 1), (True, 0)])
def test_clients_are_told_to_send_both_when_every_server_ignores_what_it_does_not_know(
    settled: bool, observed: int
) -> None:
    old = version(1)
    pods = (replace(workload(1, version=old), settled=settled), workload(2, version=NEW))
    found = held(old=old, workloads=pods)
    spec = {"rollout": CANARY, "server": {"extraColumns": "Ignore"}}
    status = {**ON_1_TO_2, "observed_generation": observed}
    found = replace(found, spec=snapshot(spec).spec, status=snapshot({}, status).status)
    message = (conditions.get(status_of(found)["status"]["conditions"], "Ready") or {})["message"]
    waits = "First wait until the servers are replaced, which has begun, and let clients send the " + BOTH
    assert (waits in message, "First let clients send the " + BOTH in message) == (
        not (settled and observed),
        settled and observed == 1,
    )


def test_a_column_that_is_not_used_and_moves_the_others_is_held_although_the_digests_are_equal() -> None:
    """Clients that send rows without names, of all columns, would get answers to other rows."""
    ident = {"name": "id", "datatype": "FP64", "shape": [-1], "used": False}
    used = columns("tenure", "age")["inputs"]
    old = version(1, columns={**COLUMNS, "inputs": [ident, *used]})
    new = version(2, columns={**COLUMNS, "inputs": [*used, ident]})
    assert old.signature is not None and new.signature is not None
    assert signatures.digest(old.signature) == signatures.digest(new.signature)
    found = held(old=old, new=new)
    assert decide(found)[1] == ["SignatureChanged"]
    ready = conditions.get(status_of(found)["status"]["conditions"], "Ready") or {}
    assert "the columns have another order in rows of 3 values, from 'tenure' on" in ready["message"]


def test_it_is_said_once_and_looked_at_now_and_then() -> None:
    found = held(status=HELD)
    state, reasons = decide(found)
    assert brief(state) == (1, 2, -1) and reasons == []
    assert state.candidate is not None and state.candidate.held_since == ago(8000)
    assert signature.current(found, state) is not None
    routed = held(status=HELD, router=router(scrape("r1", {1: 1, 2: 1}), since=600, routes="r1"))
    assert requeue.requeue_after(routed, state, "r1") == requeue.ASK_SECONDS


def test_only_the_versions_own_name_releases_it_and_it_begins_at_the_first_step() -> None:
    state, reasons = decide(held(status=HELD, promote="churn-2"))
    assert brief(state) == (1, 2, 0) and reasons == ["CanaryStep"]
    assert state.promote == "churn-2", "the same word must not skip the steps"
    assert state.candidate is not None
    assert (state.candidate.held_since, state.candidate.signature_accepted) == (None, True)
    again = held(
        status={"stable": stable(1), "candidate": state.candidate, "last_handled_promote": state.promote},
        promote="churn-2",
    )
    assert brief(decide(again)[0]) == (1, 2, 0)


@pytest.mark.parametrize("word", ["now", "churn-1", "churn-20", "CHURN-2"])
def test_any_other_word_is_refused_and_does_nothing_later(word: str) -> None:
    state, reasons = decide(held(promote=word))
    assert brief(state) == (1, 2, -1) and reasons == ["PromoteIgnored", "SignatureChanged"]
    assert state.promote == word
    allowed = {**CANARY, "signatureChanges": "Allow"}
    status = {"stable": stable(1), "candidate": state.candidate, "last_handled_promote": word}
    assert brief(decide(held(allowed, status, promote=word))[0]) == (1, 2, 0)


def test_a_version_that_was_named_before_its_pods_were_ready_begins_at_the_first_step() -> None:
    assert brief(decide(held(promote="churn-2"))[0]) == (1, 2, 0)
    assert brief(decide(held(IMMEDIATE, promote="churn-2"))[0]) == (2, None, None)


def test_a_second_attempt_is_not_held_again() -> None:
    status = {"stable": stable(1), "candidate": candidate(2, started=20, signature_accepted=True)}
    state, reasons = decide(held(status={**status, "last_handled_promote": "other"}, promote="other"))
    assert brief(state) == (1, 2, 0) and reasons == ["CanaryStep"]
    assert state.promote == "other"
    fresh = decide(held(status=status, promote="go"))[0]
    assert brief(fresh) == (2, None, None), "a new word is for the steps, as without any change"


def test_one_that_lost_its_pods_to_the_cluster_is_not_held_again() -> None:
    status = {"stable": stable(1), "candidate": candidate(2, 0, step_started=60, signature_accepted=True)}
    quota = PodFailure("FailedCreate", "exceeded quota: team")
    lost = workload(2, version=NEW, ready=0, unavailable_since=ago(31), failure=quota)
    state, reasons = decide(held(status=status, workloads=(workload(1), lost)))
    assert brief(state) == (1, 2, -1) and reasons == ["PodsRefused"]
    assert state.candidate is not None
    assert brief(decide(held(status={"stable": stable(1), "candidate": state.candidate}))[0]) == (1, 2, 0)


def test_allow_and_equal_signatures_hold_nothing() -> None:
    assert brief(decide(held({**CANARY, "signatureChanges": "Allow"}))[0]) == (1, 2, 0)
    assert brief(decide(held({**CANARY, "signatureChanges": "Allow"}, HELD))[0]) == (1, 2, 0)
    assert brief(decide(held(new=version(2)))[0]) == (1, 2, 0)
    assert brief(decide(held(IMMEDIATE, new=version(2)))[0]) == (2, None, None)


def test_a_first_version_is_compared_with_nothing() -> None:
    found = snapshot({}, {"candidate": candidate(2)}, versions=(NEW,), workloads=(workload(2, version=NEW),))
    assert brief(decide(found)[0]) == (2, None, None)


def test_a_candidate_in_the_middle_of_its_steps_goes_on() -> None:
    status = {"stable": stable(1), "candidate": candidate(2, 0, step_started=60)}
    state, reasons = decide(held(status=status))
    assert brief(state) == (1, 2, 1) and reasons == ["CanaryStep"]
    state, reasons = decide(held(status={**status, "candidate": candidate(2, 0, step_started=10)}))
    assert brief(state) == (1, 2, 0) and reasons == []
    assert state.candidate is not None and state.candidate.held_since is None


def test_a_candidate_that_gets_requests_is_not_called_held() -> None:
    status = {"stable": stable(1), "candidate": candidate(2, 0, step_started=10, held_since=ago(900))}
    found = held(status=status)
    assert signature.current(found, decide(found)[0]) is None


def test_pods_that_are_not_ready_are_waited_for_first() -> None:
    found = held(workloads=(workload(1), workload(2, version=NEW, ready=0)))
    state, reasons = decide(found)
    assert brief(state) == (1, 2, -1) and reasons == []
    assert conditions.get(status_of(found)["status"]["conditions"], "Ready")["reason"] == "RollingOut"  # type: ignore[index]


def test_one_that_was_named_is_not_called_held_while_its_pods_move() -> None:
    gone = workload(2, version=NEW, ready=0)
    found = held(status=HELD, promote="churn-2", workloads=(workload(1), gone))
    assert brief(decide(found)[0]) == (1, 2, -1)
    assert conditions.get(status_of(found)["status"]["conditions"], "Ready")["reason"] == "RollingOut"  # type: ignore[index]


def test_a_newer_version_takes_the_place_of_a_held_one() -> None:
    newer = version(3)
    found = held(status=HELD, versions=(version(1), NEW, newer))
    state, reasons = decide(found)
    assert brief(state) == (1, 3, -1) and reasons == ["RolloutStarted"]
    assert state.failed == (), "the held one is not bad"


def test_a_held_candidate_is_aborted_like_any_other() -> None:
    found = held(status=HELD)
    found.object["metadata"]["annotations"]["tidemill.io/abort"] = "clients-first"
    state, reasons = decide(found)
    assert brief(state) == (1, None, None) and reasons == ["RolledBack"]
    assert state.failed[0].reason == "Aborted"


def test_the_deadline_for_ready_pods_ends_with_the_first_time_that_they_are() -> None:
    """A held candidate may wait for days: that its pods move to another node must not end it at once."""
    gone = workload(2, version=NEW, ready=0, unavailable_since=ago(300))
    assert brief(decide(held(status=HELD, workloads=(workload(1), gone)))[0]) == (1, 2, -1)
    gone = workload(2, version=NEW, ready=0, unavailable_since=ago(601))
    state, reasons = decide(held(status=HELD, workloads=(workload(1), gone)))
    assert brief(state) == (1, None, None) and reasons == ["RolledBack"]
    assert (state.failed[0].reason, "600 s" in state.failed[0].message) == ("CandidateUnavailable", True)


# ---- where the columns come from ----


def too_long(number: int, **changes: Any) -> Any:
    return version(number, columns=None, **changes)


SIGNED = signatures.digest(version(1).signature)  # type: ignore[arg-type]
OTHER = signatures.digest(NEW.signature)  # type: ignore[arg-type]


def test_digests_stand_in_for_signatures_that_are_too_long() -> None:
    both = {"old": too_long(1, signature_digest=SIGNED), "new": too_long(2, signature_digest=SIGNED)}
    assert brief(decide(held(**both))[0]) == (1, 2, 0)
    for changed in (
        {**both, "new": too_long(2, signature_digest=OTHER)},
        {"new": too_long(2, signature_digest=OTHER)},
        {"old": too_long(1, signature_digest=SIGNED)},
    ):
        state, reasons = decide(held(**changed))
        assert brief(state) == (1, 2, -1) and reasons == ["SignatureChanged"]
    assert brief(decide(held(old=too_long(1, signature_digest=SIGNED), new=version(2)))[0]) == (1, 2, 0)


def test_pods_name_the_columns_of_a_signature_that_is_too_long() -> None:
    new = too_long(2, signature_digest=OTHER)
    found = held(new=new, workloads=(workload(1), workload(2, version=new, signature=NEW.signature)))
    ready = conditions.get(status_of(found)["status"]["conditions"], "Ready") or {}
    assert ready["reason"] == "SignatureChanged" and "'tenure_months' is required" in ready["message"]


def test_versions_without_any_record_of_their_columns_are_compared_by_their_pods() -> None:
    old, new = too_long(1), too_long(2)
    pods = (
        workload(1, version=old, signature=version(1).signature),
        workload(2, version=new, signature=version(1).signature),
    )
    assert brief(decide(held(old=old, new=new, workloads=pods))[0]) == (1, 2, 0)
    pods = (pods[0], workload(2, version=new, signature=NEW.signature))
    assert decide(held(old=old, new=new, workloads=pods))[1] == ["SignatureChanged"]


def test_what_cannot_be_compared_waits_and_in_the_end_for_a_person() -> None:
    found = held(old=too_long(1))
    state, reasons = decide(found)
    assert brief(state) == (1, 2, -1) and reasons == ["SignatureUnknown"]
    obj = status_of(found)
    assert kstatus(obj) == "InProgress", "the pods are asked again"
    assert "churn-1" in conditions.get(obj["status"]["conditions"], "Ready")["message"]  # type: ignore[index]
    for since, verdict in ((599, "InProgress"), (600, "Failed")):
        waits = {"stable": stable(1), "candidate": candidate(2, started=900, held_since=ago(since))}
        assert kstatus(status_of(held(old=too_long(1), status=waits))) == verdict
    later = held(old=too_long(1), status=HELD)
    assert decide(later)[1] == [] and kstatus(status_of(later)) == "Failed"
    assert brief(decide(held(old=too_long(1), promote="churn-2"))[0]) == (1, 2, 0)
    answered = (workload(1, version=too_long(1), signature=version(1).signature), workload(2))
    assert brief(decide(held(old=too_long(1), new=version(2), status=HELD, workloads=answered))[0]) == (1, 2, 0)


def test_a_word_for_promotion_is_kept_until_it_is_known_whether_the_version_is_held() -> None:
    state, reasons = decide(held(old=too_long(1), promote="now"))
    assert reasons == ["SignatureUnknown"] and state.candidate is not None
    assert state.candidate.promote_requested == state.promote == "now"
    known = held(new=version(2), status={"stable": stable(1), "candidate": state.candidate}, promote="now")
    assert brief(decide(known)[0]) == (2, None, None)


def test_a_promotion_by_hand_of_a_version_that_is_not_held_skips_to_the_end_as_before() -> None:
    assert brief(decide(held(new=version(2), promote="churn-2"))[0]) == (2, None, None)


def test_no_request_reaches_a_held_version() -> None:
    found = held(status=HELD, router=router(scrape(members={1: 1, 2: 1})))
    (config,) = [m for m in plan.plan(found).apply if m["kind"] == "ConfigMap"]
    clusters = config["data"]["routes.json"]
    weights = json.loads(clusters)["resources"][0]["virtual_hosts"][0]["routes"][-1]["route"]["weighted_clusters"]
    assert [c["name"] for c in weights["clusters"]] == [children_of("churn", version(1))[0]]


def test_no_digest_is_taken_where_both_signatures_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """A held candidate is compared several times in each pass."""
    taken: list[Any] = []
    monkeypatch.setattr(signatures, "digest", taken.append)
    assert decide(held())[1] == ["SignatureChanged"] and taken == []
