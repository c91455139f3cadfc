"""Only what the operator has written makes a version count; nothing that a person writes on an object does."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from tests.support import builders_training as make
from tests.support.invariants import DEFAULT_STATUS
from tests.unit.training.test_loop import quickstart
from tests.unit.training.world import World

from tidemill.core.plan import Key
from tidemill.training import registered

Obj = dict[str, Any]

GATE = {"metric": "roc_auc", "min": 0.9}


def forged(world: World, name: str = "churn-2", number: int = 2, **spec: Any) -> Obj:
    """A copy of version 1 by hand, with the label, the owner and the annotations of the operator's own."""
    found = copy.deepcopy(world.get("ModelVersion", "churn-1"))
    kept = {key: found["metadata"].get(key) for key in ("labels", "annotations", "ownerReferences")}
    found["metadata"] = {"name": name, "namespace": make.NAMESPACE, **{k: v for k, v in kept.items() if v}}
    found["metadata"].setdefault("annotations", {})["tidemill.io/applied"] = make.digest("1")
    found["spec"] = {**found["spec"], "number": number, **spec}
    del found["status"]
    return found


def status(world: World, name: str) -> Obj:
    found: Obj = world.get("ModelVersion", name)["status"]
    return found


def test_a_version_is_registered_by_the_status_of_its_run() -> None:
    world = quickstart(make.Pipeline().gates(GATE))
    run = world.train()

    found = status(world, "churn-1")["registered"]
    assert found["origin"] == {
        "kind": "TrainingRun",
        "name": run,
        "uid": world.get("TrainingRun", run)["metadata"]["uid"],
    }
    assert found["gates"] == "Passed"
    assert found["digest"] == world.get("ModelVersion", "churn-1")["spec"]["digest"]
    assert status(world, "churn-1")["decision"]["by"] == "gates"
    assert world.condition("ModelVersion", "churn-1", "Approved") == ("True", "GatesPassed")


def test_without_gates_nobody_says_gates() -> None:
    world = quickstart()
    world.train()

    assert status(world, "churn-1")["registered"]["gates"] == "NotJudged"
    assert status(world, "churn-1")["decision"]["by"] == "approval: Automatic"
    assert world.condition("ModelVersion", "churn-1", "Approved") == ("True", "NotJudged")


def test_a_version_waits_for_the_end_of_its_run_without_a_word() -> None:
    """Between the creation of the version and the run's verdict nothing is known, and nothing is written."""
    world = quickstart()
    world.settle()
    run = world.names("TrainingRun")[0]
    world.kubelet_finishes(run, make.result("d", run=world.get("TrainingRun", run)))
    world.crash_before_status = True
    world.reconcile(Key("TrainingRun", make.NAMESPACE, run))
    world.crash_before_status = False
    world.written()

    world.reconcile(Key("ModelVersion", make.NAMESPACE, "churn-1"))
    assert world.written() == []
    world.settle()
    assert world.names("ModelVersion") == ["churn-1"], "the run knows its own version again"
    assert world.condition("ModelVersion", "churn-1") == ("True", "Registered")


@pytest.mark.parametrize("approval", ["Automatic", "Manual"])
def test_a_version_made_by_hand_is_not_registered_whatever_it_bears(approval: str) -> None:
    world = quickstart(make.Pipeline().gates(GATE).spec(approval=approval))
    world.train()
    hand = forged(world, approval="Automatic", digest=make.digest("7"))
    hand["metadata"]["annotations"]["tidemill.io/approve"] = make.digest("7")
    world.put(hand)
    world.settle()

    assert world.condition("ModelVersion", "churn-2") == ("False", "NotRegistered")
    assert world.condition("ModelVersion", "churn-2", "Stalled") == ("True", "NotRegistered")
    assert world.condition("ModelVersion", "churn-2", "Approved") == ("Unknown", "NotRegistered")
    assert not {"registered", "decision"} & set(status(world, "churn-2"))
    assert (world.pipeline().get("champion") or {}).get("version") == ("churn-1" if approval == "Automatic" else None)
    assert world.pipeline()["latestVersion"] == "churn-1"
    assert [e.reason for e in world.events].count("NotRegistered") == 1
    world.settle()
    assert [e.reason for e in world.events].count("NotRegistered") == 1


