"""What a model says about a frame, before any protocol gives it a form."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tidemill_runtime.server.frame import Array


@dataclass(slots=True)
class Answer:
    """`prediction` is [rows] or [rows, targets]; `probabilities` is [rows, classes] where the model has them.

    `names` are pairs of output name and datatype, in the order prediction, probabilities.
    """

    names: Sequence[tuple[str, str]]
    prediction: Array
    probabilities: Array | None = None

    def tensors(self) -> Iterator[tuple[str, str, Array]]:
        """Yield every output as name, datatype and values."""
        yield (*self.names[0], self.prediction)
        if self.probabilities is not None:
            yield (*self.names[1], self.probabilities)

    def labels(self) -> list[Any]:
        """Return one JSON value per row for the prediction log; None where a row has several targets."""
        if self.prediction.ndim == 1:
            values: list[Any] = self.prediction.tolist()
            return values
        return [None] * len(self.prediction)
