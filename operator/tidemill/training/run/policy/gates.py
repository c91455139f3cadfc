"""May the candidate be registered? One verdict for every threshold of every gate.

A metric that is absent, NaN or infinite fails its gate. Without a champion a comparison passes. The champion's value is
the one re-scored on the candidate's holdout; its recorded value only stands in where it could not be re-scored. A
champion that may have learned held-out rows counts all the same, and the message says so: rows that it has learned make
it look better, so that helps no candidate through.

Whether higher or lower is better is known before the run: the gate says it, else the table of metrics by name, else it
is higher. Who computed a metric, the trainer or the user's code, only the pod knows, so nothing depends on it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tidemill.api.v1alpha1.training_run import GateVerdict, RunChampion
from tidemill.api.v1alpha1.training_template import AgainstChampion, Gate
from tidemill_contracts.model_metrics import LOWER_IS_BETTER
from tidemill_contracts.rounding import exact, rounded
from tidemill_contracts.training import TrainingResult

Metrics = Mapping[str, float | None]
_DIGITS = 6


@dataclass(frozen=True, slots=True)
class Scores:
    """What the gates compare."""

    candidate: Metrics
    champion: RunChampion | None
    champion_metrics: Metrics
    champion_note: str | None
    champion_overlap: str | None = None
    """Why the champion may have learned rows that it was scored on, which can only make it look better."""


def scores(result: TrainingResult, champion: RunChampion | None) -> Scores:
    """The scores of a run: the champion's are re-scored ones where there are any."""
    recorded: dict[str, float | None] = dict(champion.metrics) if champion else {}
    rescored = result.champion_metrics
    note = result.champion_note or (None if rescored is not None else "recorded metrics of the champion were used")
    return Scores(result.metrics, champion, recorded if rescored is None else rescored, note, result.champion_overlap)


def verdicts(gates: Sequence[Gate], scores: Scores) -> list[GateVerdict]:
    """The outcome of every threshold, in the order of spec; all must have passed."""
    return [verdict for gate in gates for verdict in _judge(gate, scores)]


def reservation(gates: Sequence[Gate], scores: Scores) -> str | None:
    """What has to be said of a candidate that passed: that the champion had an advantage in a comparison."""
    return scores.champion_overlap if any(gate.against_champion is not None for gate in gates) else None


def summary(found: Sequence[GateVerdict]) -> str:
    """Why the candidate was refused, as one sentence; empty when it was not."""
    return "; ".join(f"gate {v.metric}: {v.message}" for v in found if not v.passed)


def _judge(gate: Gate, scores: Scores) -> list[GateVerdict]:
    value = _finite(scores.candidate.get(gate.metric))
    if value is None:
        return [_missing(gate, scores.candidate)]
    found = []
    if gate.min is not None:
        found.append(_above(gate.metric, value, gate.min))
    if gate.max is not None:
        found.append(_below(gate.metric, value, gate.max))
    if gate.against_champion is not None:
        found.append(_against(gate.metric, value, gate.against_champion, scores))
    return found


def _missing(gate: Gate, candidate: Metrics) -> GateVerdict:
    usable = sorted(name for name, value in candidate.items() if _finite(value) is not None)
    what = "is NaN or infinite" if gate.metric in candidate else f"was not produced as {gate.metric!r}"
    text = f"the metric {what}; the run produced {', '.join(usable) or 'no usable metric'}"
    return GateVerdict(metric=gate.metric, passed=False, reason="MetricMissing", message=text)


def _above(metric: str, value: float, least: float) -> GateVerdict:
    passed = value >= least
    text = f"{rounded(value, _DIGITS, least)} is {'at least' if passed else 'below'} min {exact(least)}"
    reason = "AboveMin" if passed else "BelowMin"
    return GateVerdict(metric=metric, passed=passed, reason=reason, value=value, threshold=least, message=text)


def _below(metric: str, value: float, most: float) -> GateVerdict:
    passed = value <= most
    text = f"{rounded(value, _DIGITS, most)} is {'at most' if passed else 'above'} max {exact(most)}"
    reason = "BelowMax" if passed else "AboveMax"
    return GateVerdict(metric=metric, passed=passed, reason=reason, value=value, threshold=most, message=text)


def _against(metric: str, value: float, limit: AgainstChampion, scores: Scores) -> GateVerdict:
    bounded = limit.better is None and metric in LOWER_IS_BETTER
    if bounded and value < 0:
        return _out_of_range(metric, value, f"the candidate's {rounded(value, _DIGITS, 0.0)}")
    if scores.champion is None:
        text = "there is no champion to compare with"
        return GateVerdict(metric=metric, passed=True, reason="NoChampion", value=value, message=text)
    name, theirs = scores.champion.version, _finite(scores.champion_metrics.get(metric))
    if theirs is None:
        text = f"champion {name} has no usable value of this metric to compare with"
        return GateVerdict(metric=metric, passed=False, reason="MetricMissing", value=value, message=text)
    if bounded and theirs < 0:
        return _out_of_range(metric, value, f"{rounded(theirs, _DIGITS, 0.0)} of champion {name}")
    lower, min_delta = _lower_is_better(metric, limit), limit.min_delta
    delta = theirs - value if lower else value - theirs
    threshold = theirs - min_delta if lower else theirs + min_delta
    passed = delta >= min_delta or math.isclose(delta, min_delta, rel_tol=0, abs_tol=1e-12)
    text = (
        f"{rounded(value, _DIGITS, theirs)} against {rounded(theirs, _DIGITS, value)} of champion {name}, "
        f"{'lower' if lower else 'higher'} is better: delta {_signed(delta, None if passed else min_delta)} "
        f"is {'at least' if passed else 'below'} minDelta {exact(min_delta)}"
    )
    remarks = [remark for remark in (scores.champion_note, scores.champion_overlap) if remark]
    if remarks:
        text += f" ({'; '.join(remarks)})"
    reason = "BetterThanChampion" if passed else "WorseThanChampion"
    # Two numbers near the end of the range can differ by more than there is a number for; JSON has no infinity.
    shown = _finite(threshold)
    return GateVerdict(metric=metric, passed=passed, reason=reason, value=value, threshold=shown, message=text)


def _signed(delta: float, limit: float | None) -> str:
    text = rounded(delta, _DIGITS, limit)
    return text if text.startswith("-") else f"+{text}"


def _lower_is_better(metric: str, limit: AgainstChampion) -> bool:
    return metric in LOWER_IS_BETTER if limit.better is None else limit.better == "Lower"


def _out_of_range(metric: str, value: float, what: str) -> GateVerdict:
    """A negated metric below a name of the table: the comparison would pass the worse model."""
    text = (
        f"{what} is negative, which the built-in metric of that name cannot be: "
        "againstChampion.better must say whether Higher or Lower is better"
    )
    return GateVerdict(metric=metric, passed=False, reason="MetricOutOfRange", value=value, message=text)


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
