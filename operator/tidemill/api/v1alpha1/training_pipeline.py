"""TrainingPipeline: how a model is made, again and again."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from tidemill.api.base import (
    ATOMIC,
    MAX_SECONDS,
    READY_COLUMNS,
    TAIL_COLUMNS,
    Column,
    Digest,
    Kind,
    Labels,
    Model,
    ObjectName,
    Resource,
    Resources,
    SecretRef,
    Status,
    Time,
    Toleration,
    list_map,
    rule,
    rules,
)
from tidemill.api.v1alpha1.pod_settings import PodSettings
from tidemill.api.v1alpha1.rejected_content import RejectedContent
from tidemill.api.v1alpha1.store_records import Records
from tidemill.api.v1alpha1.training_template import CodeSource, DataSource, Evaluation, RunLimits, any_of, none_of
from tidemill_contracts import schemes
from tidemill_contracts.model_metrics import RESERVED

_KEYLESS_STORES = tuple(s for s in schemes.ARTIFACT_SCHEMES if not schemes.BY_NAME[s].secret)
_FIXED_DATA = tuple(s.name for s in schemes.SCHEMES if "data" in s.uses and s.probed_by == "nobody")


class Schedule(Model):
    """Starts runs at fixed times, like a Kubernetes CronJob."""

    cron: Annotated[
        str,
        Field(
            min_length=1,
            max_length=100,
            pattern=r"^(@(yearly|annually|monthly|weekly|daily|midnight|hourly)|\S+( +\S+){4})$",
            json_schema_extra=rules(
                rule("!self.contains('TZ=')", "cron must not contain TZ= or CRON_TZ=; use timeZone instead")
            ),
        ),
    ]
    """Schedule in cron format: minute, hour, day of month, month and day of week; or one of @hourly, @daily, @midnight,
    @weekly, @monthly, @yearly and @annually."""
    time_zone: Annotated[
        str,
        Field(
            min_length=1,
            max_length=64,
            pattern=r"^[A-Za-z][A-Za-z0-9_+/-]*$",
            json_schema_extra=rules(
                rule("self != 'Local'", "timeZone must be an IANA name such as Europe/Berlin, not Local")
            ),
        ),
    ] = "UTC"
    """Time zone of the schedule: an IANA name, for example Europe/Berlin."""
    starting_deadline_seconds: Annotated[int | None, Field(ge=1, le=MAX_SECONDS)] = None
    """Maximum age in seconds of a missed time for its run still to be started. If not set, the run of the newest missed
    time is always started."""


class DataChange(Model):
    """Starts a run when an input has a new revision."""

    poll_seconds: Annotated[int, Field(ge=10, le=MAX_SECONDS)] = 300
    """Interval in seconds at which external inputs are checked for new data. ConfigMaps are watched instead."""
    settle_seconds: Annotated[int, Field(ge=0, le=MAX_SECONDS)] = 30
    """Time in seconds that a new revision must stay unchanged before a run starts, so that a run does not read an
    incomplete upload."""


class CodeChange(Model):
    """Starts a run when the training code changes. Has no settings."""


class MonitorTrigger(Model):
    """Starts a run when a ModelMonitor requests it. Has no settings."""


class Triggers(Model):
    """What starts a run, besides the first run, a change of the spec and a request by annotation."""

    schedule: Schedule | None = None
    """Starts runs at fixed times, like a Kubernetes CronJob. If several times were missed, one run is started for the
    newest of them. If not set, there is no schedule."""
    data_change: DataChange | None = None
    """Starts a run when an input has new data. If not set, new data starts no run."""
    code_change: CodeChange | None = None
    """Starts a run when the content of the code's ConfigMap changes. If not set, changed code starts no run."""
    monitors: MonitorTrigger | None = None
    """Starts a run when a ModelMonitor of a deployment of this pipeline requests it, unless data, code and spec are
    those of an earlier run: then the request waits for a change. If not set, such requests start no run."""
    min_interval_seconds: Annotated[int, Field(ge=0, le=MAX_SECONDS)] = 0
    """Minimum time in seconds between the starts of two runs. Runs that are requested by annotation are not limited."""
    max_runs_per_day: Annotated[int | None, Field(ge=1, le=200)] = None
    """Maximum number of runs that start within 24 hours. Runs that are requested by annotation are not limited and do
    not count. If not set, there is no limit."""


