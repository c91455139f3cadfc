"""The configuration that the operator gives a monitor, and the report that it reads back.

The monitor computes; the operator decides. So the report carries scores, thresholds and sample sizes
of closed windows, and no action.
"""

from collections.abc import Mapping
from typing import Final, Literal

from pydantic import Field

from tidemill_contracts.base import Document
from tidemill_contracts.baselines import BaselineConfig, BaselineReport
from tidemill_contracts.drift_tests import DriftTestName, RequestedDriftTest
from tidemill_contracts.fairness import FairnessConfig, FairnessReport
from tidemill_contracts.gaming import GamingConfig, GamingReport
from tidemill_contracts.notices import WebhookConfig, WebhookReport
from tidemill_contracts.payloads import PayloadConfig, PayloadReport
from tidemill_contracts.retention import STORAGE_BYTES


class TestConfig(Document):
    """A drift test with the value from which it counts as drift; Auto's tests count from their usual thresholds."""

    __test__ = False  # not a test class

    test: RequestedDriftTest = "PSI"
    threshold: float = 0.2


class DriftConfig(Document):
    """Which tests run on which columns."""

    features: TestConfig | None = None
    overrides: dict[str, TestConfig] = Field(default_factory=dict)
    predictions: TestConfig | None = None
    drifted_share: float = 0.3
    false_alarms_per_month: float = Field(default=0.2, gt=0)
    consecutive_windows: int = Field(default=2, ge=1, le=24)  # windows that the operator needs for an alarm,
    out_of: int | None = Field(default=None, ge=1, le=24)  # among so many; None: in a row


MAX_MISSING_INCREASE: Final = 0.05
"""By how much the share of missing values may be above that of training, where nothing is stated."""
MAX_UNSEEN_RATIO: Final = 0.01
"""The same for the share of categories that training had not, where nothing is stated."""
MAX_SHARE_UNRECOGNIZED: Final = 0.05
"""When a larger share of the labels is not recognized, the others are not judged: they are those of some classes."""
MAX_SHARE_WITHOUT_SCORE: Final = 0.2
"""When more than this share of the features has no drift score, nothing is known about drift."""


MAX_SEGMENTS: Final = 50
"""Segments of performance in all."""
MAX_SEGMENT_COLUMNS: Final = 10
"""Columns that segments are made by."""


class QualityConfig(Document):
    """The largest acceptable shares of bad values in a column. None: the default, or no limit where there is none."""

    max_missing_increase: float | None = None
    max_missing_ratio: float | None = None
    max_unseen_ratio: float | None = None
    max_out_of_range_ratio: float | None = None


class PerformanceConfig(Document):
    """Which metric of joined labels is watched."""

    metric: str
    min: float | None = None
    max: float | None = None
    min_labels: int = 200
    label_delay_seconds: int = 86_400
    min_labels_ratio: float | None = None  # None: any
    false_alarms_per_month: float = 0.2  # of 30 days, at most
    authenticated: bool = False  # True: only labels that were sent with a feedback key are taken and judged
    estimate: bool = False  # whether the metric is estimated for rows without labels
    segments: tuple[str, ...] = ()  # columns by whose values the metric is also computed
    random_sample: bool = False  # whether rows with labels are a random sample of all, so that answers help


ColumnType = Literal["Category", "Number", "Ignore"]
"""How a column is judged: by its values as names, by its values as quantities, or not at all."""


class ColumnConfig(Document):
    """What is stated about one column."""

    type: ColumnType | None = None  # None: as the reference profile recognised it
    max_missing_increase: float | None = None  # None: that of `quality`
    decisive: bool = False  # its drift alone makes a window drift


ColumnFinding = Literal["Code", "Identifier", "NoCategories", "NoNumbers", "Unknown", "NoSegments"]
"""Why a column is judged otherwise than its values or its stated type let expect; `FINDINGS` has the words."""

FINDINGS: Mapping[ColumnFinding, str] = {
    "Code": "appears to be codes, judged as Category",
    "Identifier": "appears to be an identifier, drift is not judged",
    "NoCategories": "the reference profile has no categories of these numbers, judged as Number",
    "NoNumbers": "the training data has no numbers here, judged as Category",
    "Unknown": "not a feature of this version",
    "NoSegments": "not a feature of this version, so performance has no segments by it",
}
"""The words for each, after the name of a column."""

