"""Calibration tables of the reference profile: labels of the holdout by what the model answered.

Bins hold about equal numbers of held-out rows, at least `MIN_ROWS` where there are as many: at most 160 bins of scores
in all, each at most a tenth wide, and ten of predicted numbers. Beyond the smallest and the largest answer lie bins
without rows, so that a monitor sees when a model answers what it has not answered on the holdout.
"""

import math
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tidemill_contracts.calibration import CLASSES, MIN_ROWS, RIGHT, CalibrationTable
from tidemill_contracts.reference import category_text
from tidemill_runtime.model import label_sums
from tidemill_runtime.trainer.model import metrics
from tidemill_runtime.trainer.model.inspection import Model, Values, plain
from tidemill_runtime.trainer.package import profile_bins

SCORE_BINS: Final = 160
NUMBER_BINS: Final = 10
WIDEST: Final = 0.1
"""Of a bin of scores: where there are few rows, a wider one would say the same of very different scores."""
MOST_ROWS: Final = 100_000
"""Of a larger holdout so many are drawn at random: more make no figure visibly better."""
_SLACK: Final = 1e-6  # of the largest answer: rounding to 32 bits does not leave the bins that have rows
Floats = NDArray[np.float64]


def tables(
    model: Model, predicted: Values, probabilities: Values | None, truth: "pd.Series[Any] | None"
) -> tuple[CalibrationTable, ...]:
    """Return the tables of held-out rows; none without labels, of several outputs, or of classes without probabilities.

    `predicted`: [rows]; `probabilities`: [rows, classes]; `truth`: the labels of the same rows.
    """
    if truth is None or predicted.ndim != 1 or not len(predicted):
        return ()
    kept = _drawn(len(predicted))
    labels = np.asarray(truth)[kept]
    if model.task == "classification" and model.classes is not None:
        if probabilities is None:
            return ()
        return _of_classes(
            model.classes, predicted[kept], probabilities[kept], metrics.as_classes(model.classes, labels)
        )
    if model.task != "regression" or predicted.dtype.kind not in "iuf" or labels.dtype.kind not in "iufb":
        return ()
    found = _of_numbers(predicted.astype(np.float64), kept, labels.astype(np.float64))
    return () if found is None else (found,)


def _drawn(rows: int) -> NDArray[np.int64]:
    if rows <= MOST_ROWS:
        return np.arange(rows)
    return np.sort(np.random.default_rng(0).choice(rows, MOST_ROWS, replace=False))


def _of_classes(
    classes: Values, predicted: Values, probabilities: Values, truth: Values
) -> tuple[CalibrationTable, ...]:
    order = {category_text(plain(value)): place for place, value in enumerate(classes)}
    guessed = np.array([category_text(plain(value)) for value in predicted], dtype=object)
    true = np.array([category_text(plain(value)) for value in truth], dtype=object)
    columns = np.array([order.get(text, -1) for text in guessed], dtype=np.intp)
    scores = np.where(columns < 0, probabilities.max(axis=1), probabilities[np.arange(len(columns)), columns])
    rows_each = max(MIN_ROWS, math.ceil(len(scores) / SCORE_BINS))
    if len(classes) > CLASSES:
        right = (guessed == true).astype(np.float64)
        edges = _edges(scores, rows_each, WIDEST)
        return (_table(None, edges, scores, [{RIGHT: float(value)} for value in right]),)
    found = []
    for name in dict.fromkeys(guessed.tolist()):
        mine = guessed == name
        edges = _edges(scores[mine], rows_each, WIDEST)
        sums = [
            _class_sums(label, name, score, len(classes)) for label, score in zip(true[mine], scores[mine], strict=True)
        ]
        found.append(_table(name, edges, scores[mine], sums))
    return tuple(sorted(found, key=lambda table: order.get(table.predicted or "", len(order))))


def _class_sums(true: str, predicted: str, score: float, classes: int) -> dict[str, float]:
    probability = None if classes != 2 else score if true == predicted else 1.0 - score
    return label_sums.of_class(true, predicted, probability)


def _of_numbers(predicted: Floats, kept: NDArray[np.int64], truth: Floats) -> CalibrationTable | None:
    finite = predicted[np.isfinite(predicted)]
    mean = float(finite.mean()) if len(finite) else 0.0  # as the profile of the predictions has it
    answers = predicted[kept]
    good = (np.abs(answers) <= label_sums.LARGEST_NUMBER) & (np.abs(truth) <= label_sums.LARGEST_NUMBER)
    answers, truth = answers[good], truth[good]
    if not len(answers):
        return None
    edges = _edges(answers, max(MIN_ROWS, math.ceil(len(answers) / NUMBER_BINS)), math.inf)
    pairs = zip(truth.tolist(), answers.tolist(), strict=True)
    return _table(None, edges, answers, [label_sums.of_number(label, answer, mean) for label, answer in pairs])


def _edges(answers: Floats, rows_each: int, widest: float) -> Floats:
    """Return strictly increasing edges with all answers between the outer two; none on an answer or its rounding."""
    values = np.sort(profile_bins.as_single(answers))
    slack = _SLACK * max(abs(values[0]), abs(values[-1]), 1e-30)
    cuts = [values[0] - slack]
    start = 0
    while start < len(values):
        end = min(start + rows_each, int(np.searchsorted(values, values[start] + widest, side="right")))
        end = int(np.searchsorted(values, values[end - 1], side="right"))  # equal answers stay together
        left = len(values) - end
        if left and left < rows_each and values[-1] - values[start] <= widest:
            end = len(values)
        cuts.append(values[-1] + slack if end == len(values) else values[end - 1] / 2 + values[end] / 2)
        start = end
    return np.unique(cuts)


def _table(predicted: str | None, edges: Floats, answers: Floats, added: list[dict[str, float]]) -> CalibrationTable:
    bins = np.searchsorted(edges, answers, side="right")
    rows = np.bincount(bins, minlength=len(edges) + 1)
    sums: dict[str, list[float]] = {}
    for place, one in zip(bins.tolist(), added, strict=True):
        for name, value in one.items():
            sums.setdefault(name, [0.0] * len(rows))[place] += value
    return CalibrationTable(
        predicted=predicted,
        edges=tuple(edges.tolist()),
        rows=tuple(rows.tolist()),
        sums={name: tuple(values) for name, values in sorted(sums.items())},
    )
