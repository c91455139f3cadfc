"""TrainingRun: one execution of a pipeline, written by the operator; the record is the status, the Job may vanish."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from tidemill.api.base import (
    ATOMIC,
    IMMUTABLE,
    TAIL_COLUMNS,
    Column,
    DefaultCondition,
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
from tidemill.api.v1alpha1.pod_settings import PodSettings
from tidemill.api.v1alpha1.training_template import CodeSource, DataSource, Gate, RunLimits, Split
from tidemill_contracts import schemes
from tidemill_contracts.failures import CATEGORIES, FailureCategory
from tidemill_contracts.gaming import MAX_CLIENTS
from tidemill_contracts.holdout import CUT_LIMIT, OVERLAP_LIMIT
from tidemill_contracts.schemes import listed
from tidemill_contracts.storage import URI_LIMIT

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


class Trigger(Model):
    """Why the run started."""

    type: TriggerType
    """What started the run. NeverTrained: no version existed yet. SpecChanged, CodeChanged, DataChanged: an input
    changed. ScheduleDue: a scheduled time was reached. MonitorRequested: a ModelMonitor requested it. ManualRequested:
    a person requested it by annotation. RetryDue: the previous run failed because of the infrastructure."""
    message: Annotated[str, Field(max_length=1024)]
    """Explanation of the trigger."""
    from_: Annotated[str | None, Field(alias="from", max_length=1024)] = None
    """Previous value: the revision before a change, or the name of the failed run that is repeated. Not set if
    there is none."""
    to: Annotated[str | None, Field(max_length=1024)] = None
    """New value: the revision after a change, the scheduled time, the value of the annotation, or the number of the
    retry. Not set if there is none."""
    id: Annotated[str | None, Field(max_length=256)] = None
    """Id of the request. Set only if a ModelMonitor requested the run."""
    monitor: Annotated[str | None, Field(max_length=253)] = None
    """Name of the ModelMonitor that requested the run. Set only if a ModelMonitor requested it."""
    time: Time
    """Time when the operator decided to start the run."""


class ResolvedCode(CodeSource):
    """The training code and the digest of its content when the run started."""

    digest: Digest
    """Digest of the training code. The run fails if the code has other content."""


class KeptRows(Model):
    """Where a ModelDeployment keeps its rows, and which of them may be read."""

    uri: Annotated[str, Field(max_length=URI_LIMIT, pattern=schemes.uri_pattern("artifacts"))]
    """URI of the folder of the deployment."""
    secret_ref: SecretRef | None = None
    """Secret in the same namespace with the credentials of the object store. Not set if none are needed."""
    columns: Annotated[
        list[Annotated[str, Field(max_length=256)]] | None, Field(max_length=500, json_schema_extra=ATOMIC)
    ] = None
    """Names of the inputs that may be read. Not set if all may."""
    suspected_clients: Annotated[
        list[Annotated[str, Field(max_length=64)]], Field(max_length=MAX_CLIENTS, json_schema_extra=ATOMIC)
    ] = []
    """Hashes of the clients that a ModelMonitor of the deployment suspected."""


class ResolvedData(DataSource):
    """An input and its revision when the run started."""

    revision: Annotated[str | None, Field(max_length=512)] = None
    """Revision of the input when the run started. Not set if it was not known yet; the revision that the run read is in
    status.result.data."""
    rows: KeptRows | None = None
    """Where the rows were when the run started. Set only with feedback://."""


class RunChampion(Model):
    """The champion that the candidate is compared with."""

    version: ObjectName
    """Name of the ModelVersion."""
    digest: Digest
    """Digest of the version."""
    uri: str
    """Where the version is stored."""
    metrics: dict[str, float] = {}
    """Metrics of the version on the holdout rows of its own run."""


class StoreFolder(Model):
    """The folder of the pipeline in the artifact store."""

    uri: str
    """URI of the folder. Its last part is derived from the uid of the TrainingPipeline, so that no other pipeline,
    namespace or cluster writes or deletes anything there."""
    secret_ref: SecretRef | None = None
    """Secret in the same namespace with the credentials of the object store. Not set if none are needed."""