NOTED_COLUMNS = 50
"""At most so many columns with a finding are in a report."""


class MonitorConfig(Document):
    """The configuration of one monitor."""

    schema_version: Literal[1] = 1
    namespace: str
    monitor: str
    deployment: str
    window_seconds: int = 3600
    min_rows: int = 500
    drift: DriftConfig | None = None
    baseline: BaselineConfig | None = None  # None: training
    quality: QualityConfig | None = None
    performance: PerformanceConfig | None = None
    fairness: FairnessConfig | None = None
    gaming: GamingConfig | None = None  # None: nothing is kept of clients
    columns: dict[str, ColumnConfig] = Field(default_factory=dict)  # exceptions, by the name of the feature
    database: str = "/data/monitor.db"
    retention_seconds: int = 30 * 86_400  # of windows; longer where labels need it
    storage_bytes: int = STORAGE_BYTES  # the size of the volume with the database
    payloads: PayloadConfig | None = None  # None: no rows are kept
    webhooks: tuple[WebhookConfig, ...] = ()
    webhook_targets: tuple[str, ...] = ()  # host:port, with private addresses, that an administrator allows


class ColumnScore(Document):
    """The verdict on one column of one window."""

    name: str
    test: DriftTestName | None = None
    score: float | None = None  # None: not judged, see note
    threshold: float | None = None
    p_value: float | None = None  # of the difference by chance; None: the score is below the threshold
    drifted: bool = False  # beyond the threshold, and significant
    importance: float | None = None  # of a feature, its share of all importance in the model; None: not measured
    reference_mean: float | None = None  # of a numeric column that drifted; these two by the means of bins
    mean: float | None = None
    below_ratio: float | None = None  # values below the reference's minimum
    above_ratio: float | None = None
    category: str | None = None  # of a categorical column that drifted: the one whose share changed most
    reference_share: float | None = None
    share: float | None = None
    missing_ratio: float = 0.0
    mistyped_ratio: float = 0.0
    unseen_ratio: float = 0.0
    out_of_range_ratio: float = 0.0
    note: str = ""


class WindowReport(Document):
    """One window of one version, closed or still open."""

    start: float  # seconds since the epoch, inclusive
    end: float  # exclusive
    closed: bool
    rows: int
    judged: bool  # enough rows
    features: tuple[ColumnScore, ...] = ()
    prediction: ColumnScore | None = None
    probability: ColumnScore | None = None  # of the predicted class, recorded as the prediction's score
    baseline: BaselineReport | None = None  # what it was compared with; None: training, as asked for
    level: float | None = None  # at which the columns of the window are significant together
    smallest_shift: float | None = None  # of a normal column that so many rows can show, in standard deviations
    drifted_share: float | None = None
    drift: bool = False
    tested: int = 0  # features that drift would be judged by
    without_score: tuple[str, ...] = ()  # those of them that drift cannot be judged by
    comparable: bool = True  # False: so many of them that nothing is known about drift
    quality_problems: tuple[str, ...] = ()  # "tenure: missing_ratio 0.31 > 0.05"
    features_drifted: int | None = None  # where the lists are cut, how many there are; None: they are whole
    problems_found: int | None = None
    features_without_score: int | None = None
    errors: int = 0
    latency_p50_seconds: float | None = None
    latency_p99_seconds: float | None = None

    @property
    def drifted(self) -> int:
        """How many features drifted, also where `features` has only the worst."""
        return max(sum(column.drifted for column in self.features), self.features_drifted or 0)

    @property
    def problems(self) -> int:
        """How many problems of quality there are, also where `quality_problems` is cut."""
        return max(len(self.quality_problems), self.problems_found or 0)

    @property
    def unscored(self) -> int:
        """How many features drift cannot be judged by, also where `without_score` is cut."""
        return max(len(self.without_score), self.features_without_score or 0)


class EstimateReport(Document):
    """The watched metric of rows without labels, if labels depend on the answers as they did on the holdout."""

    start: float  # of the windows that it is of
    end: float  # exclusive
    rows: int = 0
    value: float | None = None  # None: see note
    low: float | None = None  # of the 95 % interval of what the labels of these rows would show
    high: float | None = None
    unsupported_ratio: float = 0.0  # rows with answers of which the holdout had fewer than 30
    trusted: bool = False  # few of those
    exceeded: bool = False  # worse than a limit by more than the error of the estimate
    note: str = ""


