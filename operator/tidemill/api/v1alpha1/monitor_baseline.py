"""What a ModelMonitor compares current data with, and what status says of it."""

from typing import Annotated

from pydantic import Field

from tidemill.api.base import Model, Time, rule, rules
from tidemill_contracts.baselines import MOST_WINDOWS, BaselineType, Period


class BaselineWindow(Model):
    """A span of time whose rows are the baseline."""

    model_config = {
        "json_schema_extra": rules(
            rule("self.start < self.end", "spec.baseline.window: start must be before end"),
        )
    }

    start: Time
    """Start of the span. It counts from the first window that starts at this time or later."""
    end: Time
    """End of the span. It counts up to the last window that ends at this time or earlier."""


class Season(Model):
    """Which earlier windows are the baseline: those at the same time of the day or week."""

    period: Period = "Week"
    """Day: windows at the same time of earlier days. Week: windows at the same time of the same day of earlier weeks.
    Must be a multiple of spec.window.seconds."""
    count: Annotated[int, Field(ge=1, le=12)] = 4
    """Number of earlier periods whose windows are added up."""


class Baseline(Model):
    """What current data is compared with for drift. Data quality is always compared with the training data."""

    model_config = {
        "json_schema_extra": rules(
            rule(
                "(self.type == 'Window') == has(self.window)",
                "spec.baseline: window must be set with type: Window, and with no other type",
            ),
            rule(
                "(self.type == 'Seasonal') == has(self.seasonal)",
                "spec.baseline: seasonal must be set with type: Seasonal, and with no other type",
            ),
        )
    }

    type: BaselineType
    """Training: the training data, and for predictions those on the holdout. Window: the rows of a span of time.
    Previous: the judged window that came as many windows before as an alarm looks at (consecutiveWindows or outOf of
    spec.drift), so that a sudden change lasts long enough for an alarm. Seasonal: windows at the same time of earlier
    days or weeks. All but Training are rows of the version that is served; while it has fewer than
    spec.window.minRows of them, its training data is the baseline."""
    window: BaselineWindow | None = None
    """The span of time. Used with type: Window."""
    seasonal: Season | None = None
    """Which earlier windows. Used with type: Seasonal."""


SPAN_RULES = (
    rule("!has(self.baseline) || has(self.drift)", "spec.baseline requires spec.drift"),
    rule(
        "!has(self.baseline) || !has(self.baseline.window) || "
        # numbers, not durations: the API server refuses the CRD for what making a duration of a text may cost
        "((self.baseline.window.end - self.baseline.window.start).getSeconds() >= self.window.seconds && "
        "(self.baseline.window.end - self.baseline.window.start).getSeconds() <= "
        f"{MOST_WINDOWS} * self.window.seconds)",
        f"spec.baseline.window must be at least spec.window.seconds and at most {MOST_WINDOWS} windows long",
    ),
    rule(
        "!has(self.baseline) || !has(self.baseline.seasonal) || "
        "((self.baseline.seasonal.period == 'Day' ? 86400 : 604800) % self.window.seconds == 0 && "
        "(self.baseline.seasonal.period == 'Day' ? 86400 : 604800) * self.baseline.seasonal.count <= "
        f"{MOST_WINDOWS} * self.window.seconds)",
        "spec.baseline.seasonal: period (Day: 86400 s, Week: 604800 s) must be a multiple of spec.window.seconds, and "
        f"count periods must have at most {MOST_WINDOWS} windows",
    ),
)
"""Rules of the whole spec: baselines are counted in windows."""


class BaselineStatus(Model):
    """What the last judged window was compared with."""

    type: BaselineType
    """Type of the baseline. It is Training, whatever spec.baseline says, while the version has too few rows there."""
    version: str
    """Name of the served ModelVersion, whose training data or rows are the baseline."""
    previous_version: str | None = None
    """Name of the ModelVersion that was compared with before this one was promoted."""
    since: Time | None = None
    """Time since when this type of this version has been the baseline."""
    rows: int | None = None
    """Number of rows of the baseline. Not set for the training data."""
    start: Time | None = None
    """Start of its oldest window. Not set for the training data."""
    end: Time | None = None
    """End of its newest window. Not set for the training data."""
    message: Annotated[str | None, Field(max_length=1024)] = None
    """Why the baseline is not the one of spec.baseline. Not set while it is."""
