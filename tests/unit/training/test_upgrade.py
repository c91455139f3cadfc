"""An upgraded operator has other sentences: what the one before it has reported gets no second event."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.support import builders_training as make
from tests.unit.training.test_loop import quickstart
from tests.unit.training.world import Obj, World

ROC_AUC = {"metric": "roc_auc", "min": 0.9}


def failed(*failure: str) -> World:
    """A pipeline whose first run failed."""
    world = quickstart()
    world.settle()
    world.kubelet_finishes(world.names("TrainingRun")[0], make.failed(*failure), 1 if failure[0] != "UserError" else 42)
    return world


def rejected() -> World:
    """A pipeline whose first candidate did not pass its gate."""
    world = quickstart(make.Pipeline().gates(ROC_AUC))
    world.train(metrics={"roc_auc": 0.5})
    return world


def rejected_later() -> World:
    """The same of the second candidate: the pipeline has a champion."""
    world = quickstart(make.Pipeline().gates(ROC_AUC).triggers(codeChange={}))
    world.train()
    world.put(make.ConfigMap(train_py="worse").obj())
    world.train("f", None, metrics={"roc_auc": 0.5})
    return world


def deleted() -> World:
    """A pipeline whose run somebody deleted."""
    world = quickstart()
    world.settle()
    world.kubelet_starts(world.names("TrainingRun")[0])
    world.settle()
    world.remove("TrainingRun", world.names("TrainingRun")[0])
    return world


def too_large() -> World:
    """A pipeline that no record of a run can hold."""
    return quickstart(make.Pipeline().spec(parameters={f"p{n}": "x" * 100_000 for n in range(7)}))


def leaves_its_folder() -> World:
    """A pipeline whose input has a URI that the schema cannot refuse."""
    return quickstart(make.Pipeline().data("s3://lake/../x"))


def wrong_digest() -> World:
    """A version that somebody approved by another digest."""
    world = quickstart(make.Pipeline().spec(approval="Manual"))
    world.train()
    approval = {"tidemill.io/approve": make.digest("9")}
    world.change("ModelVersion", "churn-1", lambda o: o["metadata"].setdefault("annotations", {}).update(approval))
    return world


def said_otherwise(obj: Obj) -> None:
    """The status as an operator with other sentences would have written it."""
    for condition in obj["status"]["conditions"]:
        condition["message"] = f"in other words: {condition['message']}"


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (lambda: failed("UserError", "SyntaxError", "train.py line 1"), "RunFailed"),
        (lambda: failed("Infrastructure", "StorageUnavailable", "s3://lake cannot be reached"), "RunFailed"),
        (rejected, "RunRejected"),
        (rejected_later, "RunRejected"),
        (deleted, "RunDeleted"),
        (too_large, "SpecTooLarge"),
        (leaves_its_folder, "InvalidData"),
        (wrong_digest, "DigestMismatch"),
    ],
)
def test_no_event_is_repeated_by_an_upgrade(made: Callable[[], World], reason: str) -> None:
    world = made()
    world.settle()
    assert [e.reason for e in world.events] == [reason]
    for kind in ("TrainingPipeline", "ModelVersion"):
        for name in world.names(kind):
            world.change(kind, name, said_otherwise)
    world.restart()
    world.settle()
    assert [e.reason for e in world.events] == [reason]
    shown = [c["message"] for c in world.pipeline()["conditions"]]
    assert not any(message.startswith("in other words") for message in shown)
