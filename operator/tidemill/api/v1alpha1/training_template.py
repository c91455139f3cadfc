"""What a pipeline and the run that it starts have in common: data, code, image, gates.

A TrainingRun holds a resolved copy of these, so that a later edit of the pipeline cannot change a run.
"""

from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import Field

from tidemill.api.base import ATOMIC, MAX_SECONDS, ConfigMapRef, Model, Ratio, SecretRef, list_map, rule, rules
from tidemill_contracts import feedback, schemes
from tidemill_contracts.holdout import SplitType
from tidemill_contracts.model_metrics import listed, lower_is_better
from tidemill_contracts.schemes import BUILTIN_DATA_SETS


def any_of(names: Iterable[str], uri: str = "self.uri") -> str:
    """Return the expression of a rule that holds for a URI of one of these schemes."""
    return " || ".join(f"{uri}.startsWith('{name}://')" for name in names)


def none_of(names: Iterable[str], uri: str = "self.uri") -> str:
    """Return the expression of a rule that holds for a URI of none of these schemes."""
    return " && ".join(f"!{uri}.startsWith('{name}://')" for name in names)


_OUTSIDE = [form for form in schemes.forms("data") if not form.startswith("builtin:")]


def _used_keys(names: tuple[str, ...], keys: tuple[schemes.SecretKey, ...]) -> str:
    header = f", the value of the {keys[0].option} header" if schemes.BY_NAME[names[0]].place == "web" else ""
    return f"For {schemes.prefixes(names, 'and')}: {', '.join(key.name for key in keys)}{header}."


class ColumnExpectation(Model):
    """Checks that one column of a data set must pass."""

    model_config = {
        "json_schema_extra": rules(
            rule("!has(self.min) || !has(self.max) || self.min <= self.max", "min must not be greater than max"),
            rule(
                "!has(self.type) || self.type == 'Number' || !(has(self.min) || has(self.max))",
                "min and max may be set only for a column of type Number",
            ),
            rule(
                "!has(self.type) || self.type == 'Category' || !has(self.allowed)",
                "allowed may be set only for a column of type Category",
            ),
        )
    }

    name: Annotated[str, Field(min_length=1, max_length=256)]
    """Name of the column in the data."""
    type: Literal["Number", "Category", "Boolean", "Text"] | None = None
    """Required type of the values: Number, Category, Boolean or Text. If not set, the type is not checked."""
    min: float | None = None
    """Minimum value. For numeric columns only. If not set, there is no minimum."""
    max: float | None = None
    """Maximum value. For numeric columns only. If not set, there is no maximum."""
    allowed: Annotated[
        list[Annotated[str, Field(max_length=256)]] | None, Field(max_length=1000, json_schema_extra=ATOMIC)
    ] = None
    """Allowed values. For columns of type Category only. If not set, all values are allowed."""
    max_missing_ratio: Ratio | None = None
    """Maximum share of missing values. If not set, missing values are allowed."""


class Expectations(Model):
    """Checks that the data must pass before training.

    If it does not, the run fails, and its message names the rows and columns.
    """

    min_rows: Annotated[int | None, Field(ge=1, le=1_000_000_000)] = None
    """Minimum number of rows. If not set, the number is not checked."""
    columns: Annotated[list[ColumnExpectation], Field(max_length=500, json_schema_extra=list_map("name"))] = []
    """Checks of individual columns."""


class Feedback(Model):
    """Which of the rows that a ModelDeployment keeps are read."""

    min_new_rows: Annotated[int, Field(ge=1, le=1_000_000_000)] = feedback.MIN_NEW_ROWS
    """Minimum number of rows with a label before the first run, and of those that have to come after a run before they
    are read: until then further runs read the rows of that run."""
    max_rows: Annotated[int, Field(ge=1, le=100_000_000)] = feedback.MAX_ROWS
    """Maximum number of rows with a label; the newest are read. The run's memory must have room for them."""
    suspected_clients: Literal["Keep", "LeaveOut"] = "Keep"
    """What is done with rows of clients that a ModelMonitor of the deployment suspects (condition GamingSuspected) when
    the run starts. Keep: they are read and counted in the lineage of the version. LeaveOut: they are not read."""


