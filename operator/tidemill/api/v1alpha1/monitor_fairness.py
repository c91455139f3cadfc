"""`spec.fairness` of a ModelMonitor, and what its status says about groups."""

from typing import Annotated, Literal

from pydantic import Field

from tidemill.api.base import ATOMIC, SET, Model, Time, list_map, rule, rules
from tidemill_contracts.fairness import GROUP_LENGTH, MAX_GROUP_COLUMNS, MAX_GROUPS, MAX_VALUES, FairnessMetric

GroupName = Annotated[str, Field(min_length=1, max_length=GROUP_LENGTH)]


class GroupColumn(Model):
    """A column whose values are groups of rows."""

    model_config = {
        "json_schema_extra": rules(
            rule(
                "!has(self.values) || !(self.privileged in self.values)",
                "spec.fairness.groups: values are the groups that are compared with privileged, which must not be "
                "among them",
            )
        )
    }

    column: Annotated[str, Field(min_length=1, max_length=256)]
    """Name of the column. It must be one of spec.logging.columns of the ModelDeployment."""
    privileged: GroupName
    """Value whose rows the other groups are compared with, for example m."""
    values: Annotated[list[GroupName], Field(max_length=MAX_VALUES - 1, json_schema_extra=SET)] = []
    """Values whose rows are compared with those of privileged. All other values are (other), which is shown and not
    judged. If not set, they are the first 9 values that arrive."""


class FairnessLimit(Model):
    """What is acceptable of one comparison."""

    model_config = {
        "json_schema_extra": rules(
            rule(
                "self.metric == 'SelectionRateRatio' ? has(self.min) && !has(self.max) : has(self.max) && "
                "!has(self.min)",
                "spec.fairness.limits: SelectionRateRatio takes min, the differences take max",
            )
        )
    }

    metric: FairnessMetric
    """What is compared. SelectionRateRatio: the share of rows with the positive class, divided by that of the
    privileged group. SelectionRateDifference: the same share minus that of the privileged group.
    FalsePositiveRateDifference and FalseNegativeRateDifference: the same for the share of wrong predictions among the
    rows whose label is another class, or the positive class; they require spec.performance."""
    min: Annotated[float | None, Field(gt=0, le=1)] = None
    """Minimum acceptable ratio, for example 0.8. Used with metric: SelectionRateRatio, which requires it."""
    max: Annotated[float | None, Field(gt=0, lt=1)] = None
    """Maximum acceptable difference in either direction, for example 0.1. Used with the differences, which
    require it."""


class Fairness(Model):
    """How the model treats groups of rows, which columns that it never sees tell apart."""

    groups: Annotated[
        list[GroupColumn],
        Field(min_length=1, max_length=MAX_GROUP_COLUMNS, json_schema_extra=list_map("column")),
    ]
    """Columns whose values are groups. A row's groups are kept with its id until its label comes or is overdue, then
    only counted."""
    limits: Annotated[list[FairnessLimit], Field(min_length=1, max_length=4, json_schema_extra=list_map("metric"))]
    """What is acceptable. The condition FairnessLimitExceeded becomes True when rows prove that a limit is exceeded.
    Comparisons without a limit are shown in status and not judged."""
    positive: Annotated[str | None, Field(min_length=1, max_length=256)] = None
    """Predicted class that counts as selected, for example approved. Required for more than two classes. If not set, it
    is the greater of two classes, as for precision and recall."""
    min_rows: Annotated[int, Field(ge=30, le=1_000_000_000)] = 200
    """Minimum number of rows that each of two compared rates must be computed from to be judged. For error rates these
    are labels of the class."""
    false_alarms_per_month: Annotated[float, Field(gt=0, le=10)] = 0.2
    """Maximum number of times in 30 days, on average, that the condition FairnessLimitExceeded becomes True without a
    cause, for groups that are exactly at the limits."""


class Gap(Model):
    """A group compared with the privileged one."""

    metric: str
    """What is compared, as in spec.fairness.limits."""
    value: float | None = None
    """Ratio, or group minus privileged group, rounded to three decimals. Not set if it cannot be computed."""
    low: float | None = None
    """Lower end of the 95 % interval of the value, rounded to three decimals."""
    high: float | None = None
    """Upper end of the 95 % interval of the value, rounded to three decimals."""
    verdict: Literal["Exceeded", "WithinLimit", "LimitNotExcluded", "NotJudged"] = "NotJudged"
    """Exceeded: rows prove that the limit is exceeded. WithinLimit: the interval is within the limit. LimitNotExcluded:
    neither. NotJudged: there is no limit, or one of the groups has fewer than minRows rows."""


class Group(Model):
    """The rates of one group."""

    column: str
    """Name of the column."""
    group: str
    """Value of the column, (other) or (missing)."""
    privileged: bool = False
    """Whether the other groups of the column are compared with it."""
    rows: int = 0
    """Number of predictions that selectionRate is computed from."""
    selection_rate: float | None = None
    """Share of predictions that are the positive class, rounded to three decimals."""
    negatives: int = 0
    """Number of labels of other classes, which falsePositiveRate is computed from."""
    false_positive_rate: float | None = None
    """Share of them that were predicted as the positive class, rounded to three decimals."""
    positives: int = 0
    """Number of labels of the positive class, which falseNegativeRate is computed from."""
    false_negative_rate: float | None = None
    """Share of them that were predicted as another class, rounded to three decimals."""
    gaps: Annotated[list[Gap] | None, Field(max_length=4, json_schema_extra=ATOMIC)] = None
    """Comparisons with the privileged group. Not set for that group, (other) and (missing)."""


class FairnessVerdict(Model):
    """How groups of rows were treated."""

    positive: str | None = None
    """Predicted class that counts as selected."""
    groups: Annotated[list[Group] | None, Field(max_length=MAX_GROUPS, json_schema_extra=ATOMIC)] = None
    """Groups that have rows."""
    start: Time | None = None
    """Start of the windows that the selection rates are computed on: the newest ones in which each group has minRows
    rows, or the newest 500."""
    end: Time | None = None
    """End of these windows. It does not belong to them."""
    labels_start: Time | None = None
    """Start of the windows that the error rates are computed on, chosen in the same way by labels that are due."""
    labels_end: Time | None = None
    """End of these windows. It does not belong to them."""
