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
from tidemill.api.v1alpha1.training_template import CodeSource, DataSource, Evaluation, RunLimits
from tidemill_contracts.storage import ARTIFACT_SCHEMES, uri_pattern


class Schedule(Model):
    """Runs at fixed times, as a Kubernetes CronJob: only the newest missed time is made up for."""

    cron: Annotated[
        str,
        Field(
            min_length=1,
            max_length=100,
            pattern=r"^(@(yearly|annually|monthly|weekly|daily|midnight|hourly)|\S+( +\S+){4})$",
            description="Five fields (minute hour day-of-month month day-of-week), or @daily and the like.",
            json_schema_extra=rules(
                rule("!self.contains('TZ=')", "cron must not contain TZ= or CRON_TZ=: use timeZone")
            ),
        ),
    ]
    time_zone: Annotated[
        str,
        Field(
            min_length=1,
            max_length=64,
            pattern=r"^[A-Za-z][A-Za-z0-9_+/-]*$",
            description="IANA time zone, for example Europe/Berlin.",
            json_schema_extra=rules(
                rule("self != 'Local'", "timeZone must be an IANA name such as Europe/Berlin, not Local")
            ),
        ),
    ] = "UTC"
    starting_deadline_seconds: Annotated[
        int | None,
        Field(ge=1, le=MAX_SECONDS, description="A missed time older than this is not made up for; absent: always."),
    ] = None


class DataChange(Model):
    """Runs when an input has a new revision."""

    poll_seconds: Annotated[int, Field(ge=10, le=MAX_SECONDS, description="How often the inputs are looked at.")] = 300
    settle_seconds: Annotated[
        int,
        Field(
            ge=0,
            le=MAX_SECONDS,
            description="How long a new revision must stay the same, so that a half-finished upload is not trained on.",
        ),
    ] = 30


class CodeChange(Model):
    """Runs when the content of the code ConfigMap or the image reference changes. No settings."""


class MonitorTrigger(Model):
    """Runs when a ModelMonitor of a deployment of this pipeline asks for it. No settings."""


class Triggers(Model):
    """What starts a run besides the first one, a changed spec and a request by hand."""

    schedule: Annotated[Schedule | None, Field(description="At fixed times.")] = None
    data_change: Annotated[DataChange | None, Field(description="On new data.")] = None
    code_change: Annotated[CodeChange | None, Field(description="On new code.")] = None
    monitors: Annotated[MonitorTrigger | None, Field(description="On request of a ModelMonitor.")] = None
    min_interval_seconds: Annotated[
        int,
        Field(
            ge=0,
            le=MAX_SECONDS,
            description="Shortest time between the starts of two runs, except runs asked for by hand.",
        ),
    ] = 0
    max_runs_per_day: Annotated[
        int | None,
        Field(ge=1, le=200, description="Most runs that start within 24 hours, except runs asked for by hand."),
    ] = None


class History(Model):
    """How many records are kept. A version that is deployed or champion is never removed."""

    runs: Annotated[int, Field(ge=1, le=200, description="Finished TrainingRuns kept.")] = 20
    versions: Annotated[int, Field(ge=1, le=200, description="ModelVersions kept.")] = 10


class Artifacts(Model):
    """Where versions are stored."""

    model_config = {
        "json_schema_extra": rules(
            rule(
                "!has(self.secretRef) || (has(self.uri) && !self.uri.startsWith('pvc://'))",
                "secretRef has an effect only with a uri of s3://, gs:// or az://",
            )
        )
    }

    uri: Annotated[
        str | None,
        Field(
            max_length=2048,
            pattern=uri_pattern(ARTIFACT_SCHEMES),
            description="pvc://claim/path, s3://bucket/prefix, gs://… or az://…; absent: the claim tidemill-artifacts of the namespace.",
        ),
    ] = None
    secret_ref: Annotated[SecretRef | None, Field(description="Secret with the object store's credentials.")] = None


