"""Whose change of pods it is, and whose turn: one table, then a fleet that is brought through by real decisions."""

from __future__ import annotations

import copy
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tidemill.core import staged_updates
from tidemill.core.conditions import format_time
from tidemill.core.plan import Key, Turn
from tidemill.core.staged_updates import INPUTS, TEMPLATE, Fleet, StagedUpdate, Unit, UpdateContext

Obj = dict[str, Any]
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
KEY, OTHER = Key("ModelDeployment", "team", "churn"), Key("ModelDeployment", "team", "other")
FREE, FULL = Fleet(1), Fleet(1, frozenset({OTHER}))
LATE = Fleet(1, frozenset({KEY}), frozenset({KEY}))
BROKEN = Fleet(5, frozenset({OTHER}), frozenset({OTHER}))
UPDATES, WAITS = Turn("updates", 1), Turn("waits", 1)


def unit(image: str = "server:1", inputs: str = "spec-1", name: str = "churn-1") -> Unit:
    template = {"spec": {"containers": [{"name": "server", "image": image, "args": [inputs]}]}}
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "team"}}
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": "team", "annotations": {"kept": "yes"}},
        "spec": {"template": template},
    }
    return Unit(deployment, inputs, (service,))


def applied(made: Unit, *, is_ready: bool = True, deadline: int | None = 60) -> Obj:
    """The Deployment as the API server has it after a unit was applied."""
    (found,) = staged_updates.stage(look(live={}), [made], 1).apply
    obj = copy.deepcopy(found[-1])
    obj["metadata"] |= {"generation": 3, "uid": "u1", "resourceVersion": "7"}
    obj["spec"] |= {"replicas": 2, **({"progressDeadlineSeconds": deadline} if deadline else {})}
    obj["spec"]["template"]["spec"]["restartPolicy"] = "Always"  # a default of the server
    obj["status"] = {
        "observedGeneration": 3,
        "replicas": 2,
        "updatedReplicas": 2,
        "readyReplicas": 2 if is_ready else 1,
    }
    return obj


def without(obj: Obj, *names: str, **changed: str) -> Obj:
    """With other digests: those of version 0.1, of another rule."""
    obj = copy.deepcopy(obj)
    for name in names:
        del obj["metadata"]["annotations"][name]
    obj["metadata"]["annotations"] |= changed
    return obj


def reconciled(reason: str | None = None, since: float = 10, observed: int = 4) -> Obj:
    conditions = []
    if reason is not None:
        when = format_time(NOW - timedelta(seconds=since))
        conditions = [{"type": "PodsCurrent", "status": "Unknown", "reason": reason, "lastTransitionTime": when}]
    return {
        "kind": "ModelDeployment",
        "metadata": {"name": "churn", "namespace": "team", "generation": 4},
        "status": {"observedGeneration": observed, "conditions": conditions},
    }


def look(
    live: dict[str, Obj] | Obj, *, fleet: Fleet = FULL, obj: Obj | None = None, has_service: bool = True
) -> UpdateContext:
    named = {"churn-1": live} if "metadata" in live else live
    children = {("Service", "churn-1")} if has_service else set()
    return UpdateContext(KEY, obj or reconciled(), NOW, fleet, named, children)


def kinds(staged: StagedUpdate) -> list[str]:
    return [manifest["kind"] for unit in staged.apply for manifest in unit]


def reason(staged: StagedUpdate) -> str | None:
    return staged.condition.reason if staged.condition else None


NEW, OLD = unit("server:2"), applied(unit("server:1"))
HELD: tuple[list[str], str | None, Turn | None] = ([], "WaitingForTurn", WAITS)
ALL = ["Service", "Deployment"]

