"""What a person asks for by an annotation is served once, and its note is short."""

from __future__ import annotations

import pytest

from tidemill.api.v1alpha1.model_deployment import ModelDeploymentStatus
from tidemill.core.labels import ABORT
from tidemill.core.request_annotations import LIMIT, new_value, recorded
from tidemill.serving.state import State

LONG = "x" * 100_000


@pytest.mark.parametrize("value", ["1", "a" * LIMIT, LONG])
def test_a_value_is_served_once(value: str) -> None:
    asked = new_value({ABORT: value}, ABORT, None)
    assert asked is not None and len(asked) <= LIMIT
    assert new_value({ABORT: value}, ABORT, asked) is None
    assert new_value({ABORT: f"{value}2"}, ABORT, asked) not in (None, asked)


@pytest.mark.parametrize("annotations", [{}, {ABORT: ""}])
def test_no_value_asks_for_nothing(annotations: dict[str, str]) -> None:
    assert new_value(annotations, ABORT, None) is None


def test_a_long_value_that_was_served_before_is_not_served_again_and_its_note_gets_short() -> None:
    status = ModelDeploymentStatus.model_validate(
        {"lastHandledPromote": LONG, "lastHandledAbort": LONG, "lastHandledRetry": LONG}
    )
    found = State.of(status)
    assert new_value({ABORT: LONG}, ABORT, found.abort) is None
    assert found.promote == found.abort == found.retry == recorded(LONG)
