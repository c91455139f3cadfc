"""Which marks of a version count: those of its content that no person has lifted since."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.serving.make import digest

from tidemill.core.rollback_marks import active
from tidemill.serving import observe
from tidemill.training import records

EARLY, LATE = "2026-11-23T12:00:00Z", "2026-11-23T12:00:01Z"


def version(lifted: str | None = None, **marks: dict[str, Any]) -> dict[str, Any]:
    whole = {"digest": digest(1), "reason": "Aborted", "message": "by hand", "time": EARLY}
    status: dict[str, Any] = {"takenBack": {name: {**whole, **mark} for name, mark in marks.items()}}
    if lifted is not None:
        status["lifted"] = {"by": "ann", "time": lifted}
    meta = {"name": "churn-1", "uid": "u", "creationTimestamp": EARLY}
    spec = {"pipeline": "churn", "number": 1, "digest": digest(1), "uri": "pvc://models/churn/1"}
    return {"metadata": meta, "spec": spec, "status": status}


@pytest.mark.parametrize(
    ("found", "want"),
    [
        (version(), set()),
        (version(web={}), {"web"}),
        (version(web={"digest": digest(2)}), set()),
        (version(EARLY, web={}), set()),
        (version(EARLY, web={"time": LATE}, shop={}), {"web"}),
        (version(LATE, web={"time": LATE}), set()),
    ],
    ids=["none", "one", "of other content", "lifted in that very second", "one lifted of two", "lifted later"],
)
def test_every_slice_counts_the_same_marks(found: dict[str, Any], want: set[str]) -> None:
    assert set(active(found)) == want
    assert set(observe.version(found).rolled_back) == want
    assert bool(records.version_record(found).rolled_back) is bool(want)


def test_a_version_without_record_or_status_has_none() -> None:
    assert active(None) == active({"spec": {"digest": digest(1)}}) == {}
