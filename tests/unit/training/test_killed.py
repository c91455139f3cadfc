"""A leader is killed after each write, or sleeps while another one goes on: nothing is made twice, nothing is lost."""

from __future__ import annotations

import contextlib
import copy
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from tests.support import builders_training as make
from tests.unit.training.test_loop import quickstart
from tests.unit.training.test_once import assert_deleted, started
from tests.unit.training.world import World

from tidemill.core.plan import Key, Plan
from tidemill.training import job_status

Obj = dict[str, Any]
WRITES = 7
"""Of a quick run and its namespace's claim: the claim, run, Job, version, and the status of three objects."""
FORGOTTEN = 10_000


class KilledError(Exception):
    """The process is gone."""


class ConflictError(Exception):
    """The API server refused a status that was made of an older object (decision 25)."""


class Cluster(World):
    """A world whose leader is killed right after a write, and whose API server refuses status made of old data."""

    kill_after: int | None = None

    def _apply(self, manifest: Obj) -> None:
        before = len(self.writes)
        super()._apply(manifest)
        self._written(before)

    def _write_status(self, obj: Obj, plan: Plan) -> None:
        meta = obj["metadata"]
        live = self.objects.get((obj["kind"], meta["namespace"], meta["name"]))
        if live is None or live["metadata"]["resourceVersion"] != meta["resourceVersion"]:
            raise ConflictError(meta["name"])
        before = len(self.writes)
        super()._write_status(obj, plan)
        self._written(before)

    def _written(self, before: int) -> None:
        if len(self.writes) > before and len(self.writes) == self.kill_after:
            raise KilledError


def train(world: World) -> str:
    """From wherever the world stands to the end of its one run; returns the run's name."""
    world.settle()
    (run,) = world.names("TrainingRun")
    if world.names("Job") and job_status.job_outcome(world.get("Job", run)) is None:
        world.advance(seconds=5)
        world.kubelet_finishes(run, make.result(run=world.get("TrainingRun", run)))
        world.settle()
    return run


def killed(writes: int) -> Cluster:
    """A world whose leader was killed right after that many writes."""
    world = Cluster(make.Pipeline().obj(), make.ConfigMap().obj())
    world.kill_after = writes
    with pytest.raises(KilledError):
        train(world)
    world.kill_after = None
    return world


def process(world: World) -> Obj:
    """The operator's process as it is now: what it knows of the cluster, and of itself."""
    return {name: getattr(world, name) for name in ("cache", "deps", "reconcilers")}


@contextlib.contextmanager
def awake(world: World, sleeper: Obj) -> Iterator[None]:
    """Another process has its turn, without having seen anything meanwhile."""
    leader = process(world)
    vars(world).update(sleeper)
    try:
        yield
    finally:
        vars(world).update(leader)
        for obj in world.objects.values():
            world.cache.put(obj)


def made(world: World) -> Counter[str]:
    """How many objects of each kind were made."""
    return Counter(w.kind for w in world.writes if w.verb == "apply")


def assert_trained_once(world: World) -> None:
    """One run, one Job, one version, and all say so."""
    assert made(world) == {"TrainingRun": 1, "PersistentVolumeClaim": 1, "Job": 1, "ModelVersion": 1}
    (run,) = world.names("TrainingRun")
    assert world.condition("TrainingRun", run, "Succeeded") == ("True", "Succeeded")
    assert world.condition("TrainingPipeline", "churn") == ("True", "Trained")


@pytest.mark.parametrize("has_forgotten", [False, True], ids=["with history", "history forgotten"])
@pytest.mark.parametrize("writes", range(1, WRITES + 1))
def test_a_leader_that_is_killed_after_a_write_leaves_nothing_undone_or_doubled(
    writes: int, has_forgotten: bool
) -> None:
    world = killed(writes)
    world.compacted = FORGOTTEN if has_forgotten else 0
    world.restart()
    train(world)

    assert_trained_once(world)
    assert len(world.writes) == WRITES


@pytest.mark.parametrize("writes", range(1, WRITES + 1))
def test_a_leader_that_slept_while_another_one_went_on_doubles_nothing(writes: int) -> None:
    """It wakes with what it knew then, and looks at each object once more before it sees that the Lease is lost."""
    world = killed(writes)
    sleeper, known = process(world), sorted(world.objects)
    world.restart()
    train(world)
    ended = copy.deepcopy(world.objects)
    with awake(world, sleeper):
        for kind, namespace, name in known:
            if kind in world.reconcilers:
                with contextlib.suppress(ConflictError):
                    world.reconcile(Key(kind, namespace, name))
    world.settle()

    assert_trained_once(world)
    assert world.objects == ended


def test_the_job_that_a_sleeping_leader_makes_of_a_run_that_has_ended_is_removed() -> None:
    world = killed(1)
    sleeper = process(world)
    world.restart()
    name = train(world)
    ended = copy.deepcopy(world.run(name))
    world.remove("Job", name)
    with awake(world, sleeper):
        world.reconcile(Key("TrainingRun", make.NAMESPACE, name))
    assert world.names("Job") == [name]
    world.settle()

    assert world.names("Job") == []
    assert world.run(name) == ended


@pytest.mark.slow  # many examples
@pytest.mark.parametrize("kind", ["TrainingRun", "Job", "ModelVersion"])
@pytest.mark.parametrize("writes", range(1, WRITES + 1))
def test_a_new_leader_whose_list_lacks_what_was_made_last_doubles_nothing(writes: int, kind: str) -> None:
    world = killed(writes)
    late = {slot: world.objects.pop(slot) for slot in list(world.objects) if slot[0] == kind}
    world.restart()
    world.objects |= late
    for key in [Key(*slot) for slot in sorted(world.objects) if slot[0] in world.reconcilers]:
        world.reconcile(key)
    for obj in list(world.objects.values()):  # the list comes up to date
        world.cache.put(obj)
    train(world)

    assert_trained_once(world)


@pytest.mark.parametrize("is_restarted", [False, True], ids=["one process", "another leader"])
def test_a_job_that_a_process_has_seen_was_deleted_whatever_history_has_forgotten(is_restarted: bool) -> None:
    """Nothing was written of the Job: the API server holds what it held before there was one."""
    world = quickstart()
    run = started(world)
    world.reconcile(run)
    if is_restarted:
        world.restart()
    world.reconcile(run)
    world.compacted = FORGOTTEN
    world.remove("Job", run.name)
    world.reconcile(run)
    world.settle()

    assert_deleted(world, run)