class TrainingRunSpec(Model):
    """Inputs and settings of the run, as they were when it started. Cannot be changed."""

    model_config = {"json_schema_extra": IMMUTABLE}

    pipeline: ObjectName
    """Name of the TrainingPipeline that the run belongs to."""
    key: Digest
    """Digest of all inputs that decide the outcome of the run: spec, code, image and data."""
    trigger: Trigger
    """Why the run started."""
    data: Annotated[list[ResolvedData], Field(min_length=1, max_length=16, json_schema_extra=list_map("name"))]
    """Data sets that the run reads."""
    target: str | None = None
    """Name of the column that the model predicts. Not set for unsupervised training."""
    code: ResolvedCode
    """The training code and how it is called."""
    image: str
    """Image that runs the training code."""
    parameters: dict[str, str] = {}
    """Parameters of the training code, as strings."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of the random number generators."""
    allow_pickle: bool = False
    """Whether the model may be stored as a pickle (joblib)."""
    resources: Resources | None = None
    """CPU and memory of the run's pod. If not set, it requests 100m CPU and 256Mi memory and has a memory limit of
    1Gi."""
    node_selector: dict[str, str] = {}
    """Labels that a node must have to run the pod. If not set, any node may run it."""
    tolerations: Annotated[list[Toleration], Field(json_schema_extra=ATOMIC)] = []
    """Taints that the pod tolerates."""
    queue_name: str | None = None
    """Name of the Kueue LocalQueue that admits the run. If not set, the run starts without a queue."""
    service_account_name: ObjectName | None = None
    """Name of the ServiceAccount of the pod. If not set, the default ServiceAccount of the namespace is used."""
    pod: PodSettings | None = None
    """Settings of the run's pod. If not set, nodeSelector, tolerations and serviceAccountName apply."""
    holdout_ratio: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """Share of the rows that are held out from training. All metrics are computed on these rows."""
    split: Split | None = None
    """How rows are divided into training and holdout rows. If not set, exactly holdoutRatio of the rows of each class
    are held out, by a hash of the row's values."""
    gates: Annotated[list[Gate], Field(max_length=20, json_schema_extra=ATOMIC)] = []
    """Conditions that the candidate must meet to be registered."""
    champion: RunChampion | None = None
    """The champion that the candidate is compared with. Not set if there is none."""
    store: StoreFolder
    """The folder of the pipeline in the artifact store, where the version is written."""
    keep: Annotated[list[Digest] | None, Field(json_schema_extra=ATOMIC)] = None
    """Digests of versions that must stay in the store. The run deletes other versions from the folder of this pipeline
    object (store.uri), and nothing elsewhere. If not set, it deletes none."""
    approval: Literal["Automatic", "Manual"] = "Automatic"
    """How a version that passes the gates is approved for deployment. Automatic: it is approved at once, also if there
    are no gates. Manual: it waits for the annotation tidemill.io/approve on the ModelVersion."""
    limits: RunLimits = RunLimits()
    """Limits of the run."""


class RunHoldout(Model):
    """How the split of the run divided the rows."""

    type: str
    """Type of the split: Hash, Group, Time or Column."""
    cut: Annotated[str | None, Field(max_length=CUT_LIMIT)] = None
    """First time that is held out: a number, or a time in UTC. Set only for type Time."""
    groups: dict[str, int] = {}
    """Number of groups used for training (train) and held out (holdout). Set only for type Group."""


class RunResult(Model):
    """Result of the run, as reported by the trainer."""

    digest: Digest | None = None
    """Digest of the candidate's manifest, which lists the digests of all its files."""
    model_digest: Digest | None = None
    """Digest of the model's native form."""
    uri: str | None = None
    """Where the candidate is stored."""
    formats: Annotated[list[str], Field(json_schema_extra=ATOMIC)] = []
    """Forms in which the model is stored: skops, onnx, joblib (a pickle) or program (any other file that a program
    wrote)."""
    task: str | None = None
    """Task of the model: classification, regression, clustering, outlier-detection, transformation or unknown."""
    metrics: dict[str, float] = {}
    """Metrics of the candidate on the holdout rows."""
    champion_metrics: dict[str, float] = {}
    """Metrics of the champion on the same holdout rows."""
    champion_note: str | None = None
    """Why the champion's recorded metrics were used instead of metrics on the same holdout rows. Not set if they were
    not."""
    champion_overlap: Annotated[str | None, Field(max_length=OVERLAP_LIMIT)] = None
    """Why the champion may have been trained on holdout rows of this run, so that its metrics may be too good. Not set
    if it was not, if its recorded metrics were used, or if there is no champion."""
    holdout: RunHoldout | None = None
    """How spec.split divided the rows. Not set if spec.split is not set."""
    rows: dict[str, int] = {}
    """Number of rows used for training (train) and held out (holdout)."""
    holdout_classes: dict[str, int] = {}
    """Number of held-out rows of each class that the model knows, of at most 10 classes, those with the fewest rows.
    Long names are shortened. Not set for other tasks than classification."""
    data: dict[str, str] = {}
    """Revision of each input that was read, by the name of the input."""
    code: str | None = None
    """Digest of the training code that ran."""
    image: str | None = None
    """Image that ran, by digest if the node reported one."""
    frameworks: dict[str, str] = {}
    """Versions of the Python packages that the training used, by the name of the package."""
    onnx: str | None = None
    """Result of comparing the ONNX form with the native form: "verified", or why there is no verified ONNX form."""
    seconds: dict[str, float] = {}
    """Duration of each phase of the run in seconds, by the name of the phase."""
    warnings: Annotated[list[str], Field(json_schema_extra=ATOMIC)] = []
    """Warnings of the trainer."""


