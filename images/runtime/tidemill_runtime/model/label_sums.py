"""What one label adds to the sums that metrics are computed from: a confusion cell and losses, or moments of the error.

The monitor adds up labels that arrive, the trainer those of the holdout. Sums add up in any order; their names are
stored, so a name never changes its meaning.
"""

import json
import math
from typing import Final

from tidemill_contracts.calibration import RIGHT
from tidemill_runtime.model.metric_formulas import GAP_COUNT, GAPS, SMALLEST_LABEL, gap_bin

CELL: Final = "confusion "
CLASS_LENGTH: Final = 100
"""Characters of a class in the name of a cell."""
MOMENTS: Final = "moments_count"
"""Labels whose squared losses were added up, too: not those of sums kept before that, nor the largest."""
GAP_SQUARES: Final = "gap_squares"
LARGEST_NUMBER: Final = 1e100
"""Of a label, or of a prediction that is compared with one: sums of 10**15 squares are finite."""
_NAMES: Final = frozenset(
    {RIGHT, MOMENTS, "count", "absolute_error", "squared_error", "label", "label_squared", "squared_error_squares"}
    | {"squared_error_label", "squared_error_label_squared", "label_cubed", "label_fourth", "zero_label"}
    | {"percentage_error", "percentage_error_squares", "percentage_error_count"}
    | {"log_loss", "log_loss_squares", "log_loss_count", "brier", "brier_squares", "brier_count"}
)
_LARGEST: Final = 1e70  # of an error or label whose fourth power is added up: the sum stays finite
_EPSILON: Final = 2.220446049250313e-16  # log_loss clips probabilities here, as scikit-learn does for 64-bit floats


def of_class(true: str, predicted: str, probability: float | None, confidence: float | None = None) -> dict[str, float]:
    """Return the sums of one label.

    `probability`: of the true class of two; `confidence`: of the predicted class of any number. None: there is none.
    """
    sums = {cell_name(true, predicted): 1.0}
    if confidence is not None:
        gap = (true == predicted) - confidence
        sums |= {GAPS[gap_bin(confidence)]: gap, GAP_SQUARES: gap * gap, GAP_COUNT: 1.0}
    if probability is None:
        return sums
    sums["log_loss"] = -math.log(min(max(probability, _EPSILON), 1.0))
    sums["brier"] = (1.0 - probability) ** 2
    sums |= {"log_loss_count": 1.0, "brier_count": 1.0}  # sums kept before a metric was added lack its count
    return sums | {"log_loss_squares": sums["log_loss"] ** 2, "brier_squares": sums["brier"] ** 2, MOMENTS: 1.0}


def of_number(label: float, prediction: float, mean: float) -> dict[str, float]:
    """Return the sums of one label, both numbers of at most LARGEST_NUMBER; `mean`: of the predictions on the holdout.

    Labels are added up as distances from the mean, which keeps sums of squares exact when values are large and alike.
    """
    centred = label - mean if abs(mean) <= LARGEST_NUMBER else label
    error = label - prediction
    squares = error * error, centred * centred
    sums = {
        "count": 1.0,
        "absolute_error": abs(error),
        "squared_error": squares[0],
        "label": centred,
        "label_squared": squares[1],
    }
    if max(abs(error), abs(centred)) <= _LARGEST:
        sums |= {
            MOMENTS: 1.0,
            "squared_error_squares": squares[0] ** 2,
            "squared_error_label": squares[0] * centred,
            "squared_error_label_squared": squares[0] * squares[1],
            "label_cubed": squares[1] * centred,
            "label_fourth": squares[1] ** 2,
        }
    if abs(label) < SMALLEST_LABEL:
        return {**sums, "zero_label": 1.0}
    share = min(abs(error / label), _LARGEST)
    return {
        **sums,
        "percentage_error": share,
        "percentage_error_squares": share * share,
        "percentage_error_count": 1.0,
    }


def cell_name(true: str, predicted: str) -> str:
    """Return the name of a confusion cell; long class names are cut."""
    return CELL + json.dumps([true[:CLASS_LENGTH], predicted[:CLASS_LENGTH]], ensure_ascii=False)


def is_name(name: str) -> bool:
    """Return whether a sum may have this name."""
    if not name.startswith(CELL):
        return name in _NAMES
    try:
        parsed = json.loads(name.removeprefix(CELL))
    except (ValueError, RecursionError):
        return False
    return isinstance(parsed, list) and len(parsed) == 2 and all(isinstance(text, str) for text in parsed)


def cell(name: str) -> tuple[str, str]:
    """Return (label, prediction) of a confusion cell by its name."""
    true, predicted = json.loads(name.removeprefix(CELL))
    return true, predicted