def test_a_version_by_hand_neither_takes_a_number_nor_stands_in_the_way() -> None:
    world = quickstart(make.Pipeline().triggers(codeChange={}))
    world.train("a")
    world.put(forged(world))
    world.put(forged(world, "other", 4_000_000_000_000_000))
    world.put(make.ConfigMap(train_py="2").obj())
    world.train("b")

    assert world.condition("ModelVersion", "churn-3") == ("True", "Registered"), "the name of number 2 is taken"
    assert world.pipeline()["champion"]["version"] == "churn-3"
    assert world.pipeline()["versions"] == 3


@pytest.mark.parametrize("label", ["gone", None])
def test_another_label_takes_no_version_from_its_pipeline(label: str | None) -> None:
    """Whoever may annotate versions may label them: without the champion, any candidate would pass its gate."""
    world = quickstart()
    world.train()

    def relabel(version: Obj) -> None:
        version["metadata"]["labels"]["tidemill.io/pipeline"] = label
        if label is None:
            del version["metadata"]["labels"]["tidemill.io/pipeline"]

    world.change("ModelVersion", "churn-1", relabel)
    world.settle()

    assert world.pipeline()["champion"]["version"] == "churn-1"
    assert world.condition("TrainingPipeline", "churn") == ("True", "Trained")


def test_an_object_made_again_under_the_name_of_a_version_is_another_one() -> None:
    """The run's status names the version and what its spec said: neither name nor digest of the model suffices."""
    world = quickstart(make.Pipeline().spec(approval="Manual"))
    world.train()
    hand = forged(world, "churn-1", 1, approval="Automatic")
    world.remove("ModelVersion", "churn-1")
    world.put(hand)
    world.settle()
    assert world.condition("ModelVersion", "churn-1") == ("False", "NotRegistered")

    same = {**hand, "spec": {**hand["spec"], "approval": "Manual"}}
    world.remove("ModelVersion", "churn-1")
    world.put(same)
    world.settle()
    assert world.condition("ModelVersion", "churn-1") == ("True", "Registered"), "word for word what was registered"


def test_an_object_made_in_advance_is_not_taken_for_the_runs_own() -> None:
    """Names of runs and digests of models can be guessed: training is deterministic."""
    world = quickstart(make.Pipeline().spec(approval="Manual"))
    world.settle()
    run = world.names("TrainingRun")[0]
    other = quickstart(make.Pipeline().spec(approval="Manual"))
    other.train()
    world.put(forged(other, "churn-1", 1, approval="Automatic"))
    world.kubelet_finishes(run, make.result("d", run=world.get("TrainingRun", run)))
    world.settle()

    assert world.condition("ModelVersion", "churn-1") == ("False", "NotRegistered")
    assert world.run(run)["version"] == "churn-2"
    assert world.condition("ModelVersion", "churn-2", "Approved") == ("Unknown", "AwaitingApproval")


def of_earlier_release(version: Obj, by: str | None = "gates", reason: str = "GatesPassed") -> None:
    """The status as the release before `status.registered` has written it."""
    digest = version["spec"]["digest"]
    decision = {"approved": True, "by": by, "time": "2026-11-24T00:00:00Z", "digest": digest}
    condition = {"observedGeneration": 1, "lastTransitionTime": "2026-11-24T00:00:00Z", "message": "so"}
    version["status"] = {
        "observedGeneration": 1,
        "deployments": [],
        "conditions": [
            {"type": "Ready", "status": "True", "reason": "Registered", **condition},
            {"type": "Approved", "status": "True" if by else "Unknown", "reason": reason, **condition},
        ],
        **({"decision": decision} if by else {}),
    }


