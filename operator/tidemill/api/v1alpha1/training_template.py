"""What a pipeline and the run that it starts have in common: data, code, image, gates.

A TrainingRun holds a resolved copy of these, so that a later edit of the pipeline cannot change a run.
"""

from typing import Annotated, Literal

from pydantic import Field

from tidemill.api.base import ATOMIC, MAX_SECONDS, ConfigMapRef, Model, Ratio, SecretRef, list_map, rule, rules
from tidemill_contracts.storage import DATA_SCHEMES, uri_pattern


class ColumnExpectation(Model):
    """What one column must satisfy."""

    model_config = {
        "json_schema_extra": rules(
            rule("!has(self.min) || !has(self.max) || self.min <= self.max", "min must not be above max"),
            rule(
                "!has(self.type) || self.type == 'Number' || !(has(self.min) || has(self.max))",
                "min and max have an effect only on a column of type Number",
            ),
            rule(
                "!has(self.type) || self.type == 'Category' || !has(self.allowed)",
                "allowed has an effect only on a column of type Category",
            ),
        )
    }

    name: Annotated[str, Field(min_length=1, max_length=256, description="Name of the column, as in the data.")]
    type: Annotated[
        Literal["Number", "Category", "Boolean", "Text"] | None,
        Field(description="Kind of values: Number, Category, Boolean or Text."),
    ] = None
    min: Annotated[float | None, Field(description="Smallest allowed number.")] = None
    max: Annotated[float | None, Field(description="Largest allowed number.")] = None
    allowed: Annotated[
        list[Annotated[str, Field(max_length=256)]] | None,
        Field(max_length=1000, description="All allowed values of a Category.", json_schema_extra=ATOMIC),
    ] = None
    max_missing_ratio: Annotated[
        Ratio | None, Field(description="Largest allowed share of missing values, 0 to 1.")
    ] = None


class Expectations(Model):
    """What the data must satisfy; a run that finds otherwise fails and names rows and columns."""

    min_rows: Annotated[int | None, Field(ge=1, le=1_000_000_000, description="Fewest rows.")] = None
    columns: Annotated[
        list[ColumnExpectation],
        Field(max_length=500, description="Expectations by column.", json_schema_extra=list_map("name")),
    ] = []


class DataSource(Model):
    """One data set."""

    model_config = {
        "json_schema_extra": rules(
            rule(
                "!self.uri.startsWith('builtin://') || "
                "self.uri.substring(10) in ['breast-cancer', 'diabetes', 'digits', 'iris', 'wine']",
                "uri: builtin:// must be followed by one of breast-cancer, diabetes, digits, iris, wine",
            ),
            rule(
                "!self.uri.startsWith('configmap://') || self.uri.matches('^configmap://[^/]+/[^/]+$')",
                "uri: a ConfigMap is given as configmap://name/key",
            ),
            rule(
                "!has(self.secretRef) || self.uri.matches('^(s3|gs|az|http|https)://')",
                "secretRef has an effect only with a uri of s3://, gs://, az://, http:// or https://",
            ),
            rule(
                "!has(self.format) || self.format == 'Auto' || !self.uri.startsWith('builtin://')",
                "format has no effect with builtin://: leave it out",
            ),
        )
    }

    name: Annotated[
        str,
        Field(
            min_length=1,
            max_length=63,
            pattern=r"^[a-z]([-a-z0-9_]*[a-z0-9])?$",
            description="Name of the input, unique in the pipeline.",
        ),
    ]
    uri: Annotated[
        str,
        Field(
            min_length=1,
            max_length=2048,
            pattern=uri_pattern(DATA_SCHEMES),
            description="Where the data is: builtin://breast-cancer (scikit-learn's bundled sets: iris, wine, breast-cancer, "
            "digits, diabetes), configmap://name/key, pvc://claim/path, s3://bucket/prefix, gs://…, az://…, http(s)://…",
        ),
    ]
    format: Annotated[
        Literal["Auto", "CSV", "Parquet", "JSONLines"],
        Field(description="Auto (by file name), CSV, Parquet or JSONLines."),
    ] = "Auto"
    secret_ref: Annotated[
        SecretRef | None,
        Field(
            description="Secret with credentials: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, AWS_REGION, AWS_ENDPOINT_URL; GOOGLE_SERVICE_ACCOUNT_KEY; AZURE_STORAGE_ACCOUNT_NAME, AZURE_STORAGE_ACCOUNT_KEY; for http(s)://, AUTHORIZATION is the header's value. No other key is mounted."
        ),
    ] = None
    expectations: Annotated[Expectations | None, Field(description="Checks before training.")] = None


