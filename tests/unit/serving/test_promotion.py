"""The annotation tidemill.io/promote counts once, and for the candidate of its time alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.unit.serving.make import (
    CANARY,
    ago,
    candidate,
    decide,
    digest,
    router,
    scrape,
    snapshot,
    stable,
    version,
    workload,
)

from tidemill.core import conditions
from tidemill.core.names import child_name
from tidemill.serving import plan
from tidemill.serving.snapshot import Snapshot, Version
from tidemill.serving.state import State

Obj = dict[str, Any]
RENAMED = {
    "inputs": [{"name": name, "datatype": "FP64", "shape": [-1]} for name in ("tenure_months", "age")],
    "outputs": [{"name": "label", "datatype": "INT64", "shape": [-1]}],
}


def look(state: State | Obj, newest: Version, promote: str | None = None, **more: Any) -> Snapshot:
    """Version 1 serves, and the newest is another one whose column was renamed; pods of both are ready."""
    status = state
    if isinstance(state, State):
        names = {"last_handled_promote": state.promote, "last_handled_abort": state.abort}
        names |= {"last_handled_retry": state.retry}
        status = {"stable": state.stable, "candidate": state.candidate, **names}
    pods = (workload(1), workload(newest.number, version=newest))
    seen = router(scrape(members={1: 1, newest.number: 1}))
    fields: Obj = {"versions": (version(1), newest), "workloads": pods, "router": seen}
    annotations = {} if promote is None else {"tidemill.io/promote": promote}
    return snapshot({"rollout": CANARY}, status, annotations=annotations, **{**fields, **more})  # type: ignore[arg-type]


def renamed(number: int, **more: Any) -> Version:
    return version(number, columns=RENAMED, **more)


HELD = {"stable": stable(1), "candidate": candidate(5, started=900, held_since=ago(800))}
FIVE, SIX = renamed(5), renamed(6)
COMMAND = "kubectl -n team annotate modeldeployment churn --overwrite tidemill.io/promote=churn-6/$(date +%s)"
"""What a person types; its value is a new one each time."""
NOTHING_NEW = look({"stable": stable(1)}, SIX, "churn-6", versions=(version(1),), workloads=(workload(1),))


def ready(found: Snapshot) -> Obj:
    written = plan.plan(found).status
    assert written is not None
    return conditions.get(written["conditions"], "Ready") or {}


def test_a_name_that_was_told_to_have_no_effect_releases_no_later_candidate() -> None:
    state, reasons = decide(look(HELD, FIVE, "churn-6"))
    assert reasons == ["PromoteIgnored"] and state.candidate is not None and state.candidate.version == "churn-5"
    later, reasons = decide(look(state, SIX, "churn-6"))
    assert later.candidate is not None and (later.candidate.version, later.candidate.step) == ("churn-6", -1)
    assert "SignatureChanged" in reasons and "CanaryStep" not in reasons
    found = look(later, SIX, "churn-6")
    assert COMMAND in ready(found)["message"]
    removed, reasons = decide(look(later, SIX))
    assert removed.promote is None and reasons == []
    again, reasons = decide(look(removed, SIX, "churn-6"))
    assert again.candidate is not None and (again.candidate.step, reasons) == (0, ["CanaryStep"])


def test_the_event_says_what_to_do() -> None:
    for value, why in (
        ("now", "churn-5 is held until it is named"),
        ("churn-6", "it names another version than churn-5"),
    ):
        found = look(HELD, FIVE, value)
        (event,) = [e for e in plan.plan(found).events if e.reason == "PromoteIgnored"]
        assert f"has no effect: {why}" in event.message
        assert "has no effect later either. For churn-5: " + COMMAND.replace("churn-6", "churn-5") in event.message
    (event,) = [e for e in plan.plan(NOTHING_NEW).events if e.reason == "PromoteIgnored"]
    assert "no version is being rolled out" in event.message
    assert "When one is: " + COMMAND.replace("churn-6", "VERSION") in event.message


def test_a_name_that_was_set_when_nothing_was_rolled_out_releases_nothing_later() -> None:
    serving = {"stable": stable(1)}
    state, reasons = decide(look(serving, SIX, "churn-6", versions=(version(1),), workloads=(workload(1),)))
    assert reasons == ["PromoteIgnored"]
    later, _ = decide(look(state, SIX, "churn-6"))
    assert later.candidate is not None and later.candidate.step == -1


def test_a_name_counts_for_the_version_of_its_time_and_for_no_other_one_of_that_name() -> None:
    """The pods of the first still start when the pipeline is made again, and numbers its versions from the start."""
    starting = {"stable": stable(1), "candidate": candidate(5, started=30)}
    pods = (workload(1), workload(5, version=FIVE, ready=0))
    state, _ = decide(look(starting, FIVE, "churn-5", workloads=pods))
    assert state.candidate is not None and state.candidate.promote_requested == "churn-5"
    made_again = renamed(5, digest=digest(55))
    later, reasons = decide(look(state, made_again, "churn-5"))
    assert later.candidate is not None and (later.candidate.digest, later.candidate.step) == (digest(55), -1)
    assert "SignatureChanged" in reasons


def test_any_value_for_a_version_whose_pods_start_goes_with_that_version() -> None:
    starting = {"stable": stable(1), "candidate": candidate(5, started=30)}
    pods = (workload(1), workload(5, ready=0))
    state, _ = decide(look(starting, version(5), "now", workloads=pods))
    skipped, reasons = decide(look(state, version(5), "now"))
    assert skipped.stable is not None and (skipped.stable.version, reasons[-1]) == ("churn-5", "Promoted")
    other, reasons = decide(look(state, version(6), "now"))
    assert other.candidate is not None and (other.candidate.version, other.candidate.step) == ("churn-6", 0)
    assert "Promoted" not in reasons


def test_a_name_set_while_its_pods_start_lets_it_begin_with_the_first_step() -> None:
    starting = {"stable": stable(1), "candidate": candidate(5, started=30)}
    state, reasons = decide(
        look(starting, FIVE, "churn-5", workloads=(workload(1), workload(5, version=FIVE, ready=0)))
    )
    assert reasons == []
    after, _ = decide(look(state, FIVE, "churn-5"))
    assert after.candidate is not None and after.candidate.step == 0
    assert after.candidate.signature_accepted is True and after.candidate.promote_requested is None


def test_what_waits_is_in_the_status() -> None:
    starting = {"stable": stable(1), "candidate": candidate(5, started=30)}
    found = look(starting, FIVE, "churn-5", workloads=(workload(1), workload(5, version=FIVE, ready=0)))
    written = plan.plan(found).status
    assert written is not None and written["lastHandledPromote"] == "churn-5"
    assert written["candidate"]["promoteRequested"] == "churn-5"


@pytest.mark.parametrize("name", ["promote", "abort", "retry"])
def test_a_request_that_was_removed_can_be_made_again(name: str) -> None:
    handled = {"stable": stable(1), f"last_handled_{name}": "a"}
    kept = {"versions": (version(1),), "workloads": (workload(1),)}
    found = snapshot({}, handled, annotations={f"tidemill.io/{name}": "a"}, **kept)
    state, reasons = decide(found)
    assert (getattr(state, name), reasons) == ("a", [])
    gone, reasons = decide(replace(found, object=snapshot().object))
    assert (getattr(gone, name), reasons) == (None, [])


@pytest.mark.parametrize("used", ["churn-6", "churn-6/1764519000"])
def test_a_name_that_was_used_up_is_given_again_with_another_word(used: str) -> None:
    """One write, which no pass of the operator can miss; docs/what-to-do.md has that command."""
    state, _ = decide(look(HELD, FIVE, used))
    later, _ = decide(look(state, SIX, used))
    assert COMMAND in ready(look(later, SIX, used))["message"]
    assert COMMAND in ready(look(later, SIX, "now"))["message"]
    again, reasons = decide(look(later, SIX, "churn-6/1764519999"))
    assert again.candidate is not None and (again.candidate.step, reasons) == (0, ["CanaryStep"])
    assert again.candidate.signature_accepted is True and again.candidate.promote_requested is None


@pytest.mark.parametrize("value", ["churn-80", "churn-80/again", "churn-06", "churn-4"])
def test_a_name_of_this_series_promotes_no_other_version_whether_it_exists_or_not(value: str) -> None:
    rolling = {"stable": stable(1), "candidate": candidate(5, 0, step_started=1)}
    state, reasons = decide(look(rolling, version(5), value))
    assert reasons == ["PromoteIgnored"] and state.candidate is not None and state.candidate.step == 0
    assert state.promote == value


@pytest.mark.parametrize("value", ["now", "1764519000", "2026-11-30", "other-5", "churn-x", "churn-5", "churn-5/x"])
def test_any_other_word_promotes_the_candidate(value: str) -> None:
    rolling = {"stable": stable(1), "candidate": candidate(5, 0, step_started=1)}
    state, reasons = decide(look(rolling, version(5), value))
    assert state.stable is not None and (state.stable.version, reasons[-1]) == ("churn-5", "Promoted")


def test_the_series_is_also_that_of_the_stable_version_and_of_a_pipeline_with_a_long_name() -> None:
    long = "c" * 63
    names = {"stable": stable(1), "candidate": candidate(5, 0, step_started=1)}
    found = snapshot(
        {"model": {"pipeline": long}, "rollout": CANARY},
        names,
        annotations={"tidemill.io/promote": child_name(long, 7)},
        versions=(version(1), version(5)),
        workloads=(workload(1), workload(5)),
    )
    assert "PromoteIgnored" in decide(found)[1]


@pytest.mark.parametrize(
    ("value", "served", "reasons"),
    [
        ("blue", "churn-1", ["PromoteIgnored"]),
        ("green", "churn-1", []),
        ("churn-1234567890", "churn-1", ["PromoteIgnored"]),
        ("churn-12345678901", "churn-1", []),
        ("old-7", "old-1", ["PromoteIgnored"]),
        ("other-7", "old-1", []),
    ],
    ids=[
        "a version of any name",
        "no version",
        "the longest number",
        "longer than any number",
        "the series of what serves",
        "the series of neither",
    ],
)
def test_the_name_of_another_version_is_not_for_the_candidate_and_any_other_word_is(
    value: str, served: str, reasons: list[str]
) -> None:
    """The candidate's pods start, so that a value that is for it waits."""
    before = stable(1).model_copy(update={"version": served})
    status = {"stable": before, "candidate": candidate(5)}
    found = look(status, version(5), value, versions=(version(1, name=served), version(5), version(3, name="blue")))
    found = replace(found, workloads=(workload(1, version=version(1, name=served)), workload(5, ready=0)))
    state, seen = decide(found)
    assert [reason for reason in seen if reason == "PromoteIgnored"] == reasons
    assert state.candidate is not None
    assert (state.candidate.promote_requested == value) == (not reasons)