class History(Model):
    """How many finished runs and versions are kept."""

    runs: Annotated[int, Field(ge=1, le=200)] = 20
    """Number of finished TrainingRuns to keep. Older ones are deleted."""
    versions: Annotated[int, Field(ge=1, le=200)] = 10
    """Number of ModelVersions to keep. Older ones are deleted, except the champion and versions that a ModelDeployment
    uses."""


class Store(Model):
    """Where versions are stored."""

    model_config = {
        "json_schema_extra": rules(
            rule(
                f"!has(self.secretRef) || (has(self.uri) && {none_of(_KEYLESS_STORES)})",
                f"secretRef may be set only with a uri of {schemes.prefixes(schemes.with_secret('artifacts'))}",
            )
        )
    }

    uri: Annotated[
        str | None,
        Field(
            max_length=2048,
            pattern=schemes.uri_pattern("artifacts"),
            description=f"Location of the artifact store: {schemes.listed(schemes.forms('artifacts'))}. If not set, "
            "the PersistentVolumeClaim tidemill-artifacts of the namespace is used and created if necessary. The "
            "operator can be configured to use another name.",
        ),
    ] = None
    secret_ref: SecretRef | None = None
    """Secret in the same namespace with the credentials of the object store. Must not be set with pvc://. If not set,
    no Secret is used."""


class Artifacts(Store):
    """Where versions are stored."""

    restore: Literal["Auto", "Never"] = "Auto"
    """Whether a new pipeline looks for the records of earlier versions of its name in the store. Auto: it registers
    them again, with their numbers, decisions and rollbacks, before the first run starts; this needs
    a record key in the operator (TIDEMILL_RECORD_KEYS). Never: it begins with version 1."""