class CodeSource(Model):
    """The training code and how it is called."""

    model_config = {
        "json_schema_extra": rules(
            rule("has(self.entrypoint) != has(self.command)", "code: exactly one of entrypoint and command must be set")
        )
    }

    config_map: Annotated[
        ConfigMapRef | None,
        Field(description="ConfigMap whose keys are the code's files; absent: the image carries the code."),
    ] = None
    entrypoint: Annotated[
        str | None,
        Field(
            max_length=256,
            pattern=r"^[A-Za-z_][A-Za-z0-9_.]*:[A-Za-z_][A-Za-z0-9_]*$",
            description="A Python function, module:function; train(data, target, **parameters) returns a fitted scikit-learn estimator.",
        ),
    ] = None
    command: Annotated[
        list[Annotated[str, Field(max_length=4096)]] | None,
        Field(
            min_length=1,
            max_length=64,
            description="Any program: it reads $TIDEMILL_INPUT_DIR and writes $TIDEMILL_OUTPUT_DIR/{model.*,metrics.json}.",
            json_schema_extra=ATOMIC,
        ),
    ] = None


class AgainstChampion(Model):
    """A comparison with the version in force, re-scored on the same holdout; passes when there is none."""

    min_delta: Annotated[
        float,
        Field(
            description="Candidate minus champion must be at least this; for metrics where lower is better, champion minus candidate."
        ),
    ]


class Gate(Model):
    """One condition that a candidate must meet. A metric that is absent or NaN fails the gate."""

    model_config = {
        "json_schema_extra": rules(
            rule(
                "has(self.min) || has(self.max) || has(self.againstChampion)",
                "gate: at least one of min, max and againstChampion must be set",
            ),
            rule(
                "!has(self.min) || !has(self.max) || self.min <= self.max",
                "gate: min must not be above max, or no candidate can pass",
            ),
        )
    }

    metric: Annotated[
        str,
        Field(
            min_length=1,
            max_length=63,
            description="Built in: accuracy, balanced_accuracy, f1, roc_auc, log_loss; rmse, mae, r2; or one that evaluate() returns.",
        ),
    ]
    min: Annotated[float | None, Field(description="Smallest passing value.")] = None
    max: Annotated[float | None, Field(description="Largest passing value.")] = None
    against_champion: Annotated[AgainstChampion | None, Field(description="Comparison with the champion.")] = None


class Evaluation(Model):
    """How a candidate is judged."""

    holdout_ratio: Annotated[
        float, Field(gt=0, lt=1, description="Share of rows that training never sees; used for all metrics.")
    ] = 0.2
    gates: Annotated[
        list[Gate],
        Field(max_length=20, description="All must pass, or the candidate is refused.", json_schema_extra=ATOMIC),
    ] = []


class RunLimits(Model):
    """Limits of one run."""

    backoff_limit: Annotated[
        int, Field(ge=0, le=10, description="How often a run that failed for technical reasons is tried again.")
    ] = 2
    active_deadline_seconds: Annotated[int, Field(ge=1, le=MAX_SECONDS, description="Longest time a run may take.")] = (
        14400
    )
    pending_deadline_seconds: Annotated[
        int,
        Field(
            ge=1,
            le=MAX_SECONDS,
            description="Longest time a run's pod may wait to start, for example for an image that does not exist.",
        ),
    ] = 600
