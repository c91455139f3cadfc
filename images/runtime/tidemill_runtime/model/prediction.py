"""What a model predicts for a frame, before any protocol encodes it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from tidemill_runtime.model.frame import Array, Frame


@dataclass(slots=True)
class Prediction:
    """`prediction` is [rows] or [rows, targets]; `probabilities` is [rows, classes] where the model has them.

    `others` are further outputs (scores, distances, probabilities by target), each [rows] or [rows, n]. `names` are
    pairs of output name and datatype, in the order prediction, probabilities, others.
    """

    names: Sequence[tuple[str, str]]
    prediction: Array
    probabilities: Array | None = None
    others: Sequence[Array] = ()

    def tensors(self) -> Iterator[tuple[str, str, Array]]:
        """Yield every output as name, datatype and values."""
        yield (*self.names[0], self.prediction)
        place = 1
        if self.probabilities is not None:
            yield (*self.names[1], self.probabilities)
            place = 2
        for array in self.others:
            yield (*self.names[place], array)
            place += 1

    def part(self, start: int, end: int) -> "Prediction":
        """Return the rows from `start` up to `end`, which share memory with this prediction."""
        probabilities = self.probabilities[start:end] if self.probabilities is not None else None
        others = [array[start:end] for array in self.others] if self.others else ()
        return Prediction(self.names, self.prediction[start:end], probabilities, others)

    def labels(self) -> list[Any]:
        """Return one JSON value per row for the prediction log; None where a row has several targets."""
        if self.prediction.ndim == 1:
            values: list[Any] = self.prediction.tolist()
            return values
        return [None] * len(self.prediction)


class Predictor(Protocol):
    """Something that predicts; safe from several threads at once."""

    def predict(self, frame: Frame) -> Prediction:
        """Return one prediction per row; raises BadRequestError for rows that the model cannot take."""
