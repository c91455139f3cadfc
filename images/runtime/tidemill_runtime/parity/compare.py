"""Whether two forms of a model answer rows alike, each row alone and with other rows.

An answer is what the server would send, and `agreement` says which are the same. A refusal (400) is an answer like any
other: one form's 400 beside the other's 200 is a difference.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tidemill_runtime.model.agreement import agrees, usual_sizes
from tidemill_runtime.model.errors import BadRequestError
from tidemill_runtime.model.frame import Array, Frame, shown
from tidemill_runtime.model.prediction import Prediction, Predictor

_SHOWN = 4  # columns of a row in a reason


@dataclass(frozen=True)
class Refused:
    """The status of rows that a form does not answer: 400, or 500 where it fails."""

    status: int

    def __str__(self) -> str:
        """Return it for a reason."""
        return f"status {self.status}"


Outcome = Prediction | Refused


def outcome(model: Predictor, frame: Frame) -> Outcome:
    """Return a form's answer to a request, or its refusal."""
    try:
        return model.predict(frame)
    except BadRequestError:
        return Refused(400)
    except Exception:  # a model's own code; the server answers 500
        return Refused(500)


def scales(answer: Outcome) -> list[Array]:
    """Return for each output and each of its columns the mean size of usual numbers, by which small ones are judged."""
    if isinstance(answer, Refused):
        return []
    return [usual_sizes(array) for _, _, array in answer.tensors()]


def difference(
    wanted: Outcome, given: Outcome, usual: Sequence[Array | float], names: tuple[str, str]
) -> tuple[int, str] | None:
    """Return the first row that two forms (with these `names`) answer otherwise and how, None where there is none.

    `usual`: the `scales` of usual answers.
    """
    if isinstance(wanted, Refused) or isinstance(given, Refused):
        if wanted == given:
            return None
        says = [str(one) if isinstance(one, Refused) else "an answer" for one in (given, wanted)]
        return 0, f"{names[1]} {says[0]}, {names[0]} {says[1]}"
    for place, (expected, found) in enumerate(zip(wanted.tensors(), given.tensors(), strict=True)):
        scale = usual[place] if place < len(usual) else 0.0
        name, first, second = expected[0], expected[2], found[2]
        if first.shape != second.shape:
            return 0, f"{name} of shape {second.shape[1:]} {names[1]}, {first.shape[1:]} {names[0]}"
        bad = ~agrees(name, first, second, scale)
        if bad.any():
            row = int(np.argmax(bad.reshape(len(bad), -1).any(axis=1)))
            at = (row, *(int(i) for i in np.argwhere(bad[row])[0])) if bad.ndim > 1 else (row,)
            values = [_text(array[at]) for array in (second, first)]
            return row, f"{name} {values[0]} {names[1]}, {values[1]} {names[0]}"
    return None


def _text(value: Any) -> str:
    value = value.item() if isinstance(value, np.generic) else value
    return f"{value:.6g}" if isinstance(value, float) else shown(value)


def describe(frame: Frame, row: int, changed: int) -> str:
    """Return one row for a reason, short: the column that was changed first."""
    names = frame.schema.names
    order = [i for i in range(len(names)) if i != changed]
    order = ([changed] if changed >= 0 else []) + order
    parts = [f"{_short(names[i])}={_value(frame.column(i)[row])}" for i in order[:_SHOWN]]
    return ", ".join(parts) + (", …" if len(names) > _SHOWN else "")


def _short(name: str) -> str:
    return name if len(name) <= 24 else name[:23] + "…"


def _value(value: Any) -> str:
    value = value.item() if isinstance(value, np.generic) else value
    if value is None or value != value:
        return "null"
    return repr(value if not isinstance(value, str) or len(value) <= 24 else value[:23] + "…")