class LabelDelays(Document):
    """How long after their predictions labels came, in seconds, right to 9 %."""

    p50: float | None = None
    p90: float | None = None
    p99: float | None = None
    labels: int = 0


class PoweredReport(Document):
    """The watched metric of all rows, from the labels of a random sample of them and the answers of all."""

    value: float
    low: float  # of the 95 % interval
    high: float
    rows: int
    labels: int


class SegmentReport(Document):
    """The watched metric on the labels of one segment of the rows."""

    column: str
    segment: str  # a category, a range of numbers, "(other)" or "(missing)"
    value: float | None = None
    low: float | None = None  # of the 95 % interval
    high: float | None = None
    labels: int = 0


class PerformanceReport(Document):
    """The watched metric on labels that have arrived."""

    metric: str
    value: float | None = None
    labels: int  # that the value is of
    unrecognized: int = 0  # not in `labels`: those that name no class of the model, or are no number
    examples: tuple[str, ...] = ()  # of those, at most 5, cut to 40 characters
    due: bool = True  # False: `labels` has early ones, a biased sample, and is not judged
    labels_ratio: float | None = None  # of the predictions old enough to have a label
    low: float | None = None  # of the 95 % interval of the value
    high: float | None = None
    labels_needed: int | None = None  # more labels like these that would decide; None: decided, or not known
    asymptotic: bool = False  # the stated false alarms hold for large samples only
    degraded: bool = False  # a limit is exceeded; since monitors have detectors: proven to be
    exceeded_since: float | None = None  # start of the windows that were the first to prove it
    breach_start: float | None = None  # of the newest windows that prove it; None: nothing is proven
    breach_end: float | None = None  # exclusive
    authenticated: bool = False  # of labels alone that were sent with a feedback key
    estimate: EstimateReport | None = None  # of the last judged window; None: not asked for, or no such window
    estimated: float | None = None  # the same for the windows that `value` is of
    powered: PoweredReport | None = None  # None: not asked for, or not possible
    segments: tuple[SegmentReport, ...] = ()  # at most MAX_SEGMENTS
    label_delays: LabelDelays | None = None  # of predictions that are old enough; None: none of them has a label
    note: str = ""


class ColumnNote(Document):
    """What is special about how one column is judged."""

    name: str
    finding: ColumnFinding


class VersionReport(Document):
    """What is known about one version."""

    version: str
    digest: str
    rows: int
    last_record_at: float | None = None  # arrival of the newest batch that had rows
    windows: tuple[WindowReport, ...] = ()  # newest last, at most 24
    performance: PerformanceReport | None = None
    fairness: FairnessReport | None = None
    labels_start: float | None = None  # of the oldest window that `performance` is of; None: none, or not reported
    labels_end: float | None = None  # of the newest one, exclusive
    dropped: int = 0
    discarded: int = 0  # predictions that were not kept until their label came, for lack of room or for their size
    profile_version: int = 1  # of its reference profile, as the trainer wrote it
    column_notes: tuple[ColumnNote, ...] = ()  # at most NOTED_COLUMNS


class RetentionReport(Document):
    """What the predictions need that wait for their labels, of all versions together."""

    rows: int  # predictions within the time that a label may take; projected while less time than that was seen
    prediction_bytes: float  # mean size of a stored one
    storage_bytes: int  # of the volume, or the configured ones where these are less
    labels_unmatched: int = 0  # labels whose prediction did not come within 15 minutes, or was discarded


class MonitorReport(Document):
    """The body of GET /v1/report."""

    schema_version: Literal[1] = 1
    monitor: str
    now: float
    started_at: float
    versions: tuple[VersionReport, ...] = ()
    retention: RetentionReport | None = None  # None: of an older monitor
    payloads: PayloadReport | None = None  # None: no rows are kept
    gaming: GamingReport | None = None  # None: not asked for
    webhooks: tuple[WebhookReport, ...] | None = None  # those that a message was sent to; None: of an older monitor
    newer_database: int | None = None  # its schema, where a newer monitor wrote it: nothing is counted
