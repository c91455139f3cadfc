"""TrainingRun: one execution of a pipeline, written by the operator; the record is the status, the Job may vanish."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from tidemill.api.base import (
    ATOMIC,
    IMMUTABLE,
    TAIL_COLUMNS,
    Born,
    Column,
    Digest,
    Kind,
    Model,
    ObjectName,
    Resource,
    Resources,
    SecretRef,
    Status,
    Time,
    Toleration,
    list_map,
)
from tidemill.api.v1alpha1.training_template import CodeSource, DataSource, Gate, RunLimits

TriggerType = Literal[
    "NeverTrained",
    "SpecChanged",
    "CodeChanged",
    "DataChanged",
    "ScheduleDue",
    "MonitorRequested",
    "ManualRequested",
    "RetryDue",
]
FailureCategory = Literal[
    "UserError", "DataInvalid", "OutOfMemory", "ImagePull", "Unschedulable", "Deadline", "Infrastructure"
]


class Trigger(Model):
    """Why the run started."""

    type: Annotated[TriggerType, Field(description="Kind of the trigger.")]
    message: Annotated[str, Field(max_length=1024, description="What happened, as a sentence.")]
    from_: Annotated[
        str | None, Field(alias="from", max_length=1024, description="The revision before, where one changed.")
    ] = None
    to: Annotated[
        str | None,
        Field(
            max_length=1024,
            description="The revision after, the scheduled time, the request's value, or the number of the retry.",
        ),
    ] = None
    id: Annotated[str | None, Field(max_length=256, description="Id of the monitor's request.")] = None
    monitor: Annotated[str | None, Field(max_length=253, description="The ModelMonitor that asked.")] = None
    time: Annotated[Time, Field(description="When the decision fell.")]


class ResolvedCode(CodeSource):
    """The code with the digest of its content at the start of the run."""

    digest: Annotated[Digest, Field(description="Digest of the code; the run refuses other content.")]


class ResolvedData(DataSource):
    """An input with the revision it had at the start of the run."""

    revision: Annotated[
        str | None, Field(max_length=512, description="Revision, when it was known before the run.")
    ] = None


class RunChampion(Model):
    """The version that the candidate is judged against."""

    version: Annotated[ObjectName, Field(description="Name of the ModelVersion.")]
    digest: Annotated[Digest, Field(description="Its digest.")]
    uri: Annotated[str, Field(description="Where it is stored.")]
    metrics: Annotated[dict[str, float], Field(description="Its recorded metrics.")] = {}


class Store(Model):
    """The pipeline's folder in the artifact store."""

    uri: Annotated[str, Field(description="URI of the folder.")]
    secret_ref: Annotated[SecretRef | None, Field(description="Secret with credentials.")] = None


class TrainingRunSpec(Model):
    """A snapshot of everything that was resolved when the run started."""

    model_config = {"json_schema_extra": IMMUTABLE}

    pipeline: Annotated[ObjectName, Field(description="The TrainingPipeline.")]
    key: Annotated[Digest, Field(description="Digest of everything that decides the outcome.")]
    trigger: Annotated[Trigger, Field(description="Why the run started.")]
    data: Annotated[
        list[ResolvedData],
        Field(min_length=1, max_length=16, description="The inputs.", json_schema_extra=list_map("name")),
    ]
    target: Annotated[str | None, Field(description="Column to predict.")] = None
    code: Annotated[ResolvedCode, Field(description="The training code.")]
    image: Annotated[str, Field(description="Image that runs the code.")]
    parameters: Annotated[dict[str, str], Field(description="Arguments of the function.")] = {}
    seed: Annotated[int, Field(ge=0, description="Seed of every random choice.")] = 0
    allow_pickle: Annotated[bool, Field(description="Whether a pickle may be stored.")] = False
    resources: Annotated[Resources | None, Field(description="CPU and memory.")] = None
    node_selector: Annotated[dict[str, str], Field(description="Labels of nodes that may be used.")] = {}
    tolerations: Annotated[list[Toleration], Field(description="Tolerated taints.", json_schema_extra=ATOMIC)] = []
    queue_name: Annotated[str | None, Field(description="Kueue LocalQueue.")] = None
    service_account_name: Annotated[ObjectName | None, Field(description="ServiceAccount of the pod.")] = None
    holdout_ratio: Annotated[float, Field(gt=0, lt=1, description="Share of rows held out.")] = 0.2
    gates: Annotated[
        list[Gate], Field(max_length=20, description="What the candidate must meet.", json_schema_extra=ATOMIC)
    ] = []
    champion: Annotated[RunChampion | None, Field(description="The version to beat.")] = None
    store: Annotated[Store, Field(description="Where the version is written.")]
    keep: Annotated[
        list[Digest] | None,
        Field(
            description="Digests of versions that stay in the store; absent: nothing is removed.",
            json_schema_extra=ATOMIC,
        ),
    ] = None
    approval: Annotated[
        Literal["Automatic", "Manual"], Field(description="Whether a version that passes is approved at once.")
    ] = "Automatic"
    limits: Annotated[RunLimits, Field(description="Limits of the run.")] = RunLimits()


