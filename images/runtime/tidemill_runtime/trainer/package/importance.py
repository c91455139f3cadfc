"""Permutation importance: how much worse a model scores on held-out rows when the values of a column are shuffled.

As `sklearn.inspection.permutation_importance` (Breiman, 2001; Fisher, Rudin and Dominici, 2019), with the same
permutations for the same seed; but many permuted copies are answered in one call, and the work is bounded.
"""

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tidemill_contracts.model_metrics import BY_NAME
from tidemill_runtime.model.metric_formulas import FORMULAS, Holdout
from tidemill_runtime.trainer.errors import RunError
from tidemill_runtime.trainer.model.inspection import Model, Values

log = logging.getLogger(__name__)

ROWS: Final = 1_000  # held-out rows that are permuted, at most
REPEATS: Final = 5  # permutations of a column, at most
ANSWERS: Final = 100_000  # rows that the model answers in all; fewer repeats first, then fewer rows
MIN_ROWS: Final = 20
LIMIT_SECONDS: Final = 30.0
"""A model that would need longer has no importance: it answers fewer than 3,000 rows a second."""
_ROWS_AT_ONCE: Final = 10_000
_VALUES_AT_ONCE: Final = 2_000_000
_METRICS: Final[Mapping[str, tuple[str, ...]]] = {
    "classification": ("log_loss", "balanced_accuracy"),  # the first that the model and these rows have
    "regression": ("r2",),
}
_Order = NDArray[np.int64]
_NOTHING: Final = np.zeros(0)


@dataclass(frozen=True)
class Importance:
    """By how much the score falls, by column; on average over permutations, below 0 by chance."""

    columns: Mapping[str, float] = field(default_factory=dict)
    metric: str | None = None  # the score; of a loss, by how much it rises
    remark: str = ""  # why there is none, where that is not plain from the task


NO_IMPORTANCE: Final = Importance()


def measured(
    model: Model,
    rows: pd.DataFrame,
    truth: "pd.Series[Any] | None",
    columns: Sequence[str],
    *,
    limit_seconds: float = LIMIT_SECONDS,
) -> Importance:
    """Return the importance of `columns`; empty where there is no truth, no metric of the task, or no time.

    Equal inputs give equal figures: what is measured in time only decides whether there are any.

    Args:
        model: of one output.
        rows: held-out rows as the model takes them.
        truth: the labels of these rows.
        columns: those that the model uses.
        limit_seconds: how long all may take, as far as the first answers tell.
    """
    metrics = _METRICS.get(model.task, ())
    if truth is None or not metrics or not columns or not len(rows):
        return NO_IMPORTANCE
    try:
        return _measured(model, rows, np.asarray(truth), columns, metrics, limit_seconds)
    except RunError as error:  # shuffled rows are combinations that no data had, and a model may refuse them
        return Importance(remark=f"importance of columns is absent: the model does not answer shuffled rows: {error}")


def _measured(
    model: Model,
    rows: pd.DataFrame,
    truth: Values,
    columns: Sequence[str],
    metrics: Sequence[str],
    limit_seconds: float,
) -> Importance:
    taken, repeats = plan(len(rows), len(columns))
    chosen = np.sort(np.random.RandomState(0).permutation(len(rows))[:taken])
    sample, labels = rows.iloc[chosen].reset_index(drop=True), truth[chosen]
    found = _first_that_applies(model, sample, labels, metrics)
    if found is None:
        return NO_IMPORTANCE
    asked, base = found
    started = time.monotonic()
    asked.answers(sample)  # once more: the first answer may have loaded what the others do not wait for
    seconds = (time.monotonic() - started) * len(columns) * repeats
    if seconds > limit_seconds:
        count = len(columns) * repeats * taken
        text = f"{count} predictions would take {seconds:.0f} s, more than {limit_seconds:g}"
        return Importance(remark=f"importance of columns is absent: {text}")
    sign = -1 if BY_NAME[asked.metric].better == "higher" else 1
    changes: dict[str, list[float]] = {name: [] for name in columns}
    for names, table in _tables(sample, columns, permutations(taken, repeats)):
        answers = asked.answers(table)
        for number, name in enumerate(names):
            score = asked.score(answers[number * taken : (number + 1) * taken])
            changes[name].append(sign * (score - base))
    log.info("importance: %d columns by %s, %d rows, %d permutations", len(columns), asked.metric, taken, repeats)
    # the last digits depend on the order in which threads add up
    return Importance({name: round(float(np.mean(found)), 6) + 0.0 for name, found in changes.items()}, asked.metric)


