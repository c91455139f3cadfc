"""What the page shows, as documents: the JSON beside the page is one of these."""

from typing import Any, Literal

from tidemill_contracts.base import Document
from tidemill_contracts.fairness import FairnessReport
from tidemill_contracts.gaming import GamingReport
from tidemill_contracts.monitoring import ColumnScore, PerformanceReport, WindowReport


class Bin(Document):
    """One bin of a distribution, with the share of the present values that are in it."""

    label: str
    reference: float  # of what the window is compared with; 0 to 1
    current: float


class Distribution(Document):
    """One column of one window beside what it is compared with."""

    name: str
    kind: Literal["feature", "prediction", "probability"]
    bins: tuple[Bin, ...]
    reference_rows: int  # present values that `reference` is of
    rows: int  # present values that `current` is of
    reference_missing_ratio: float
    verdict: ColumnScore  # score, threshold and quality in that window
    scores: tuple[float | None, ...] = ()  # in the windows of the page, oldest first


class PerformancePoint(Document):
    """The watched metric of one window, by labels and without."""

    start: float  # seconds since the epoch
    end: float  # exclusive
    labels: int = 0
    due: bool = False  # whether its predictions are old enough to have their labels
    value: float | None = None  # None: too few labels, or not defined for them
    low: float | None = None  # of the 95 % interval
    high: float | None = None
    estimated: float | None = None  # None: not asked for, or not trusted
    estimated_low: float | None = None
    estimated_high: float | None = None


class Limits(Document):
    """The limits of the watched metric."""

    min: float | None = None
    max: float | None = None


class Objectives(Document):
    """`status.slo` of the ModelDeployment, as it was given to the command; the monitor itself does not know it."""

    deployment: str
    status: dict[str, Any]


class PageContent(Document):
    """One version of one monitor at one time."""

    schema_version: Literal[1] = 1
    namespace: str
    monitor: str
    deployment: str
    now: float
    version: str | None = None  # None: nothing was recorded yet
    digest: str | None = None
    rows: int = 0
    versions: tuple[tuple[str, str], ...] = ()  # (name, digest) of those that the monitor knows, at most 50
    windows: tuple[WindowReport, ...] = ()  # newest last, without their columns
    shown: WindowReport | None = None  # the window of the distributions: the newest judged one, or the newest
    distributions: tuple[Distribution, ...] = ()  # outputs of the model first, then features, worst first
    performance: PerformanceReport | None = None
    limits: Limits = Limits()
    points: tuple[PerformancePoint, ...] = ()  # oldest first
    objectives: Objectives | None = None
    fairness: FairnessReport | None = None  # None: not asked for
    gaming: GamingReport | None = None  # of all versions together; None: not asked for