class TrainingPipelineSpec(Model):
    """Desired state of a TrainingPipeline."""

    model_config = {
        "json_schema_extra": rules(
            rule(
                "!has(self.pod) || !(has(self.nodeSelector) || has(self.tolerations) || has(self.serviceAccountName))",
                "spec.pod must not be set together with spec.nodeSelector, spec.tolerations or "
                "spec.serviceAccountName; write these inside spec.pod",
            ),
            rule(
                "has(self.target) || !has(self.code.entrypoint) || !has(self.evaluation) || "
                "!has(self.evaluation.gates) || "
                "size(self.evaluation.gates) == 0 || self.evaluation.gates.all(g, !(g.metric in "
                f"[{','.join(map(repr, RESERVED))}]))",
                "spec.target must be set because a gate uses a built-in metric, which is computed from the target "
                "column",
            ),
            rule(
                "!has(self.target) || !has(self.evaluation) || !has(self.evaluation.split) || "
                "!has(self.evaluation.split.column) || self.evaluation.split.column != self.target",
                "spec.evaluation.split.column must not be the target column",
            ),
            rule(
                "has(self.code.configMap) || has(self.code.command) || has(self.image)",
                "spec.code.configMap or spec.image must be set because the default trainer image contains no "
                "training code",
            ),
            rule(
                "!has(self.parameters) || self.parameters.all(k, size(k) <= 256)",
                "spec.parameters: names must have at most 256 characters",
            ),
            rule(
                "!has(self.parameters) || self.parameters.map(k, size(self.parameters[k])).sum() <= 400000",
                "spec.parameters: the values together must have at most 400000 characters",
            ),
            rule(
                f"!has(self.triggers.dataChange) || !self.data.all(d, {any_of(_FIXED_DATA, 'd.uri')})",
                f"spec.triggers.dataChange must not be set if all inputs are {schemes.prefixes(_FIXED_DATA)}, because "
                "these never change",
            ),
        )
    }

    suspend: bool = False
    """Whether the pipeline stops starting runs. A run in progress continues."""
    data: Annotated[list[DataSource], Field(min_length=1, max_length=16, json_schema_extra=list_map("name"))]
    """Data sets that a run reads."""
    target: Annotated[str | None, Field(min_length=1, max_length=256)] = None
    """Name of the column that the model predicts. If not set, the model is trained without a target column
    (unsupervised)."""
    code: CodeSource
    """The training code and how it is called."""
    image: Annotated[str | None, Field(min_length=1, max_length=512)] = None
    """Image that runs the training code. If not set, the operator's default trainer image is used."""
    parameters: Annotated[dict[str, Annotated[str, Field(max_length=400_000)]], Field(max_length=100)] = {}
    """Parameters of the training code, as strings. A Python function receives them as keyword arguments, converted to
    the types of its annotations. A program finds them in config.json."""
    seed: Annotated[int, Field(ge=0, le=4294967295)] = 0
    """Seed of the random number generators."""
    allow_pickle: bool = False
    """Whether a model that cannot be stored in the safe skops format may be stored as a pickle (joblib). Loading a
    pickle runs code, so set this to true only for training code that you trust. If false, a run with such a model
    fails."""
    resources: Resources | None = None
    """CPU and memory of a run's pod. If not set, it requests 100m CPU and 256Mi memory and has a memory limit of
    1Gi."""
    node_selector: Labels = {}
    """Labels that a node must have to run the pods of this pipeline. Must not be set together with pod. If not set,
    any node may run them."""
    tolerations: Annotated[list[Toleration], Field(max_length=50, json_schema_extra=ATOMIC)] = []
    """Taints that the pods of this pipeline tolerate. Must not be set together with pod."""
    queue_name: Annotated[str | None, Field(min_length=1, max_length=63)] = None
    """Name of the Kueue LocalQueue that admits the runs. If not set, runs start without a queue."""
    service_account_name: ObjectName | None = None
    """Name of the ServiceAccount of the run's pods, for image pull secrets and workload identity. Its token is not
    mounted. Must not be set together with pod. If not set, the default ServiceAccount of the namespace is used."""
    evaluation: Evaluation = Evaluation()
    """How a candidate is evaluated."""
    triggers: Triggers = Triggers()
    """What starts a run, besides the first run, a change of the spec and a request by the annotation
    tidemill.io/run-requested-at."""
    approval: Literal["Automatic", "Manual"] = "Automatic"
    """How a version that passes the gates is approved for deployment. Automatic: it is approved at once, also if there
    are no gates. Manual: it waits for the annotation tidemill.io/approve on the ModelVersion."""
    run: RunLimits = RunLimits()
    """Limits of one run."""
    pod: PodSettings | None = None
    """Settings of the pods of this pipeline: those of its runs, and short ones that look for new data or keep the
    records in its store. Must not be set together with nodeSelector, tolerations or serviceAccountName. If not set,
    these three apply."""
    history: History = History()
    """How many finished runs and versions are kept."""
    artifacts: Artifacts = Artifacts()
    """Where versions are stored. If not set, in a PersistentVolumeClaim of the namespace."""


class Observed(Model):
    """Inputs that the last started run used."""

    data: dict[str, str] = {}
    """Revision of each input, by the name of the input."""
    code: str | None = None
    """Digest of the training code."""
    image: str | None = None
    """Image that ran the training code."""
    spec: str | None = None
    """Digest of the parts of the spec that decide the outcome of a run."""


class DataState(Model):
    """The newest known state of one input."""

    name: str
    """Name of the input."""
    revision: str | None = None
    """Newest revision of the input. It changes when the content of the input changes."""
    since: Time | None = None
    """Time since when the input has had this revision."""
    error: Annotated[str | None, Field(max_length=1024)] = None
    """Why the last check of the input failed. Not set if it succeeded."""


class ChampionStatus(Model):
    """The champion: the newest approved version that was not rolled back. Candidates are compared with it."""

    version: str
    """Name of the ModelVersion."""
    digest: Digest
    """Digest of the version."""
    metrics: dict[str, float] = {}
    """Metrics of the version on the holdout rows of its own run."""


