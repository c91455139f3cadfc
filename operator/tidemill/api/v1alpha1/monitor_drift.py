"""Drift in a ModelMonitor: tests, thresholds, accepted false alarms, and what status says of them."""

from typing import Annotated

from pydantic import Field

from tidemill.api.base import ATOMIC, Model, Ratio, Time, list_map, rule, rules
from tidemill.api.v1alpha1.monitor_baseline import BaselineStatus
from tidemill_contracts.drift_tests import AUTO, AUTO_NUMERIC, AUTO_OTHER, DRIFT_TESTS, FALLBACK, RequestedDriftTest

MAX_ALARMS = 100

TEST_HELP = " ".join(
    (
        "Drift test.",
        *(
            f"{t.name}: {t.title}, {t.range}{', for numeric columns' if t.columns == 'numeric' else ''}; "
            f"{t.threshold} is a common threshold."
            for t in DRIFT_TESTS
        ),
        f"For other columns {FALLBACK.name} with threshold {FALLBACK.threshold} replaces a test for numeric columns.",
        f"{AUTO}: {AUTO_NUMERIC.name} for numeric columns, {AUTO_OTHER.name} for all others and for columns with one "
        "or two values, each with its common threshold.",
    )
)

_NO_THRESHOLD_OF_AUTO = rules(
    rule(
        f"!has(self.threshold) || !has(self.test) || self.test != '{AUTO}'",
        f"threshold must not be set with test: {AUTO}, whose tests have different thresholds; "
        "leave threshold out or name a test",
    )
)


class FeatureTest(Model):
    """Drift test of one feature. It replaces the test in spec.drift.features for this feature."""

    model_config = {"json_schema_extra": _NO_THRESHOLD_OF_AUTO}

    name: Annotated[str, Field(min_length=1, max_length=256)]
    """Name of the feature. A column that the model does not use is no feature."""
    test: Annotated[RequestedDriftTest, Field(description=TEST_HELP)] = "PSI"
    threshold: Annotated[float | None, Field(gt=0)] = None
    """Score from which the feature counts as drifted, if the difference is also significant. If not set, it is the
    common threshold of the test."""


class DriftTestSpec(Model):
    """A drift test and its threshold."""

    model_config = {"json_schema_extra": _NO_THRESHOLD_OF_AUTO}

    test: Annotated[RequestedDriftTest, Field(description=TEST_HELP)] = "PSI"
    threshold: Annotated[float | None, Field(gt=0)] = None
    """Score from which a column counts as drifted, if the difference is also significant. If not set, it is the common
    threshold of the test."""


class Drift(Model):
    """Detection of drift: how far current data differs from the data that the served version was trained on."""

    model_config = {
        "json_schema_extra": rules(
            rule(
                "!has(self.outOf) || !has(self.consecutiveWindows) || self.outOf >= self.consecutiveWindows",
                "spec.drift: outOf must not be smaller than consecutiveWindows",
            )
        )
    }

    features: DriftTestSpec = DriftTestSpec()
    """Drift test for all features that have no entry in overrides."""
    overrides: Annotated[list[FeatureTest], Field(max_length=500, json_schema_extra=list_map("name"))] = []
    """Drift tests for individual features."""
    predictions: DriftTestSpec | None = None
    """Drift test for the predictions, and for the probability of the predicted class where the model returns it. A
    window in which one of the two drifted counts as drifted. If not set, drift of the predictions is not checked."""
    false_alarms_per_month: Annotated[float, Field(gt=0, le=30)] = 0.2
    """Accepted number of false alarms within 30 days: how often DriftDetected is expected to become True if all rows
    were drawn like the training data. Differences that are less significant than this allows are no drift, whatever
    their score is."""
    drifted_share: Ratio = 0.3
    """Share of features that must have drifted for a window to count as drifted. At least one feature must have
    drifted. Features are the columns that the model uses."""
    consecutive_windows: Annotated[int, Field(ge=1, le=24)] = 2
    """Number of drifted windows after which the condition DriftDetected becomes True: in a row, or among the last outOf
    windows."""
    out_of: Annotated[int | None, Field(ge=1, le=24)] = None
    """Number of last judged windows among which consecutiveWindows windows must have drifted. If not set, the drifted
    windows must follow one another."""


class FeatureScore(Model):
    """Drift score of one feature."""

    name: str
    """Name of the feature."""
    test: str
    """Drift test that was used."""
    score: float
    """Score of the test, rounded to three decimals."""
    threshold: float
    """Score from which the feature counts as drifted."""
    importance: float | None = None
    """Share of the feature in the permutation importance of all features, from 0 to 1: how much of the model's score on
    held-out rows depends on it. Not set where the training run did not measure it."""
    change: str | None = None
    """What changed, for example "mean 14.1 → 22.5; 38 % above training's maximum"."""


class DriftVerdict(Model):
    """What DriftDetected can show, and how often it became True."""

    smallest_shift: float | None = None
    """Smallest shift of the mean, in standard deviations, that makes one normally distributed feature drift in four of
    five windows like the last judged one. Set only if spec.drift.features has a test that can show one."""
    baseline: BaselineStatus | None = None
    """What the last judged window was compared with."""
    since: Time | None = None
    """Time since when alarms are counted."""
    alarms: Annotated[list[Time], Field(max_length=MAX_ALARMS, json_schema_extra=ATOMIC)] = []
    """Times at which DriftDetected became True within the last 30 days, oldest first, at most 100."""