class DataSource(Model):
    """A data set that the training reads."""

    model_config = {
        "json_schema_extra": rules(
            rule(
                f"!self.uri.startsWith('builtin://') || self.uri.substring(10) in {list(BUILTIN_DATA_SETS)}",
                f"uri: builtin:// must be followed by one of {', '.join(BUILTIN_DATA_SETS)}",
            ),
            rule(
                "!self.uri.startsWith('configmap://') || self.uri.matches('^configmap://[^/]+/[^/]+$')",
                "uri: a ConfigMap must be given as configmap://name/key",
            ),
            rule(
                f"!has(self.secretRef) || self.uri.matches('^({'|'.join(schemes.with_secret('data'))})://')",
                f"secretRef may be set only with a uri of {schemes.prefixes(schemes.with_secret('data'))}",
            ),
            rule(
                "!has(self.format) || self.format == 'Auto' || !self.uri.startsWith('builtin://')",
                "format must not be set with a uri of builtin://",
            ),
            rule(
                "!self.uri.startsWith('feedback://') || self.uri.matches('^feedback://[^/?]+$')",
                "uri: kept rows must be given as feedback://deployment",
            ),
            rule(
                "!has(self.format) || self.format == 'Auto' || !self.uri.startsWith('feedback://')",
                "format must not be set with a uri of feedback://",
            ),
            rule(
                "!has(self.feedback) || self.uri.startsWith('feedback://')",
                "feedback may be set only with a uri of feedback://",
            ),
        )
    }

    name: Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[a-z]([-a-z0-9_]*[a-z0-9])?$")]
    """Name of the input. Must be unique within the pipeline."""
    uri: Annotated[
        str,
        Field(
            min_length=1,
            max_length=2048,
            pattern=schemes.uri_pattern("data"),
            description=f"Location of the data: {', '.join(_OUTSIDE)}, or builtin://name for a data set that is "
            f"bundled with scikit-learn ({', '.join(BUILTIN_DATA_SETS)}).",
        ),
    ]
    format: Literal["Auto", "CSV", "Parquet", "JSONLines"] = "Auto"
    """Format of the data: CSV, Parquet or JSONLines. Auto: the format is derived from the file name."""
    secret_ref: Annotated[
        SecretRef | None,
        Field(
            description="Secret in the same namespace with credentials for the URI. These keys are used. "
            f"{' '.join(_used_keys(*row) for row in schemes.keys_by_scheme('data'))} Other keys are not mounted. If "
            "not set, no Secret is used.",
        ),
    ] = None
    expectations: Expectations | None = None
    """Checks that the data must pass before training. If not set, the data is not checked."""
    feedback: Feedback | None = None
    """Which of the kept rows are read. Only with feedback://. If not set, the defaults of its fields apply."""


class CodeSource(Model):
    """The training code and how it is called."""

    model_config = {
        "json_schema_extra": rules(
            rule("has(self.entrypoint) != has(self.command)", "code: exactly one of entrypoint and command must be set")
        )
    }

    config_map: ConfigMapRef | None = None
    """ConfigMap in the same namespace whose keys are the files of the training code. If not set, the image must contain
    the code."""
    entrypoint: Annotated[
        str | None, Field(max_length=256, pattern=r"^[A-Za-z_][A-Za-z0-9_.]*:[A-Za-z_][A-Za-z0-9_]*$")
    ] = None
    """Python function that trains the model, as module:function. It is called as train(data, target, **parameters) and
    returns a fitted scikit-learn estimator. Exactly one of entrypoint and command must be set."""
    command: Annotated[
        list[Annotated[str, Field(max_length=4096)]] | None,
        Field(min_length=1, max_length=64, json_schema_extra=ATOMIC),
    ] = None
    """Program that trains the model, with its arguments. It reads its input from the directory $TIDEMILL_INPUT_DIR and
    writes the model (model.*) and its metrics (metrics.json) to the directory $TIDEMILL_OUTPUT_DIR. Exactly one of
    entrypoint and command must be set."""


Better = Literal["Higher", "Lower"]


class AgainstChampion(Model):
    """Comparison with the champion on the same holdout rows. It passes if there is no champion."""

    min_delta: float
    """Minimum improvement over the champion. The improvement is the candidate's value minus the champion's value, or
    the reverse if lower is better. A negative value allows the candidate to be slightly worse than the champion."""
    better: Annotated[
        Better | None,
        Field(
            description="Whether a higher or a lower value is an improvement. If not set, it is Lower for "
            f"{lower_is_better('and')}, also if the training code computes a metric of that name, and Higher for every "
            "other metric. Those metrics cannot be negative: if a value is, the comparison fails until this field is "
            "set.",
        ),
    ] = None


