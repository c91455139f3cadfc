"""What status says of a version that an older check verified: what its pods say, or that it is not known."""

from dataclasses import replace
from typing import Any

import pytest
from tests.unit.serving.make import CANARY, NOW, candidate, snapshot, stable, version, workload
from tests.unit.serving.test_plan import settled

from tidemill.core.plan import Event
from tidemill.serving import plan, runtime_status
from tidemill.serving.requeue import ASK_SECONDS
from tidemill.serving.snapshot import Snapshot, is_checked_on_load
from tidemill_contracts.inference import ServedForm
from tidemill_contracts.runtimes import FAILED, OUTDATED, PARITY_CHECK, VERIFIED

OLD = version(1, onnx=VERIFIED, onnx_check=1)
ONNX = ServedForm(digest=OLD.digest, runtime="ONNX")
DIFFERS = ServedForm(digest=OLD.digest, runtime="Native", surprise=OUTDATED)
FAILS = ServedForm(digest=OLD.digest, runtime="Native", surprise=FAILED)


def serving(*said: ServedForm, known: Any = OLD, record: Any = None, asked: str = "Auto", ready: int = 1) -> Snapshot:
    live = replace(workload(1, ready=ready), version=known, forms=frozenset(said))
    fields = {"versions": (known,), "workloads": (live,)}
    return snapshot({"server": {"runtime": asked}}, {"stable": record or stable(1)}, **fields)


def reported(found: Snapshot) -> tuple[str | None, str]:
    status = plan.plan(found).status
    assert status is not None
    return status["stable"].get("runtime"), status["stable"]["runtimeReason"]


@pytest.mark.parametrize(
    ("said", "runtime", "starts"),
    [
        ((ONNX,), "ONNX", "an older check verified its ONNX form, and its servers compared it again"),
        ((DIFFERS,), "Native", "ParityOutdated: an older check verified its ONNX form, but its servers compared"),
        ((FAILS,), "Native", "FormFailed: its ONNX form does not load"),
        ((ONNX, DIFFERS), None, "ParityOutdated: "),
        ((ONNX, FAILS), None, "its pods serve different forms"),
        ((DIFFERS, FAILS), "Native", "ParityOutdated: "),
        ((), None, "not known yet: "),
    ],
)
def test_the_pods_say_what_serves(said: tuple[ServedForm, ...], runtime: str | None, starts: str) -> None:
    found, reason = reported(serving(*said))
    assert found == runtime
    assert reason.startswith(starts)
    assert ("its pods serve different forms" in reason) is (runtime is None and bool(said))


@pytest.mark.parametrize(
    ("known", "asked", "runtime"),
    [
        (replace(OLD, onnx_check=PARITY_CHECK), "Auto", "ONNX"),
        (OLD, "ONNX", "ONNX"),
        (OLD, "Native", "Native"),
        (replace(OLD, formats=("onnx",)), "Auto", "ONNX"),
    ],
)
def test_where_the_record_says_it_nobody_is_believed(known: Any, asked: str, runtime: str) -> None:
    found = serving(DIFFERS, known=known, asked=asked)
    assert reported(found) == (runtime, found.runtime_of(known).reason)
    assert not runtime_status.is_unreported(replace(found, workloads=()), found.status.stable)
    assert plan.plan(found).requeue_after != ASK_SECONDS


@pytest.mark.parametrize("allowed", [True, False])
def test_a_pickle_that_may_not_be_loaded_is_no_form_to_compare_with(allowed: bool) -> None:
    version = replace(OLD, formats=("joblib", "onnx"))
    assert is_checked_on_load("Auto", version, allow_pickle=allowed, allow_code=False) is allowed


def test_what_was_said_holds_until_a_pod_says_something_else() -> None:
    first = plan.plan(serving(DIFFERS)).status
    assert first is not None
    record = stable(1).model_copy(update={"runtime": "Native", "runtime_reason": first["stable"]["runtimeReason"]})
    assert reported(serving(record=record, ready=0)) == ("Native", record.runtime_reason)
    assert reported(serving(ONNX, record=record))[0] == "ONNX"
    foreseen = stable(1).model_copy(update={"runtime": "ONNX", "runtime_reason": "its ONNX form repeats the answers"})
    assert reported(serving(record=foreseen)) == (None, runtime_status.UNKNOWN)


@pytest.mark.parametrize(
    ("runtime", "reason"),
    [
        ("Native", "ParityOutdated: an older check verified its ONNX form, and its servers found that it differs"),
        ("Native", "FormFailed: its ONNX form does not load in its servers, or does not repeat the recorded answers"),
        (
            "ONNX",
            "an older check verified its ONNX form, and its servers, which look again when they load it, serve it",
        ),
        (None, "its pods serve different forms, some ONNX and some Native"),
    ],
)
def test_an_upgraded_operator_keeps_what_the_one_before_it_was_told(runtime: str | None, reason: str) -> None:
    record = stable(1).model_copy(update={"runtime": runtime, "runtime_reason": reason})
    assert reported(serving(record=record)) == (runtime, reason)
    assert events(serving(DIFFERS, record=record)) == ([] if reason.startswith(OUTDATED) else events(serving(DIFFERS)))


def test_pods_that_said_nothing_are_asked_again() -> None:
    unheard, heard = serving(), serving(ONNX)
    assert runtime_status.is_unreported(unheard, unheard.status.stable)
    assert not runtime_status.is_unreported(heard, heard.status.stable)
    assert not runtime_status.is_unreported(serving(ready=0), unheard.status.stable)
    assert plan.plan(settled(unheard)).requeue_after == ASK_SECONDS
    assert plan.plan(settled(heard)).requeue_after is None


def events(found: Snapshot) -> list[Event]:
    return [e for e in plan.plan(found).events if e.reason == OUTDATED]


def test_an_event_tells_of_a_difference_once() -> None:
    (event,) = events(serving(DIFFERS))
    assert (event.type, event.action) == ("Warning", "ServeNative")
    assert event.message.startswith("churn-1: ParityOutdated: an older check verified its ONNX form")
    said = stable(1).model_copy(update={"runtime_reason": event.message.removeprefix("churn-1: ")})
    assert events(serving(DIFFERS, record=said)) == []
    assert events(serving(ONNX)) == events(serving()) == []


def test_a_candidate_that_is_promoted_is_no_event() -> None:
    two = replace(version(2), onnx=VERIFIED, onnx_check=1)
    form = DIFFERS.model_copy(update={"digest": two.digest})
    lives = (workload(1), replace(workload(2), version=two, forms=frozenset({form})))
    record = {"stable": stable(1), "candidate": candidate(2, 0, step_started=5)}
    found = snapshot({"rollout": CANARY}, record, versions=(version(1), two), workloads=lives)
    assert len(events(found)) == 1
    reason = runtime_status.fields(found, record["candidate"])["runtime_reason"]
    before = candidate(2, 1, step_started=3600, runtime_reason=reason)
    promoted = replace(found, status=found.status.model_copy(update={"candidate": before}), now=NOW)
    assert events(promoted) == []
    status = plan.plan(promoted).status
    assert status is not None and status["stable"]["version"] == "churn-2"
    assert status["stable"]["runtimeReason"] == reason
