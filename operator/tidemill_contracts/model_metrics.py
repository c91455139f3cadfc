"""The built-in metrics of models: one row each, from which everything that names a metric derives.

What derives: the metrics that a ModelMonitor takes, the rule of admission on `spec.target`, the descriptions of API
fields, the direction of gates, the sentences of errors, the table in docs/training-code.md. The formulas, on held-out
rows and from joined labels, are in `tidemill_runtime.model.metric_formulas`, by the same names.

A gate can request every row; a gate may also name a metric that the user's `evaluate` returns, and `evaluate`
wins where both have a name. Which direction is better is never read from a run: the gate says it, else this table does
for the names that it has, whoever computed the value, and for any other name higher is better.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

MetricTask = Literal["classification", "regression"]


@dataclass(frozen=True, slots=True)
class ModelMetric:
    """What everybody needs to know of a metric; texts are for the documentation."""

    name: str
    task: MetricTask
    better: Literal["higher", "lower"]
    range: str
    formula: str
    monitored: bool = True
    """Whether a monitor computes it from the labels that arrive."""
    needs: str = ""
    """What it needs beside predictions and labels; empty: nothing."""
    reserved: bool = False
    """Whether admission refuses a gate on it where `spec.target` is absent. Rows of 0.1 only: with any other, stored
    pipelines whose own `evaluate` returns that name would be refused."""


METRICS: Final = (
    ModelMetric(
        "accuracy",
        task="classification",
        better="higher",
        range="0 to 1",
        formula="share of rows that are right",
        reserved=True,
    ),
    ModelMetric(
        "balanced_accuracy",
        task="classification",
        better="higher",
        range="0 to 1",
        formula="mean recall of the classes that occur as label",
        reserved=True,
    ),
    ModelMetric(
        "f1",
        task="classification",
        better="higher",
        range="0 to 1",
        formula="2 tp / (2 tp + fp + fn) of the positive class, else the macro average; 0 where it is 0 / 0",
        reserved=True,
    ),
    ModelMetric(
        "precision",
        task="classification",
        better="higher",
        range="0 to 1",
        formula="tp / (tp + fp) of the positive class, else the macro average; 0 of a class that is never predicted",
    ),
    ModelMetric(
        "recall",
        task="classification",
        better="higher",
        range="0 to 1",
        formula="tp / (tp + fn) of the positive class, else the macro average; 0 of a class that is no label",
    ),
    ModelMetric(
        "roc_auc",
        task="classification",
        better="higher",
        range="0 to 1",
        formula="area under the ROC curve; of more than two classes one against the rest, macro average; in a "
        "monitor of two classes only",
        needs="probabilities, or decision values of two classes; every class among the labels",
        reserved=True,
    ),
    ModelMetric(
        "average_precision",
        task="classification",
        better="higher",
        range="0 to 1",
        formula="area under the precision-recall curve, a step function; of more than two classes one against the "
        "rest, macro average",
        monitored=False,
        needs="probabilities, or decision values of two classes; every class among the labels",
    ),
    ModelMetric(
        "log_loss",
        task="classification",
        better="lower",
        range="0 or more",
        formula="mean of −ln p, p the probability of the true class; in a monitor of two classes only",
        needs="probabilities",
        reserved=True,
    ),
    ModelMetric(
        "brier",
        task="classification",
        better="lower",
        range="0 to 1, of more than two classes 0 to 2",
        formula="mean of (1 − p)², p the probability of the true class; of more than two classes plus the squared "
        "probabilities of the others; in a monitor of two classes only",
        needs="probabilities",
    ),
    ModelMetric(
        "calibration_error",
        task="classification",
        better="lower",
        range="0 to 1",
        formula="sum over 15 bins of equal width of the predicted class's probability: share of the rows × |share that "
        "is right − mean probability|",
        needs="probabilities",
    ),
    ModelMetric(
        "rmse",
        task="regression",
        better="lower",
        range="0 or more",
        formula="square root of the mean squared error",
        reserved=True,
    ),
    ModelMetric(
        "mae", task="regression", better="lower", range="0 or more", formula="mean absolute error", reserved=True
    ),
    ModelMetric(
        "median_absolute_error",
        task="regression",
        better="lower",
        range="0 or more",
        formula="median absolute error",
        monitored=False,
    ),
    ModelMetric(
        "mape",
        task="regression",
        better="lower",
        range="0 or more",
        formula="mean of |error / label|, as a fraction: 0.1 is 10 %",
        needs="labels that are not 0",
    ),
    ModelMetric(
        "r2",
        task="regression",
        better="higher",
        range="at most 1",
        formula="1 − squared errors / squared deviations of the labels from their mean",
        needs="two labels or more; in a monitor labels that differ",
        reserved=True,
    ),
)

BY_NAME: Final = {metric.name: metric for metric in METRICS}

LOWER_IS_BETTER: Final = frozenset(m.name for m in METRICS if m.better == "lower")
"""The metrics of which a smaller value is better, none of which can be negative; of any other name a larger one is."""

RESERVED: Final = tuple(m.name for m in METRICS if m.reserved)


def names(task: MetricTask, *, monitored: bool = False) -> tuple[str, ...]:
    """Return the metrics of a task in the order of the table; `monitored`: only those that a monitor computes."""
    return tuple(m.name for m in METRICS if m.task == task and (m.monitored or not monitored))


def listed(task: MetricTask, last: Literal["and", "or"], *, monitored: bool = False) -> str:
    """Return the same as part of a sentence: "rmse, mae and r2"."""
    return _joined(names(task, monitored=monitored), last)


def lower_is_better(last: Literal["and", "or"]) -> str:
    """Return the metrics of which a smaller value is better, in the order of the table, as part of a sentence."""
    return _joined(tuple(m.name for m in METRICS if m.better == "lower"), last)


def _joined(found: tuple[str, ...], last: str) -> str:
    return f"{', '.join(found[:-1])} {last} {found[-1]}"


if TYPE_CHECKING:
    MonitoredMetric = str
else:
    MonitoredMetric = Literal[(*names("classification", monitored=True), *names("regression", monitored=True))]
"""The name of a metric that a monitor computes; a validator and a schema read the allowed names from it."""
