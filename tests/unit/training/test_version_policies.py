"""Which rollbacks of a version count, which of two lifts is the newer, and what a version waits for."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from tests.support import builders_training as build
from tests.support.invariants import DEFAULT_STATUS
from tests.unit.training.make import NOW, ago, when

from tidemill.api.v1alpha1.model_version import Decision, Lifted, ModelVersion, Registered, TakenBack
from tidemill.training.store_records import Statement
from tidemill.training.version.policy.approval import AUTOMATIC
from tidemill.training.version.policy.registration import Registration, registration
from tidemill.training.version.policy.rollback_marks import RollbackMarks, current_marks
from tidemill.training.version.snapshot import VersionSnapshot

Obj = dict[str, Any]
RIGHT, OTHER = build.digest("d"), build.digest("e")
KNOWN = Registration(Registered.model_validate({"digest": RIGHT, "time": when(days=2), "gates": "Passed"}))


def snapshot(status: Obj | None = None, *, retry: str | None = None, **fields: Any) -> VersionSnapshot:
    obj = {
        "apiVersion": "tidemill.io/v1alpha1",
        "kind": "ModelVersion",
        "metadata": {"name": "churn-1", "namespace": build.NAMESPACE, "uid": "u"},
        "spec": {
            "pipeline": "churn",
            "number": 1,
            "digest": RIGHT,
            "modelDigest": RIGHT,
            "uri": "pvc://store/1",
            "formats": ["skops"],
            "task": "classification",
            "lineage": {"run": "r", "trigger": "NeverTrained", "key": RIGHT, "data": {}, "code": RIGHT, "image": "t:1"},
        },
        "status": status or {},
    }
    if retry is not None:
        obj["metadata"]["annotations"] = {"tidemill.io/retry": retry}  # type: ignore[index]
    return VersionSnapshot(object=obj, now=NOW, version=ModelVersion.model_validate(obj), **fields)


def marks(**minutes: float) -> Obj:
    """Marks of deployments that rolled the version back so many minutes ago."""
    entry = {"digest": RIGHT, "reason": "AnalysisFailed", "message": "slow"}
    return {"takenBack": {name: {**entry, "time": when(minutes=m)} for name, m in minutes.items()}}


def lifted(minutes: float, by: str = "annotation tidemill.io/retry=x") -> Obj:
    return {"lifted": {"by": by, "time": when(minutes=minutes)}}


def decision(minutes: float, by: str = "annotation tidemill.io/approve", *, approved: bool = True) -> Decision:
    return Decision(approved=approved, by=by, time=ago(minutes=minutes), digest=RIGHT)


def current(status: Obj, said: Decision | None = None, *, retry: str | None = None) -> tuple[set[str], float | None]:
    """The deployments whose marks count, and how many minutes ago the last lift was."""
    found = current_marks(snapshot(status, retry=retry), KNOWN, said)
    since = None if found.lifted is None else (NOW - found.lifted.time) / timedelta(minutes=1)
    return set(found.taken_back), since


def test_a_mark_counts_until_a_lift_that_is_not_older() -> None:
    """Times are whole seconds: of a mark and a lift in one second the person's word counts."""
    both = marks(web=9, shop=5)
    assert current(both) == ({"web", "shop"}, None)
    for minutes, left in ((10, {"web", "shop"}), (9, {"shop"}), (6, {"shop"}), (5, set()), (1, set())):
        assert current({**both, **lifted(minutes)}) == (left, minutes)
    foreign = marks(web=9)
    foreign["takenBack"]["web"]["digest"] = OTHER
    assert current(foreign) == (set(), None)


@pytest.mark.parametrize(
    ("said", "left", "since"),
    [
        (None, {"web", "shop"}, None),
        (decision(10), {"web", "shop"}, None),
        (decision(9), {"shop"}, 9),
        (decision(6), {"shop"}, 6),
        (decision(5), set(), 5),
        (decision(1), set(), 1),
        (decision(1, approved=False), {"web", "shop"}, None),
        *((decision(1, by), {"web", "shop"}, None) for by in sorted(AUTOMATIC)),
    ],
)
def test_an_approval_by_hand_lifts_the_marks_before_it(said: Decision | None, left: set[str], since: float) -> None:
    assert current(marks(web=9, shop=5), said) == (left, since)