class TrainingPipelineSpec(Model):
    """What is trained, on what, when, and what a candidate must meet."""

    model_config = {
        "json_schema_extra": rules(
            rule(
                "has(self.target) || !has(self.code.entrypoint) || !has(self.evaluation) || !has(self.evaluation.gates) || "
                "size(self.evaluation.gates) == 0 || self.evaluation.gates.all(g, !(g.metric in "
                "['accuracy','balanced_accuracy','f1','roc_auc','log_loss','rmse','mae','r2']))",
                "spec.target must be set: a gate uses a built-in metric, and built-in metrics compare with the target column",
            ),
            rule(
                "has(self.code.configMap) || has(self.code.command) || has(self.image)",
                "spec.code.configMap or spec.image must be set: the default trainer image carries no code",
            ),
            rule(
                "!has(self.parameters) || self.parameters.all(k, size(k) <= 256)",
                "spec.parameters: a name has more than 256 characters",
            ),
            rule(
                "!has(self.parameters) || self.parameters.map(k, size(self.parameters[k])).sum() <= 400000",
                "spec.parameters: the values have more than 400000 characters together",
            ),
            rule(
                "!has(self.triggers.dataChange) || !self.data.all(d, d.uri.startsWith('builtin://'))",
                "spec.triggers.dataChange has no effect: every input is builtin://, which never changes",
            ),
        )
    }

    suspend: Annotated[bool, Field(description="Start no runs; a run in progress goes on.")] = False
    data: Annotated[
        list[DataSource],
        Field(min_length=1, max_length=16, description="The inputs.", json_schema_extra=list_map("name")),
    ]
    target: Annotated[
        str | None,
        Field(min_length=1, max_length=256, description="Column to predict; absent for unsupervised models."),
    ] = None
    code: Annotated[CodeSource, Field(description="The training code.")]
    image: Annotated[
        str | None,
        Field(
            min_length=1, max_length=512, description="Image that runs the code; absent: the operator's trainer image."
        ),
    ] = None
    parameters: Annotated[
        dict[str, Annotated[str, Field(max_length=400_000)]],
        Field(max_length=100, description="Arguments of the function, as strings; its annotations give their types."),
    ] = {}
    seed: Annotated[int, Field(ge=0, le=4294967295, description="Seed of every random choice.")] = 0
    allow_pickle: Annotated[
        bool,
        Field(
            description="Store a model that skops cannot hold safely as a pickle. Loading a pickle runs code: only for code you trust."
        ),
    ] = False
    resources: Annotated[Resources | None, Field(description="CPU and memory of a run.")] = None
    node_selector: Annotated[Labels, Field(description="Labels of nodes that runs may use.")] = {}
    tolerations: Annotated[
        list[Toleration], Field(max_length=50, description="Taints that runs tolerate.", json_schema_extra=ATOMIC)
    ] = []
    queue_name: Annotated[
        str | None, Field(min_length=1, max_length=63, description="Kueue LocalQueue that admits the runs.")
    ] = None
    service_account_name: Annotated[
        ObjectName | None,
        Field(
            description="ServiceAccount of the runs, for image pull secrets and workload identity; its token is not mounted."
        ),
    ] = None
    evaluation: Annotated[Evaluation, Field(description="How a candidate is judged.")] = Evaluation()
    triggers: Annotated[Triggers, Field(description="What starts a run.")] = Triggers()
    approval: Annotated[
        Literal["Automatic", "Manual"],
        Field(
            description="Automatic: a version that passes the gates is approved. Manual: it waits for the annotation tidemill.io/approve."
        ),
    ] = "Automatic"
    run: Annotated[RunLimits, Field(description="Limits of one run.")] = RunLimits()
    history: Annotated[History, Field(description="How many records are kept.")] = History()
    artifacts: Annotated[Artifacts, Field(description="Where versions are stored.")] = Artifacts()


class Observed(Model):
    """Revisions that the last started run used."""

    data: Annotated[dict[str, str], Field(description="Revision by input.")] = {}
    code: Annotated[str | None, Field(description="Digest of the code.")] = None
    image: Annotated[str | None, Field(description="Image reference.")] = None
    spec: Annotated[str | None, Field(description="Digest of the parts of spec that decide the outcome.")] = None


class DataState(Model):
    """What polling last saw of one input."""

    name: Annotated[str, Field(description="Name of the input.")]
    revision: Annotated[str | None, Field(description="Its newest revision.")] = None
    since: Annotated[Time | None, Field(description="Since when it has this revision.")] = None
    error: Annotated[str | None, Field(max_length=1024, description="Why it could not be looked at.")] = None


