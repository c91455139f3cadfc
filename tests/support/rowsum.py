"""A model that batchers are tested with."""

from tidemill_runtime.model.errors import BadRequestError
from tidemill_runtime.model.frame import Frame
from tidemill_runtime.model.prediction import Prediction


class RowSum:
    """The sum of a row, and the row; remembers the rows of each call and refuses negative ones."""

    def __init__(self) -> None:
        self.calls: list[int] = []

    def __call__(self, frame: Frame) -> Prediction:
        """Return the sums; `parts` is [rows, columns]."""
        self.calls.append(frame.rows)
        rows = frame.numbers()
        if (rows < 0).any():
            raise BadRequestError(f"row {int((rows < 0).any(axis=1).argmax())} is negative")
        return Prediction([("value", "FP64"), ("parts", "FP64")], rows.sum(axis=1), None, [rows])