@pytest.mark.parametrize(("approved", "since"), [(7, 6), (6, 6), (5, 5)])
def test_of_two_lifts_the_newer_counts(approved: float, since: float) -> None:
    """A retry lifted what came after an approval: the approval, which stays, must not bring it back."""
    status = {**marks(web=9, shop=6), **lifted(6)}
    assert current(status, decision(approved)) == (set(), since)
    found = current_marks(snapshot(status), KNOWN, decision(approved))
    assert found.lifted is not None
    assert ("retry" in found.lifted.by) is (approved >= 6)
    rejected = current_marks(snapshot(status), KNOWN, decision(1, approved=False))
    assert rejected.lifted is not None and "retry" in rejected.lifted.by


def test_an_approval_without_marks_before_it_changes_no_lift() -> None:
    found = current_marks(snapshot({**marks(web=1), **lifted(9)}), KNOWN, decision(5))
    assert (set(found.taken_back), found.lifted and found.lifted.by) == ({"web"}, "annotation tidemill.io/retry=x")


def test_a_request_to_try_again_lifts_all_marks_once() -> None:
    found = current_marks(snapshot(marks(web=0), retry="once more"), KNOWN, None)
    assert found == RollbackMarks({}, Lifted(by="annotation tidemill.io/retry=once more", time=NOW), "once more")
    served = {**marks(web=0), **lifted(5), "lastHandledRetry": "once more"}
    found = current_marks(snapshot(served, retry="once more"), KNOWN, None)
    assert (set(found.taken_back), found.retry) == ({"web"}, "once more")
    removed = current_marks(snapshot({"lastHandledRetry": "once more"}), KNOWN, None)
    assert removed.retry is None, "the same value set later is a new request, as on a ModelDeployment"


def test_of_a_version_that_was_found_again_its_record_counts() -> None:
    said = {
        "namespace": build.NAMESPACE,
        "version": "churn-1",
        "content": RIGHT,
        "registered": {"digest": RIGHT, "time": when(days=2), "gates": "Passed"},
        "decision": {"approved": True, "by": "gates", "time": when(days=2), "digest": RIGHT},
        **marks(web=9, shop=5),
        **lifted(7),
    }
    restored = Registration(None, restored=Statement.model_validate(said))
    fresh = snapshot()
    found = current_marks(fresh, restored, restored.decision(fresh))
    assert set(found.taken_back) == {"shop"} and found.lifted is not None
    assert isinstance(found.taken_back["shop"], TakenBack)
    assert found.lifted.time == ago(minutes=7)


# ---- what is waited for ----


def run(outcome: str | None) -> Obj:
    conditions = [] if outcome is None else [{"type": "Succeeded", "status": outcome}]
    return {"kind": "TrainingRun", "metadata": {"name": "r", "uid": "u"}, "status": {"conditions": conditions}}


def imported(*conditions: tuple[str, str]) -> Obj:
    found = [{"type": kind, "status": status} for kind, status in conditions]
    return {"kind": "ModelImport", "metadata": {"name": "i", "uid": "u"}, "status": {"conditions": found}}


@pytest.mark.parametrize(
    ("origin", "waits"),
    [
        (None, False),
        (run(None), True),
        (run("Unknown"), True),
        (run("True"), False),
        (run("False"), False),
        (imported(), True),
        (imported(("Ready", "Unknown"), ("Stalled", "False")), True),
        (imported(("Ready", "True")), False),
        (imported(("Ready", "False"), ("Stalled", "True")), False),
    ],
)
def test_a_fresh_version_waits_while_the_run_or_import_that_it_names_goes_on(origin: Obj | None, waits: bool) -> None:
    found = registration(snapshot(DEFAULT_STATUS["ModelVersion"], origin=origin))
    assert (found.registered, found.waits) == (None, waits)
    judged = {**DEFAULT_STATUS["ModelVersion"], "observedGeneration": 1}
    later = registration(snapshot(judged, origin=origin))
    assert (later.registered, later.waits) == (None, False), "what was judged once is not fresh any more"
