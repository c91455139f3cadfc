"""How a model treats groups of rows: what the operator asks a monitor for, and what the monitor answers."""

from typing import Final, Literal

from tidemill_contracts.base import Document

FairnessMetric = Literal[
    "SelectionRateRatio", "SelectionRateDifference", "FalsePositiveRateDifference", "FalseNegativeRateDifference"
]
"""A group compared with the privileged one: the ratio, or group minus privileged."""
RATIO: Final[FairnessMetric] = "SelectionRateRatio"
OF_LABELS: Final[tuple[FairnessMetric, ...]] = ("FalsePositiveRateDifference", "FalseNegativeRateDifference")
"""Those that labels are needed for."""
MAX_GROUP_COLUMNS: Final = 4
MAX_VALUES: Final = 10
"""Groups of one column that have a name."""
MAX_GROUPS: Final = MAX_GROUP_COLUMNS * (MAX_VALUES + 2)
"""In all, with (other) and (missing) of each column."""
GROUP_LENGTH: Final = 64
"""Characters of the name of a group."""


class GroupColumnConfig(Document):
    """A column whose values are groups."""

    column: str
    privileged: str  # the group that the others are compared with
    values: tuple[str, ...] = ()  # the other groups; empty: the first MAX_VALUES - 1 that arrive


class FairnessLimit(Document):
    """What is acceptable of one figure: a ratio has `min`, differences have `max`, on either side of 0."""

    metric: FairnessMetric
    min: float | None = None
    max: float | None = None


class FairnessConfig(Document):
    """The groups, and what may differ between them by how much."""

    groups: tuple[GroupColumnConfig, ...]
    limits: tuple[FairnessLimit, ...] = ()
    min_rows: int = 200  # that each of two compared rates must be of
    positive: str | None = None  # the predicted class that counts as selected; None: the greater one of two
    false_alarms_per_month: float = 0.2  # of 30 days, at most


class GapReport(Document):
    """One group compared with the privileged one."""

    metric: FairnessMetric
    value: float | None = None  # None: not defined
    low: float | None = None  # of the 95 % interval
    high: float | None = None
    rows: int = 0  # that the rate of the group is of
    privileged_rows: int = 0
    judged: bool = False  # there is a limit, and both have enough rows
    exceeded: bool = False  # the limit is excluded


class GroupReport(Document):
    """The rates of one group. `rows`, `negatives` and `positives` are what the rates are of."""

    column: str
    group: str  # a value of the column, "(other)" or "(missing)"
    privileged: bool = False
    rows: int = 0
    selection_rate: float | None = None
    negatives: int = 0  # labels of another class than the positive one
    false_positive_rate: float | None = None
    positives: int = 0
    false_negative_rate: float | None = None
    gaps: tuple[GapReport, ...] = ()  # none of the privileged group


class FairnessReport(Document):
    """How groups of rows were treated in the newest windows that have enough of each, or in all that are kept."""

    positive: str | None = None  # the class that counts as selected; None: not known, see note
    groups: tuple[GroupReport, ...] = ()  # at most MAX_GROUPS
    start: float | None = None  # of the windows of the selection rates; None: none has ended
    end: float | None = None  # exclusive
    labels_start: float | None = None  # of the windows of the error rates
    labels_end: float | None = None
    level: float | None = None  # of one comparison, one-sided
    note: str = ""
