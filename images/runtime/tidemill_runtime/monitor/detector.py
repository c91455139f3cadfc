"""Whether a metric is beyond its limit, tested label by label for as long as a version serves. Pure.

A detector holds one figure for each alternative and each limit. It is given sums of labels, each label once, and the
time that they stand for, and says when the limit is proven to be exceeded. How often it errs is stated: the mean time
between false alarms is at least the wanted one, whenever and in whatever portions it is given labels
(`tidemill_contracts.evidence`, docs/monitoring-statistics.md).
"""

import json
import math
from dataclasses import asdict, dataclass, replace
from typing import Any, Final, Literal

from tidemill_contracts import evidence
from tidemill_contracts.evidence import NOTHING, POINTS
from tidemill_contracts.monitoring import MAX_SHARE_UNRECOGNIZED, PerformanceConfig
from tidemill_contracts.reference import CategoricalProfile
from tidemill_runtime.model import auc
from tidemill_runtime.model.auc import ByBin
from tidemill_runtime.model.metric_formulas import Joined
from tidemill_runtime.monitor import intervals, performance
from tidemill_runtime.monitor.binning import PREDICTION, Layout
from tidemill_runtime.monitor.performance import Outputs, Sums

Side = Literal["min", "max"]
Growth = tuple[float, ...]
MONTH: Final = 30 * 86_400.0
ASYMPTOTIC_LABELS: Final = 100
"""So few labels at least make one estimate that counts as normally distributed."""
LABELS_OF_A_CLASS: Final = 30
"""For roc_auc, labels of each class that make one estimate: its error comes from those of the smaller one."""
_LEAST: Final = 1e-9  # a limit at or beyond the end of a metric's range is tested as one that is so far within it
_CERTAIN: Final = 1_000.0  # the logarithm of an e-value that is above any threshold
_RULED_OUT: Final = 1e6  # of one that rules an alternative out
_LIMITS: Final = (1e-70, 1e70)  # of losses: squares of what is measured in them are finite
_MOST_LABELS: Final = 1e12  # as a forecast
_LARGEST_LOSS: Final = {"brier": 1.0, "log_loss": 36.05}  # log_loss clips probabilities at 2.2e-16
_SHARES_OF_ROWS: Final = ("f1", "precision", "recall")