TABLE: dict[str, tuple[UpdateContext, Unit, tuple[list[str], str | None, Turn | None]]] = {
    "what is not there yet is made": (look({}), unit(), (ALL, None, None)),
    "pods that would be the same are left alone": (look(OLD), unit("server:1"), (ALL, None, None)),
    "the operator's change waits while all turns are taken": (look(OLD), NEW, HELD),
    "the operator's change has a free turn": (look(OLD, fleet=FREE), NEW, (ALL, "Updating", UPDATES)),
    "the user's change never waits": (look(OLD), unit("server:1", "spec-2"), (ALL, None, None)),
    "the user's change takes the operator's with it": (look(OLD), unit("server:2", "spec-2"), (ALL, None, None)),
    "nor when all is stopped": (look(OLD, fleet=BROKEN), unit("server:2", "spec-2"), (ALL, None, None)),
    "one that is not ready in time stops all": (look(OLD, fleet=BROKEN), NEW, ([], "UpdatesStopped", WAITS)),
    "no turns at all": (look(OLD, fleet=Fleet(0)), NEW, HELD),
    "a Service that somebody deleted is made anew meanwhile": (
        look(OLD, has_service=False),
        NEW,
        (["Service"], "WaitingForTurn", WAITS),
    ),
    "what was not ready before says nothing about the new pods": (
        look(applied(unit("server:1"), is_ready=False), fleet=FREE),
        NEW,
        (ALL, None, UPDATES),
    ),
    "0.1 took no digests: the same pods": (look(without(OLD, INPUTS, TEMPLATE)), unit("server:1"), (ALL, None, None)),
    "0.1 took no digests: other pods": (look(without(OLD, INPUTS, TEMPLATE)), NEW, HELD),
    "0.1 took no digests, and the user has changed the spec since": (
        look(without(OLD, INPUTS, TEMPLATE), obj=reconciled(observed=3)),
        NEW,
        (ALL, None, None),
    ),
    "asked was noted since, and now the user changes the spec": (
        look(without(OLD, TEMPLATE)),
        unit("server:2", "spec-2"),
        (ALL, None, None),
    ),
    "another rule for what is asked is nobody's change": (look(without(OLD, **{INPUTS: "0:abc"})), NEW, HELD),
    "in its turn, the new pods are not ready yet": (
        look(applied(NEW, is_ready=False), obj=reconciled("Updating")),
        NEW,
        (ALL, "Updating", UPDATES),
    ),
    "in its turn, ready": (look(applied(NEW), obj=reconciled("Updating")), NEW, (ALL, None, None)),
    "in its turn, a second before the deadline": (
        look(applied(NEW, is_ready=False), obj=reconciled("Updating", since=59)),
        NEW,
        (ALL, "Updating", UPDATES),
    ),
    "in its turn, at the deadline": (
        look(applied(NEW, is_ready=False), obj=reconciled("Updating", since=60)),
        NEW,
        (ALL, "NotReadyInTime", UPDATES),
    ),
    "the deadline of a Deployment that names none": (
        look(applied(NEW, is_ready=False, deadline=None), obj=reconciled("Updating", since=599)),
        NEW,
        (ALL, "Updating", UPDATES),
    ),
    "late stays late although the condition is new": (
        look(applied(NEW, is_ready=False), obj=reconciled("NotReadyInTime", since=1)),
        NEW,
        (ALL, "NotReadyInTime", UPDATES),
    ),
    "late, and ready after all": (look(applied(NEW), obj=reconciled("NotReadyInTime")), NEW, (ALL, None, None)),
    "late, and the next image comes": (
        look(
            applied(NEW, is_ready=False),
            obj=reconciled("NotReadyInTime"),
            fleet=Fleet(1, frozenset({KEY}), frozenset({KEY})),
        ),
        unit("server:3"),
        (ALL, "Updating", UPDATES),
    ),
    "late, and the user changes the spec": (
        look(applied(NEW, is_ready=False), obj=reconciled("NotReadyInTime")),
        unit("server:2", "spec-2"),
        (ALL, None, None),
    ),
    "waiting is no turn": (
        look(applied(NEW, is_ready=False), obj=reconciled("WaitingForTurn")),
        NEW,
        (ALL, None, None),
    ),
}


@pytest.mark.parametrize("case", TABLE)
def test_who_changed_the_pods_and_what_becomes_of_it(case: str) -> None:
    given, made, (wanted_kinds, wanted_reason, wanted_turn) = TABLE[case]
    staged = staged_updates.stage(given, [made], 1)
    assert (kinds(staged), reason(staged), staged.turn) == (wanted_kinds, wanted_reason, wanted_turn)


def test_only_the_unit_that_changed_is_held() -> None:
    router = unit("router:1", name="churn-router")
    live = {"churn-1": OLD, "churn-router": applied(router)}
    staged = staged_updates.stage(look(live), [NEW, router], 1)
    assert [[m["metadata"]["name"] for m in made] for made in staged.apply] == [[], ["churn-router", "churn-router"]]
    staged = staged_updates.stage(look(live), [unit("server:2", "spec-2"), unit("router:2", name="churn-router")], 1)
    assert [len(made) for made in staged.apply] == [2, 1], (
        "the user's goes, the operator's waits (no such Service here)"
    )
    assert reason(staged) == "WaitingForTurn"


def test_what_only_the_new_pods_fit_comes_with_them() -> None:
    policy = {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "churn-1"}}
    made = replace(NEW, fitting=(policy,))
    assert kinds(staged_updates.stage(look(OLD, has_service=False), [made], 1)) == ["Service"]
    assert kinds(staged_updates.stage(look(OLD, fleet=FREE), [made], 1)) == ["Service", "NetworkPolicy", "Deployment"]


