"""What a model predicts for a frame, before any protocol encodes it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from tidemill_contracts.artifact import ModelManifest
from tidemill_runtime.model.frame import Array, Frame


@dataclass(slots=True)
class Prediction:
    """`prediction` is [rows] or [rows, targets]; `probabilities` is [rows, classes] where the model has them.

    `others` are further outputs (scores, distances, probabilities by target), each [rows] or [rows, n]. `names` are
    pairs of output name and datatype, in the order prediction, probabilities, others. `class_columns` has the column of
    each class in `probabilities`, None where that is not known.
    """

    names: Sequence[tuple[str, str]]
    prediction: Array
    probabilities: Array | None = None
    others: Sequence[Array] = ()
    class_columns: Mapping[Any, int] | None = None

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
        return Prediction(self.names, self.prediction[start:end], probabilities, others, self.class_columns)

    def labels(self) -> list[Any]:
        """Return one JSON value per row for the prediction log; None where a row has several targets."""
        if self.prediction.ndim == 1:
            values: list[Any] = self.prediction.tolist()
            return values
        return [None] * len(self.prediction)

    def scores(self) -> list[float] | None:
        """Return the probability of the predicted class of each row; None for a model without.

        It is not always the largest: a model may have a threshold of its own. Of a class that is not known it is.
        """
        if self.probabilities is None or self.prediction.ndim != 1:
            return None
        known = self.class_columns or {}
        columns = np.array([known.get(label, -1) for label in self.prediction.tolist()], dtype=np.intp)
        # One value of each row is boxed, not all: with a thousand classes that is a hundred times as fast.
        found = self.probabilities[np.arange(len(columns)), columns]
        unknown = columns < 0
        if unknown.any():
            found[unknown] = self.probabilities[unknown].max(axis=1)
        scores: list[float] = found.tolist()
        return scores


def class_columns(manifest: ModelManifest) -> Mapping[Any, int] | None:
    """Return the column of each class in a model's probabilities; None for a model without classes."""
    return {label: column for column, label in enumerate(manifest.classes)} if manifest.classes else None


class Predictor(Protocol):
    """Something that predicts; safe from several threads at once."""

    def predict(self, frame: Frame) -> Prediction:
        """Return one prediction per row; raises BadRequestError for rows that the model cannot take."""