def upgraded(
    *, by: str | None = "gates", reason: str = "GatesPassed", gates: bool = False, run_is_there: bool
) -> World:
    """A version that the release before has made, after the first look of this one."""
    world = quickstart(make.Pipeline().gates(*([GATE] if gates else [])))
    run = world.train()

    def old(version: Obj) -> None:
        of_earlier_release(version, by, reason)
        version["metadata"].setdefault("annotations", {})["tidemill.io/applied"] = make.digest("1")

    def old_run(run: Obj) -> None:
        del run["status"]["versionContent"]

    world.advance(days=2)
    world.change("ModelVersion", "churn-1", old)
    world.change("TrainingRun", run, old_run)
    if not run_is_there:
        world.remove("TrainingRun", run)
    world.settle()
    return world


@pytest.mark.parametrize(
    ("gates", "run_is_there", "by", "reason"),
    [
        (True, True, "gates", "GatesPassed"),
        (False, True, "approval: Automatic", "NotJudged"),
        (True, False, "gates", "ApprovedEarlier"),
    ],
)
def test_versions_of_an_earlier_release_stay_registered_and_say_what_is_known(
    gates: bool, run_is_there: bool, by: str, reason: str
) -> None:
    world = upgraded(gates=gates, run_is_there=run_is_there)

    assert status(world, "churn-1")["registered"]["time"] == "2026-11-24T00:00:00Z"
    assert status(world, "churn-1")["decision"] == {
        "approved": True,
        "by": by,
        "time": "2026-11-24T00:00:00Z",
        "digest": world.get("ModelVersion", "churn-1")["spec"]["digest"],
    }
    assert world.condition("ModelVersion", "churn-1", "Approved") == ("True", reason)
    assert world.pipeline()["champion"]["version"] == "churn-1"


def test_one_of_an_earlier_release_that_waits_for_approval_goes_on_waiting() -> None:
    world = upgraded(by=None, reason="AwaitingApproval", run_is_there=False)
    assert world.condition("ModelVersion", "churn-1") == ("True", "Registered")


@pytest.mark.parametrize(
    ("by", "counts"),
    [("gates", False), ("annotation tidemill.io/approve", True), ("annotation tidemill.io/reject", True)],
)
def test_of_objects_made_by_hand_before_the_upgrade_those_that_a_person_decided_on_stay(by: str, counts: bool) -> None:
    world = quickstart()
    world.train()
    hand = forged(world)
    del hand["metadata"]["labels"], hand["metadata"]["annotations"], hand["metadata"]["ownerReferences"]
    world.advance(days=2)
    hand["metadata"]["creationTimestamp"] = "2026-11-23T12:00:10Z"
    of_earlier_release(hand, by)
    world.put(hand)
    world.settle()
    assert ("registered" in status(world, "churn-2")) is counts


def test_no_object_of_today_passes_for_one_of_an_earlier_release() -> None:
    """It begins with the default conditions, and the first look writes others: whatever it bears, now and later."""
    world = quickstart()
    world.train()
    hand = forged(world, digest=make.digest("7"))
    assert not registered.is_of_earlier_release({**hand, "status": DEFAULT_STATUS["ModelVersion"]})
    world.put(hand)
    world.settle()
    assert not registered.is_of_earlier_release(world.get("ModelVersion", "churn-2"))


def test_the_digest_of_a_spec_does_not_depend_on_how_it_is_spelt() -> None:
    world = quickstart()
    world.train()
    spec = world.get("ModelVersion", "churn-1")["spec"]
    spelt = {**spec, "metrics": {"roc_auc": 0.95, "accuracy": 0.9}, "approval": "Automatic", "ofALaterRelease": 1}
    assert registered.content_digest(spelt) == registered.content_digest(spec)
    assert registered.content_digest({**spec, "approval": "Manual"}) != registered.content_digest(spec)
    assert registered.content_digest({"pipeline": "churn"}) is None