class RunResult(Model):
    """What the run found."""

    digest: Annotated[Digest | None, Field(description="Digest of the version's manifest.")] = None
    model_digest: Annotated[Digest | None, Field(description="Digest of the model's native form.")] = None
    uri: Annotated[str | None, Field(description="Where the candidate is stored.")] = None
    formats: Annotated[list[str], Field(description="Forms of the model.", json_schema_extra=ATOMIC)] = []
    task: Annotated[
        str | None,
        Field(description="classification, regression, clustering, outlier-detection, transformation or unknown."),
    ] = None
    metrics: Annotated[dict[str, float], Field(description="The candidate's metrics on the holdout.")] = {}
    champion_metrics: Annotated[dict[str, float], Field(description="The champion's metrics on the same holdout.")] = {}
    champion_note: Annotated[str | None, Field(description="Why recorded metrics stand in for re-scored ones.")] = None
    rows: Annotated[dict[str, int], Field(description="Rows used for training and held out.")] = {}
    data: Annotated[dict[str, str], Field(description="Revision that was read, by input.")] = {}
    code: Annotated[str | None, Field(description="Digest of the code that ran.")] = None
    image: Annotated[str | None, Field(description="Image that ran, by digest where the node reported one.")] = None
    frameworks: Annotated[dict[str, str], Field(description="Version by package.")] = {}
    onnx: Annotated[str | None, Field(description="verified, or why there is no ONNX form.")] = None
    seconds: Annotated[dict[str, float], Field(description="Duration by phase.")] = {}
    warnings: Annotated[list[str], Field(description="What a person should know.", json_schema_extra=ATOMIC)] = []


class GateVerdict(Model):
    """The outcome of one gate."""

    metric: Annotated[str, Field(description="The metric.")]
    passed: Annotated[bool, Field(description="Whether the gate passed.")]
    reason: Annotated[
        Literal[
            "AboveMin",
            "BelowMin",
            "BelowMax",
            "AboveMax",
            "BetterThanChampion",
            "WorseThanChampion",
            "NoChampion",
            "MetricMissing",
        ],
        Field(description="Why."),
    ]
    value: Annotated[float | None, Field(description="The candidate's value.")] = None
    threshold: Annotated[float | None, Field(description="What it had to meet.")] = None
    message: Annotated[str, Field(description="Why, as a sentence.")]


class RunFailure(Model):
    """Why the run failed."""

    category: Annotated[
        FailureCategory,
        Field(description="UserError, DataInvalid, OutOfMemory, ImagePull, Unschedulable, Deadline or Infrastructure."),
    ]
    reason: Annotated[str, Field(description="The cause, one word.")]
    message: Annotated[str, Field(max_length=8192, description="The cause, as a sentence.")]
    log: Annotated[str | None, Field(max_length=8192, description="Last lines of the log.")] = None


class TrainingRunStatus(Status):
    """What is known of the run."""

    job: Annotated[str | None, Field(description="Name of the Job, with the first news or the end of the run.")] = None
    start_time: Annotated[Time | None, Field(description="When the Job was created.")] = None
    running_since: Annotated[Time | None, Field(description="When the first pod started.")] = None
    completion_time: Annotated[Time | None, Field(description="When the run ended, well or not.")] = None
    result: Annotated[RunResult | None, Field(description="What the run found.")] = None
    gates: Annotated[list[GateVerdict], Field(description="Outcome of each gate.", json_schema_extra=ATOMIC)] = []
    version: Annotated[str | None, Field(description="The ModelVersion that was registered.")] = None
    failure: Annotated[RunFailure | None, Field(description="Why it failed.")] = None


_STARTED = "The run was started; its Job has the run's name."


class TrainingRun(Resource):
    """One execution of a TrainingPipeline. Written by the operator; read it, do not create it."""

    INFO: ClassVar[Kind] = Kind(
        kind="TrainingRun",
        plural="trainingruns",
        singular="trainingrun",
        short_names=("tr",),
        description="TrainingRun records one execution of a TrainingPipeline: why it started, what went in, what came out, and how it was judged.",
        columns=(
            Column("Pipeline", "string", ".spec.pipeline", "The TrainingPipeline."),
            Column("Trigger", "string", ".spec.trigger.type", "Why the run started."),
            Column(
                "Succeeded", "string", '.status.conditions[?(@.type=="Succeeded")].status', "Whether the run succeeded."
            ),
            Column("Reason", "string", '.status.conditions[?(@.type=="Succeeded")].reason', "What became of it."),
            Column("Version", "string", ".status.version", "The ModelVersion that was registered."),
            *TAIL_COLUMNS,
        ),
        born=(
            Born("Ready", "Unknown", "Running", _STARTED),
            Born("Reconciling", "True", "Running", _STARTED),
            Born("Succeeded", "Unknown", "Running", _STARTED),
        ),
        selectable=(".spec.pipeline", ".spec.trigger.type"),
    )

    kind: Literal["TrainingRun"] = "TrainingRun"
    spec: TrainingRunSpec
    status: TrainingRunStatus = TrainingRunStatus()