@dataclass(frozen=True)
class State:
    """A detector after its last look; bounded. Times are seconds since the epoch."""

    target: str
    """The metric and the limits that it is about."""
    low: tuple[float, ...] = NOTHING
    high: tuple[float, ...] = NOTHING
    """Logarithms of M for `min` and for `max`."""
    waited: float = 0.0
    """Seconds of the windows that wait to be looked at."""
    newest: float = 0.0
    """End of the newest window that was taken."""
    restarted: float = 0.0
    """End of the newest window when M was last 0."""
    side: Side | None = None
    """The limit that is exceeded; None: none is proven to be."""
    since: float = 0.0
    """Start of the windows that were the first to prove it."""
    proof: tuple[float, float] | None = None
    """From when to when the windows are of that prove it, the newest such: what is found is proven again and again."""

    def to_json(self) -> str:
        """Return the state as it is stored."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "State":
        """Read a stored state."""
        found: dict[str, Any] = json.loads(text)
        lists = {name: tuple(found[name]) for name in ("low", "high")}
        return cls(**{**found, **lists, "proof": tuple(found["proof"]) if found["proof"] else None})


def target(config: PerformanceConfig) -> str:
    """Return what a detector is about: with another one, it has to begin anew."""
    keys = ["authenticated"] if config.authenticated else []
    return json.dumps([config.metric, config.min, config.max, *keys])


def threshold(config: PerformanceConfig) -> float:
    """Return the logarithm that M must reach: of the wanted seconds between false alarms, for each limit.

    Infinite without a limit.
    """
    number = len(limits(config))
    return math.log(MONTH / config.false_alarms_per_month * number) if number else math.inf


def limits(config: PerformanceConfig) -> list[tuple[Side, float]]:
    """Return the limits that are set."""
    found: list[tuple[Side, float | None]] = [("min", config.min), ("max", config.max)]
    return [(side, limit) for side, limit in found if limit is not None]


def is_asymptotic(config: PerformanceConfig, side: Side) -> bool:
    """Whether the stated time holds for large samples only."""
    name = config.metric
    if name in ("accuracy", *_LARGEST_LOSS):
        return False
    return side == "min" or name not in intervals.LOSSES


def labels_of_a_look(config: PerformanceConfig) -> int:
    """Return how many labels are looked at together at least."""
    if any(is_asymptotic(config, side) for side, _ in limits(config)):
        return max(config.min_labels, ASYMPTOTIC_LABELS)
    return 1


def is_enough(config: PerformanceConfig, sums: Sums, labels: float) -> bool:
    """Return whether labels are looked at now, or wait for more; `labels`: how many `sums` are of."""
    if labels < labels_of_a_look(config):
        return False
    return config.metric != auc.METRIC or ByBin.of(sums).fewest >= LABELS_OF_A_CLASS


def looked(state: State, config: PerformanceConfig, sums: Sums, of: Outputs) -> tuple[State, Side | None]:
    """Return the state after a look at labels that were not looked at before, and the limit that this proves exceeded.

    The time is that which `state.waited` says. Labels from which the metric cannot be computed, and those among which
    too many are not recognized, are passed over.
    """
    useless = performance.unrecognized(sums, of.profile, of.classes).labels
    is_some_classes = useless > MAX_SHARE_UNRECOGNIZED * (useless + labels_in(sums, of))
    found: dict[Side, Growth] = {}
    for side, limit in limits(config):
        if is_some_classes:
            break
        grown = growth(config.metric, side, limit, sums, of)
        if grown is not None:
            found[side] = grown
    low, high = (
        evidence.detected(old, found[side], state.waited) if side in found else old
        for side, old in (("min", state.low), ("max", state.high))
    )
    after = replace(state, low=low, high=high, waited=0.0)
    reached = [side for side, logs in (("min", low), ("max", high)) if evidence.log_mean(logs) >= threshold(config)]
    if not reached:
        return after, None
    return replace(after, low=NOTHING, high=NOTHING, restarted=state.newest), "min" if "min" in reached else "max"


def growth(name: str, side: Side, limit: float, sums: Sums, of: Outputs) -> Growth | None:
    """Return logarithms of e-values, one for each alternative, against "the metric keeps its limit".

    None where these sums say nothing about it.
    """
    found = None if of.profile is None else _growth(name, side, limit, sums, of)
    if found is None or any(map(math.isnan, found)):
        return None
    return tuple(min(max(grown, -_RULED_OUT), _CERTAIN) for grown in found)


def _growth(name: str, side: Side, limit: float, sums: Sums, of: Outputs) -> Growth | None:
    if name in intervals.LOSSES:
        return _of_losses(name, side, limit, sums, of)
    assert of.profile is not None  # noqa: S101  the caller checked
    found = performance.joined(sums, of.profile, of.classes)
    if name == "accuracy":
        return _of_accuracy(found, side, limit)
    if name in _SHARES_OF_ROWS and found.positive is not None:
        return _of_rows(name, found, found.positive, side, limit)
    return _of_estimate(name, side, limit, sums, of)


def _of_accuracy(found: Joined, side: Side, limit: float) -> Growth | None:
    right = sum(rows for (label, prediction), rows in found.cells.items() if label == prediction)
    wrong = sum(found.cells.values()) - right
    share = _within(limit)
    odds = math.log(share / (1 - share))
    if not right + wrong:
        return None
    return evidence.share_growth(-odds, wrong, right) if side == "min" else evidence.share_growth(odds, right, wrong)


def _of_rows(name: str, found: Joined, positive: str, side: Side, limit: float) -> Growth | None:
    """gain * tp / whole < limit is the same as a mean of gain * tp - limit * whole, row by row, below 0."""
    share, gain = _within(limit), 2.0 if name == "f1" else 1.0
    values: list[tuple[float, float]] = []
    for (label, prediction), rows in found.cells.items():
        part = gain * (label == prediction == positive)
        whole = (name != "precision") * (label == positive) + (name != "recall") * (prediction == positive)
        values.append((part - share * whole, rows))
    largest = gain - share * (2 if name == "f1" else 1)
    sign, most = (-1.0, largest) if side == "min" else (1.0, share)
    return evidence.bet_growth([(sign * value / most, rows) for value, rows in values]) if values else None


def _of_losses(name: str, side: Side, limit: float, sums: Sums, of: Outputs) -> Growth | None:
    found = intervals.loss(name, sums)
    if found is None:
        return None
    total, squares, count = found
    if limit > _LIMITS[1]:
        return None
    mean = (abs(limit) if name == "rmse" else 1.0) * limit
    if side == "max":
        if limit < _LIMITS[0]:
            return (_CERTAIN,) * POINTS if total > 0 or limit < 0 else None
        scale, sign = mean, 1.0
    elif name in _LARGEST_LOSS:
        scale, sign = max(_LARGEST_LOSS[name] - mean, _LEAST), -1.0
    else:
        return _of_estimate(name, side, limit, sums, of)
    gains = sign * (total - count * mean) / scale
    squared = (squares - 2 * mean * total + count * mean**2) / scale**2
    return evidence.sum_growth(gains, max(squared, 0.0))


def _of_estimate(name: str, side: Side, limit: float, sums: Sums, of: Outputs) -> Growth | None:
    value, _ = performance.metric(name, sums, of.profile, of.classes)
    if value is None:
        return None
    error = intervals.standard_error(name, sums, of, value)
    labels = labels_in(sums, of)
    if error is None or not labels:
        return None
    unit = max(abs(limit), _LIMITS[0]) if name in intervals.LOSSES else 1.0
    distance = limit - value if side == "min" else value - intervals.bias(name, sums) - limit
    return evidence.normal_growth(distance, error or unit / (2 * math.sqrt(labels)), unit)


def labels_in(sums: Sums, of: Outputs) -> float:
    """Return how many labels a metric can be computed from."""
    if not isinstance(of.profile, CategoricalProfile):
        return sums.get("count", 0.0)
    return sum(performance.joined(sums, of.profile, of.classes).cells.values())


def outputs(layout: Layout) -> Outputs:
    """Return what is known of the predictions of a version."""
    column = layout.columns.get(PREDICTION)
    return Outputs(column.profile if column else None, layout.profile.classes)


def undecided(config: PerformanceConfig, state: State, sums: Sums, of: Outputs, value: float) -> int | None:
    """Return about how many more labels like these would decide; None where that is decided, or cannot be said.

    A value beyond a limit is decided once the detector has proven it, one within the limits once its interval is
    within them, too.
    """
    beyond = [(s, limit) for s, limit in limits(config) if (value < limit if s == "min" else value > limit)]
    if not beyond:
        return _until_within(config, sums, of, value)
    side, limit = beyond[0]
    grown, labels = growth(config.metric, side, limit, sums, of), labels_in(sums, of)
    if grown is None:
        return None
    wanted = threshold(config) + math.log(POINTS)  # of one alternative, as if the others had nothing
    logarithms = state.low if side == "min" else state.high
    found = [(wanted - max(old, 0.0)) * labels / add for old, add in zip(logarithms, grown, strict=True) if add > 0]
    return _whole(min(found, default=math.inf))


def _until_within(config: PerformanceConfig, sums: Sums, of: Outputs, value: float) -> int | None:
    """An interval is as much narrower as the root of the number of labels is greater."""
    error = intervals.standard_error(config.metric, sums, of, value)
    between = intervals.interval(config.metric, sums, of, value)
    if error is None or between is None or all(_is_kept(side, limit, between) for side, limit in limits(config)):
        return None
    distance = min(abs(value - limit) for _, limit in limits(config))
    labels = labels_in(sums, of)
    error = error or (between[1] - between[0]) / (2 * intervals.Z)
    ratio = intervals.Z * error / distance if distance else math.inf
    return _whole(labels * (ratio * ratio - 1))


def _is_kept(side: Side, limit: float, between: tuple[float, float]) -> bool:
    return between[0] >= limit if side == "min" else between[1] <= limit


def _whole(labels: float) -> int | None:
    return math.ceil(max(labels, 1.0)) if labels < _MOST_LABELS else None  # also None where it is no number


def has_recovered(config: PerformanceConfig, side: Side, sums: Sums, of: Outputs) -> bool:
    """Whether labels since the proof show the metric within the limit by more than its standard error."""
    if labels_in(sums, of) < config.min_labels:
        return False
    value, _ = performance.metric(config.metric, sums, of.profile, of.classes)
    error = None if value is None else intervals.standard_error(config.metric, sums, of, value)
    if value is None or error is None:
        return False
    limit = config.min if side == "min" else config.max
    if limit is None:
        return True
    return value - error > limit if side == "min" else value + error < limit


def _within(limit: float) -> float:
    return min(max(limit, _LEAST), 1 - _LEAST)