def test_what_was_asked_is_noted_once_on_pods_of_version_0_1_that_wait() -> None:
    (patch,) = staged_updates.stage(look(without(OLD, INPUTS, TEMPLATE)), [NEW], 1).patches
    assert (patch.ref.kind, patch.ref.name, patch.ref.uid) == ("Deployment", "churn-1", "u1")
    assert patch.body == {"metadata": {"annotations": {INPUTS: OLD["metadata"]["annotations"][INPUTS]}}}
    assert staged_updates.stage(look(OLD), [NEW], 1).patches == ()
    assert staged_updates.stage(look(without(OLD, TEMPLATE)), [NEW], 1).patches == ()


def test_the_digests_say_nothing_of_the_operators_version_and_leave_other_annotations_alone() -> None:
    annotations = applied(unit())["metadata"]["annotations"]
    assert annotations == {"kept": "yes", INPUTS: "1:" + annotations[INPUTS][2:], TEMPLATE: annotations[TEMPLATE]}
    assert annotations[INPUTS] not in {applied(unit(inputs=i))["metadata"]["annotations"][INPUTS] for i in "ab"}
    assert applied(unit("server:9"))["metadata"]["annotations"][INPUTS] == annotations[INPUTS]


def test_who_waits_looks_again_by_itself_and_who_updates_does_at_the_deadline() -> None:
    assert staged_updates.stage(look(OLD), [NEW], 1).requeue_after == 60
    found = staged_updates.stage(look(applied(NEW, is_ready=False), obj=reconciled("Updating", since=50)), [NEW], 1)
    assert found.requeue_after == 11
    assert staged_updates.earliest(None, 5.0, 3.0) == 3.0
    assert staged_updates.earliest(None) is None


def test_the_deadline_is_that_of_the_pods_that_are_not_ready() -> None:
    router = applied(unit("router:1", name="churn-router"), deadline=None)
    obj = reconciled("Updating", since=60)
    live = {"churn-1": applied(NEW, is_ready=False), "churn-router": router}
    assert reason(staged_updates.stage(look(live, obj=obj), [NEW], 1)) == "NotReadyInTime"


def test_being_late_is_reported_once() -> None:
    live = applied(NEW, is_ready=False)
    late, again = (reconciled("Updating", since=60), reconciled("NotReadyInTime"))
    (event,) = staged_updates.events(late, staged_updates.stage(look(live, obj=late), [NEW], 1))
    assert (event.type, event.reason) == ("Warning", "NotReadyInTime")
    assert staged_updates.events(again, staged_updates.stage(look(live, obj=again), [NEW], 1)) == ()
    assert staged_updates.events(late, staged_updates.stage(look(applied(NEW), obj=late), [NEW], 1)) == ()


A, B, C = (Key("ModelDeployment", "team", name) for name in "abc")


@pytest.mark.parametrize(
    ("fleet", "who", "has"),
    [
        (Fleet(2), A, True),
        (Fleet(2, waiting=(A, B)), C, False),
        (Fleet(2, waiting=(A, B)), B, True),
        (Fleet(2, waiting=(A, B, C)), C, False),
        (Fleet(2, frozenset({A}), waiting=(B, C)), B, True),
        (Fleet(2, frozenset({A}), waiting=(B, C)), C, False),
        (Fleet(2, frozenset({A, B}), waiting=(C,)), C, False),
        (Fleet(2, frozenset({A, B}), waiting=(C,)), A, True),
        (Fleet(9, frozenset({A}), frozenset({A}), (B,)), B, False),
        (Fleet(9, frozenset({A}), frozenset({A}), (B,)), A, True),
        (Fleet(1, frozenset({A, B}), waiting=(C,)), C, False),
    ],
)
def test_whose_turn_it_is(fleet: Fleet, who: Key, has: bool) -> None:
    assert fleet.has_turn(who) is has


@pytest.mark.parametrize(
    ("change", "is_ready"),
    [
        ({}, True),
        ({"observedGeneration": 2}, False),
        ({"updatedReplicas": 1}, False),
        ({"readyReplicas": 1}, False),
        ({"replicas": 3}, False),
        ({"readyReplicas": 3, "updatedReplicas": 3}, True),
    ],
)
def test_ready_is_the_newest_template_on_every_pod(change: Obj, is_ready: bool) -> None:
    obj = copy.deepcopy(OLD)
    obj["status"] |= change
    assert staged_updates.ready(obj) is is_ready


def test_a_deployment_without_pods_is_ready_and_one_without_a_status_is_not() -> None:
    obj = copy.deepcopy(OLD)
    obj["spec"]["replicas"] = 0
    obj["status"] = {"observedGeneration": 3}
    assert staged_updates.ready(obj)
    assert not staged_updates.ready({"metadata": {"generation": 1}, "spec": {}})