class ChampionStatus(Model):
    """The newest approved version: what the next candidate is judged against."""

    version: Annotated[str, Field(description="Name of the ModelVersion.")]
    digest: Annotated[Digest, Field(description="Its digest.")]
    metrics: Annotated[dict[str, float], Field(description="Its metrics on the holdout of its own run.")] = {}


class PendingTrigger(Model):
    """A run that will start when the present one has ended or a limit allows it; at most one is kept."""

    type: Annotated[str, Field(description="Kind of the trigger.")]
    message: Annotated[str, Field(max_length=1024, description="What happened.")]
    not_before: Annotated[Time | None, Field(description="Earliest start.")] = None


class TrainingPipelineStatus(Status):
    """What is known of the pipeline."""

    observed: Annotated[Observed | None, Field(description="Revisions of the last started run.")] = None
    data: Annotated[
        list[DataState], Field(description="What polling last saw, by input.", json_schema_extra=list_map("name"))
    ] = []
    last_probe_time: Annotated[Time | None, Field(description="When the inputs were last looked at.")] = None
    champion: Annotated[ChampionStatus | None, Field(description="The newest approved version.")] = None
    latest_version: Annotated[str | None, Field(description="The newest version, approved or not.")] = None
    versions: Annotated[
        int, Field(ge=0, description="Number given to the newest version; numbers are never used again.")
    ] = 0
    active_run: Annotated[str | None, Field(description="The run in progress.")] = None
    last_run: Annotated[str | None, Field(description="The last run that ended.")] = None
    last_run_time: Annotated[Time | None, Field(description="When the last run started.")] = None
    recent_run_times: Annotated[
        list[Time],
        Field(
            max_length=200, description="Starts within the last 24 hours, for maxRunsPerDay.", json_schema_extra=ATOMIC
        ),
    ] = []
    run_keys: Annotated[
        list[str],
        Field(
            max_length=50,
            description="Keys of the last runs, newest last; a key is not trained twice unless asked for.",
            json_schema_extra=ATOMIC,
        ),
    ] = []
    pending_trigger: Annotated[PendingTrigger | None, Field(description="What will start the next run.")] = None
    last_schedule_time: Annotated[Time | None, Field(description="The last scheduled time that was served.")] = None
    schedule: Annotated[str | None, Field(description="The schedule that lastScheduleTime belongs to.")] = None
    next_schedule_time: Annotated[Time | None, Field(description="The next scheduled time.")] = None
    last_successful_time: Annotated[Time | None, Field(description="When the last successful run ended.")] = None
    consecutive_failures: Annotated[
        int, Field(ge=0, description="Runs in a row that failed or were refused by a gate.")
    ] = 0
    last_handled_run_request: Annotated[
        str | None, Field(description="Value of the annotation tidemill.io/run-requested-at that was last served.")
    ] = None
    last_handled_monitor_requests: Annotated[
        dict[str, str], Field(description="Id of the last served retrain request by ModelMonitor.")
    ] = {}


class TrainingPipeline(Resource):
    """Trains a model reproducibly on a schedule, on new data, on new code or on request, and registers what passes its gates."""

    INFO: ClassVar[Kind] = Kind(
        kind="TrainingPipeline",
        plural="trainingpipelines",
        singular="trainingpipeline",
        short_names=("tp",),
        description="TrainingPipeline trains a model again and again, judges each candidate against the champion, and registers what passes.",
        columns=(
            *READY_COLUMNS,
            Column("Champion", "string", ".status.champion.version", "The newest approved version."),
            Column("Active", "string", ".status.activeRun", "The run in progress."),
            Column("Next", "string", ".status.nextScheduleTime", "Next scheduled time.", 1),
            *TAIL_COLUMNS,
        ),
        name_rule=rule("size(self.metadata.name) <= 63", "metadata.name must be no more than 63 characters"),
    )

    kind: Literal["TrainingPipeline"] = "TrainingPipeline"
    spec: TrainingPipelineSpec
    status: TrainingPipelineStatus = TrainingPipelineStatus()