def plan(rows: int, columns: int) -> tuple[int, int]:
    """Return how many rows are permuted, and how often each column."""
    taken = min(rows, ROWS)
    repeats = ANSWERS // (taken * columns)
    if repeats:
        return taken, min(repeats, REPEATS)
    return min(taken, max(MIN_ROWS, ANSWERS // columns)), 1


def permutations(rows: int, repeats: int, seed: int = 0) -> list[_Order]:
    """Return the orders that scikit-learn gives each column with `random_state=seed`, all columns the same."""
    source = np.random.RandomState(np.random.RandomState(seed).randint(np.iinfo(np.int32).max + 1))
    shuffled, order = np.arange(rows), np.arange(rows)
    found = []
    for _ in range(repeats):
        source.shuffle(shuffled)
        order = order[shuffled]  # each time what was shuffled before
        found.append(order)
    return found


@dataclass(frozen=True)
class _Asked:
    """A metric of a model on rows whose labels are known."""

    model: Model
    metric: str
    labels: Holdout  # without answers

    def answers(self, table: pd.DataFrame) -> Values:
        """Return what the metric needs of each row."""
        if self.metric != "log_loss":
            return self.model.predict(table)
        found = self.model.probabilities(table)
        return _NOTHING if found is None else found

    def score(self, answers: Values) -> float:
        """Return the metric of answers to the rows, in their order. Raises ValueError where it cannot be computed."""
        known = replace(self.labels, predicted=answers)
        if self.metric == "log_loss":
            known = replace(self.labels, probabilities=answers)
        return float(FORMULAS[self.metric].on_holdout(known))


def _first_that_applies(
    model: Model, sample: pd.DataFrame, labels: Values, metrics: Sequence[str]
) -> tuple[_Asked, float] | None:
    """Return the first metric that can be computed on these rows, with its value."""
    classes = _NOTHING if model.classes is None else model.classes
    if classes.dtype.kind in "biuf" and labels.dtype.kind in "biuf" and len(classes):
        labels = labels.astype(classes.dtype)
    for metric in metrics:
        asked = _Asked(model, metric, Holdout(labels, _NOTHING, classes, None, lambda: None))
        answers = asked.answers(sample)
        if len(answers) != len(sample) or answers.ndim != (2 if metric == "log_loss" else 1):
            continue
        try:
            value = asked.score(answers)
        except (ValueError, TypeError):
            continue
        if np.isfinite(value):
            return asked, value
    return None


def _tables(
    sample: pd.DataFrame, columns: Sequence[str], orders: Sequence[_Order]
) -> Iterator[tuple[list[str], pd.DataFrame]]:
    """Yield copies of the sample one below the other, each with one column permuted, and the names of these."""
    rows = len(sample)
    most = max(1, min(_ROWS_AT_ONCE // rows, _VALUES_AT_ONCE // (rows * sample.shape[1])))
    work = [(name, order) for name in columns for order in orders]
    for first in range(0, len(work), most):
        part = work[first : first + most]
        table = sample.iloc[np.tile(np.arange(rows), len(part))].reset_index(drop=True)
        for name in dict.fromkeys(name for name, _ in part):
            places = np.concatenate([order if name == own else np.arange(rows) for own, order in part])
            table[name] = sample[name].array.take(places)
        yield [name for name, _ in part], table