class Gate(Model):
    """A condition that a candidate must meet to be registered.

    It fails if the metric is missing or NaN. At least one of min, max and againstChampion must be set.
    """

    model_config = {
        "json_schema_extra": rules(
            rule(
                "has(self.min) || has(self.max) || has(self.againstChampion)",
                "gate: at least one of min, max and againstChampion must be set",
            ),
            rule(
                "!has(self.min) || !has(self.max) || self.min <= self.max",
                "gate: min must not be greater than max",
            ),
        )
    }

    metric: Annotated[
        str,
        Field(
            min_length=1,
            max_length=63,
            description=f"Name of the metric. Built-in metrics are {listed('classification', 'and')} for "
            f"classification and {listed('regression', 'and')} for regression. Other names refer to metrics that the "
            "training code computes.",
        ),
    ]
    min: float | None = None
    """Minimum value with which the gate passes. If not set, there is no minimum."""
    max: float | None = None
    """Maximum value with which the gate passes. If not set, there is no maximum."""
    against_champion: AgainstChampion | None = None
    """Comparison with the champion, the newest approved version. If not set, the candidate is not compared with it."""


class Split(Model):
    """How rows are divided into training and holdout rows."""

    model_config = {
        "json_schema_extra": rules(
            rule(
                "has(self.column) == (self.type != 'Hash')",
                "split: column must be set for type Group, Time and Column, and must not be set for type Hash",
            ),
            rule(
                "!has(self.keepColumn) || self.type in ['Group', 'Time']",
                "split: keepColumn may be set only for type Group and Time",
            ),
        )
    }

    type: SplitType
    """How rows are divided. Hash: each row by a hash of its values without the target. Group: all rows with the same
    value of column are on the same side, by a hash of that value. Time: the rows with the newest values of column are
    held out. Column: the value of column says it, train or test. With Hash and Group, a row never changes sides when
    rows are added. Hash, Group and Time hold out about holdoutRatio of the rows."""
    column: Annotated[str | None, Field(min_length=1, max_length=256)] = None
    """Column of the data by which rows are divided. It must be in the input that has the target column. For Group, rows
    without a value are each a group of their own. For Time, values are numbers or times in ISO 8601 format. It must be
    set for Group, Time and Column, and must not be set for Hash."""
    keep_column: bool | None = None
    """Whether the training code receives the column like any other, so that the model may use it. If not set, it does
    for Time and does not for Group. With Column it never does."""

    @property
    def keeps_column(self) -> bool:
        """Whether the training code receives the column."""
        return self.type == "Time" if self.keep_column is None else self.keep_column


class Evaluation(Model):
    """How a candidate is evaluated."""

    model_config = {
        "json_schema_extra": rules(
            rule(
                "!has(self.split) || self.split.type != 'Column' || !has(self.holdoutRatio) || "
                "self.holdoutRatio == 0.2",
                "evaluation: holdoutRatio must not be set with split.type Column, where the column says which rows are "
                "held out",
            ),
        )
    }

    holdout_ratio: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """Share of the rows that are held out from training. All metrics are computed on these rows."""
    split: Split | None = None
    """How rows are divided into training and holdout rows. If not set, exactly holdoutRatio of the rows of each class
    are held out, by a hash of the row's values; rows at the margin may change sides when rows are added."""
    gates: Annotated[list[Gate], Field(max_length=20, json_schema_extra=ATOMIC)] = []
    """Conditions that a candidate must meet. If any gate fails, the candidate is rejected and no version is registered.
    If there are no gates, every candidate is registered."""


class RunLimits(Model):
    """Limits of one run."""

    backoff_limit: Annotated[int, Field(ge=0, le=10)] = 2
    """Number of times that a run starts a new pod after its pod failed for a technical reason. Errors of the training
    code and the data are not retried."""
    active_deadline_seconds: Annotated[int, Field(ge=1, le=MAX_SECONDS)] = 14400
    """Maximum duration of a run in seconds, including retries. A run that takes longer is stopped and fails."""
    pending_deadline_seconds: Annotated[int, Field(ge=1, le=MAX_SECONDS)] = 600
    """Maximum time in seconds that the pod of a run may take to start, for example because its image cannot be pulled.
    Time in a queue does not count. A run that exceeds it fails."""
