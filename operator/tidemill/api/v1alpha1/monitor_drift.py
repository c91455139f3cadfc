"""What a ModelMonitor says about drift: tests, thresholds, and when a window counts as drifted."""

from typing import Annotated

from pydantic import Field

from tidemill.api.base import Model, Ratio, list_map
from tidemill_contracts.drift_tests import DRIFT_TESTS, FALLBACK, DriftTestName

TEST_HELP = " ".join(
    (
        "Drift test.",
        *(
            f"{t.name}: {t.title}, {t.range}{', for numeric columns' if t.columns == 'numeric' else ''}; "
            f"{t.threshold} is a common threshold."
            for t in DRIFT_TESTS
        ),
        f"For other columns {FALLBACK.name} with threshold {FALLBACK.threshold} replaces a test for numeric columns.",
    )
)


class FeatureTest(Model):
    """Drift test of one feature. It replaces the test in spec.drift.features for this feature."""

    name: Annotated[str, Field(min_length=1, max_length=256)]
    """Name of the feature. A column that the model does not use is no feature."""
    test: Annotated[DriftTestName, Field(description=TEST_HELP)] = "PSI"
    threshold: Annotated[float, Field(gt=0)]
    """Score from which the feature counts as drifted. It depends on the test."""


class DriftTestSpec(Model):
    """A drift test and its threshold."""

    test: Annotated[DriftTestName, Field(description=TEST_HELP)] = "PSI"
    threshold: Annotated[float, Field(gt=0)] = 0.2
    """Score from which a column counts as drifted. It depends on the test."""


class Drift(Model):
    """Detection of drift: how far current data differs from the data that the served version was trained on."""

    features: DriftTestSpec = DriftTestSpec()
    """Drift test for all features that have no entry in overrides."""
    overrides: Annotated[list[FeatureTest], Field(max_length=500, json_schema_extra=list_map("name"))] = []
    """Drift tests for individual features."""
    predictions: DriftTestSpec | None = None
    """Drift test for the predictions. A window in which the predictions drifted counts as drifted. If not set, drift of
    the predictions is not checked."""
    drifted_share: Ratio = 0.3
    """Share of features that must have drifted for a window to count as drifted. At least one feature must have
    drifted. Features are the columns that the model uses."""
    consecutive_windows: Annotated[int, Field(ge=1, le=24)] = 2
    """Number of consecutive drifted windows after which the condition DriftDetected becomes True."""