class PendingTrigger(Model):
    """The next run, while it waits for the current run to end or for a limit. At most one run waits."""

    type: str
    """What triggered the run, for example ScheduleDue."""
    message: Annotated[str, Field(max_length=1024)]
    """Explanation of the trigger."""
    not_before: Time | None = None
    """Earliest time at which the run can start. Not set if it starts when the current run ends."""


class TrainingPipelineStatus(Status):
    """Observed state of a TrainingPipeline."""

    observed: Observed | None = None
    """Inputs that the last started run used. A new run starts when they change, as configured in spec.triggers."""
    data: Annotated[list[DataState], Field(json_schema_extra=list_map("name"))] = []
    """Newest known state of each input that can change. Set only if spec.triggers.dataChange is set."""
    last_probe_time: Time | None = None
    """Time when external inputs were last checked for new data."""
    champion: ChampionStatus | None = None
    """The newest approved version that was not rolled back. Candidates are compared with it."""
    latest_version: str | None = None
    """Name of the newest version, approved or not."""
    versions: Annotated[int, Field(ge=0)] = 0
    """Number of the newest version so far. Numbers are not used again."""
    active_run: str | None = None
    """Name of the run in progress."""
    last_run: str | None = None
    """Name of the last run that ended."""
    last_run_time: Time | None = None
    """Time when the last run started."""
    recent_run_times: Annotated[list[Time], Field(max_length=200, json_schema_extra=ATOMIC)] = []
    """Start times of the runs within the last 24 hours. Set only if spec.triggers.maxRunsPerDay is set."""
    run_keys: Annotated[list[str], Field(max_length=50, json_schema_extra=ATOMIC)] = []
    """Keys of the last runs, newest last, at most 50. A key is the digest of all inputs of a run. Inputs that were
    tried are not tried again unless a run is requested by annotation, is scheduled, or follows a failure of the
    infrastructure."""
    pending_trigger: PendingTrigger | None = None
    """The next run, while it waits for the current run to end or for a limit."""
    last_schedule_time: Time | None = None
    """Last scheduled time for which a run was started."""
    schedule: str | None = None
    """Schedule and time zone from which nextScheduleTime was computed."""
    next_schedule_time: Time | None = None
    """Next scheduled time."""
    last_successful_time: Time | None = None
    """Time when the last successful run ended."""
    consecutive_failures: Annotated[int, Field(ge=0)] = 0
    """Number of consecutive runs that failed or were rejected by a gate."""
    rejected: Annotated[list[RejectedContent], Field(max_length=100)] = []
    """Content that a person has rejected, by digest, also of versions that were removed since; at most the newest 100.
    A version with such content is not approved automatically."""
    records: Records | None = None
    """Records of versions in the artifact store. Not set if the operator has no record key."""
    last_handled_run_request: str | None = None
    """Last value of the annotation tidemill.io/run-requested-at that the operator processed. Not set when the
    annotation is removed."""
    last_handled_monitor_requests: dict[str, str] = {}
    """Id of the last retrain request that was processed, by the name of the ModelMonitor."""


class TrainingPipeline(Resource):
    """Trains a model reproducibly on a schedule, on new data, on new code or on request, and registers versions that
    pass the gates."""

    INFO: ClassVar[Kind] = Kind(
        kind="TrainingPipeline",
        plural="trainingpipelines",
        singular="trainingpipeline",
        short_names=("tp",),
        description=(
            "TrainingPipeline trains a model on a schedule, on new data, on new code or on request, compares each "
            "candidate with the champion, and registers candidates that pass the gates as ModelVersions."
        ),
        columns=(
            *READY_COLUMNS,
            Column(
                "Champion",
                "string",
                ".status.champion.version",
                "Name of the champion, the newest approved version that was not rolled back.",
            ),
            Column("Active", "string", ".status.activeRun", "Name of the run in progress."),
            Column("Next", "string", ".status.nextScheduleTime", "Next scheduled time.", 1),
            *TAIL_COLUMNS,
        ),
        name_rule=rule("size(self.metadata.name) <= 63", "metadata.name must have at most 63 characters"),
    )

    kind: Literal["TrainingPipeline"] = "TrainingPipeline"
    spec: TrainingPipelineSpec
    status: TrainingPipelineStatus = TrainingPipelineStatus()