class GateVerdict(Model):
    """Result of one gate."""

    metric: str
    """Name of the metric."""
    passed: bool
    """Whether the gate passed."""
    reason: Literal[
        "AboveMin",
        "BelowMin",
        "BelowMax",
        "AboveMax",
        "BetterThanChampion",
        "WorseThanChampion",
        "NoChampion",
        "MetricMissing",
        "MetricOutOfRange",
    ]
    """Reason of the result."""
    value: float | None = None
    """Value of the candidate. Not set if the metric is missing or NaN."""
    threshold: float | None = None
    """Value that the candidate was compared with."""
    message: str
    """Explanation of the result."""


class RunFailure(Model):
    """Why the run failed."""

    category: Annotated[
        FailureCategory,
        Field(
            description="Category of the failure, which says who can fix it: "
            f"{listed(f'{c.name} ({c.means})' for c in CATEGORIES)}."
        ),
    ]
    reason: str
    """Cause of the failure in one CamelCase word."""
    message: Annotated[str, Field(max_length=8192)]
    """Explanation of the cause."""
    log: Annotated[str | None, Field(max_length=8192)] = None
    """Last lines of the pod's log."""


class TrainingRunStatus(Status):
    """Observed state of a TrainingRun."""

    job: str | None = None
    """Name of the Job that executes the run. Not set until the operator writes the status for the first time."""
    start_time: Time | None = None
    """Time when the Job was created."""
    running_since: Time | None = None
    """Time when the first pod of the run started."""
    completion_time: Time | None = None
    """Time when the run ended, successfully or not."""
    result: RunResult | None = None
    """Result of the run, as reported by the trainer."""
    gates: Annotated[list[GateVerdict], Field(json_schema_extra=ATOMIC)] = []
    """Result of each gate."""
    version: str | None = None
    """Name of the ModelVersion that the run registered, or of the existing one with the same content."""
    version_content: Digest | None = None
    """Digest of the spec of the ModelVersion that the run registered. A ModelVersion of that name with another spec is
    not the result of the run. Not set if the run registered none."""
    failure: RunFailure | None = None
    """Why the run failed. Not set if it did not fail."""


_STARTED = "The run was started; its Job has the run's name."


class TrainingRun(Resource):
    """One execution of a TrainingPipeline. Created by the operator; users only read it."""

    INFO: ClassVar[Kind] = Kind(
        kind="TrainingRun",
        plural="trainingruns",
        singular="trainingrun",
        short_names=("tr",),
        description=(
            "TrainingRun records one execution of a TrainingPipeline: why it started, its inputs, its results, and "
            "the results of its gates. The operator creates it."
        ),
        columns=(
            Column("Pipeline", "string", ".spec.pipeline", "Name of the TrainingPipeline."),
            Column("Trigger", "string", ".spec.trigger.type", "What started the run."),
            Column(
                "Succeeded",
                "string",
                '.status.conditions[?(@.type=="Succeeded")].status',
                "Whether the run succeeded (condition Succeeded).",
            ),
            Column(
                "Reason",
                "string",
                '.status.conditions[?(@.type=="Succeeded")].reason',
                "Reason of the Succeeded condition.",
            ),
            Column("Version", "string", ".status.version", "Name of the ModelVersion that the run registered."),
            *TAIL_COLUMNS,
        ),
        default_conditions=(
            DefaultCondition("Ready", "Unknown", "Running", _STARTED),
            DefaultCondition("Reconciling", "True", "Running", _STARTED),
            DefaultCondition("Succeeded", "Unknown", "Running", _STARTED),
        ),
        selectable=(".spec.pipeline", ".spec.trigger.type"),
    )

    kind: Literal["TrainingRun"] = "TrainingRun"
    spec: TrainingRunSpec
    status: TrainingRunStatus = TrainingRunStatus()
