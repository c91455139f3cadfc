"""ModelDeployment: serves a model version, rolled out step by step."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from tidemill.api.base import (
    ATOMIC,
    DEFAULT_READY,
    MAX_SECONDS,
    PENDING,
    READY_COLUMNS,
    SET,
    TAIL_COLUMNS,
    Column,
    DefaultCondition,
    Digest,
    Kind,
    Model,
    NetworkPolicies,
    ObjectName,
    Ratio,
    Resource,
    Status,
    Time,
    rule,
    rules,
)
from tidemill.api.v1alpha1.access import Access
from tidemill.api.v1alpha1.model_server import RouterSettings, Server
from tidemill.api.v1alpha1.objectives import Objectives, ObjectivesStatus
from tidemill.api.v1alpha1.payload_log import Payloads
from tidemill.api.v1alpha1.rollback import EarlierVersion, FailedVersion, RollbackWindow
from tidemill.api.v1alpha1.rollout_analysis import Analysis, AnalysisStatus, Comparison
from tidemill.api.v1alpha1.router_counters import RouterCounters
from tidemill_contracts.inference import MAX_LOGGED_COLUMNS


class ModelReference(Model):
    """Selects the version that is served."""

    model_config = {
        "json_schema_extra": rules(
            rule(
                "has(self.pipeline) != has(self.version)", "spec.model: exactly one of pipeline and version must be set"
            ),
            rule("!has(self.number) || has(self.pipeline)", "spec.model.number may be set only together with pipeline"),
        )
    }

    pipeline: ObjectName | None = None
    """Name of a TrainingPipeline in the same namespace. If number is not set, the deployment follows the newest
    approved version of this pipeline that was not rolled back. Exactly one of pipeline and version must be set."""
    number: Annotated[int | None, Field(ge=1)] = None
    """Number of the version of the pipeline to serve. The deployment then stays on this version. If not set, the newest
    approved version is served."""
    version: ObjectName | None = None
    """Name of a ModelVersion in the same namespace. The deployment stays on this version. Exactly one of pipeline and
    version must be set."""


class Autoscaling(Model):
    """Scales the number of server pods with their CPU utilization."""

    model_config = {
        "json_schema_extra": rules(
            rule(
                "self.minReplicas <= self.maxReplicas",
                "spec.autoscaling: minReplicas must not be greater than maxReplicas",
            )
        )
    }

    min_replicas: Annotated[int, Field(ge=1, le=1000)] = 1
    """Minimum number of server pods."""
    max_replicas: Annotated[int, Field(ge=1, le=1000)]
    """Maximum number of server pods."""
    target_cpu_utilization: Annotated[int, Field(alias="targetCPUUtilization", ge=1, le=100)] = 70
    """Average CPU utilization of the pods that the autoscaler aims for, in percent of the CPU that they request."""


class Step(Model):
    """One step of a canary rollout."""

    weight: Annotated[int, Field(ge=1, le=100)]
    """Percentage of requests that the candidate receives in this step."""
    duration_seconds: Annotated[int | None, Field(ge=1, le=MAX_SECONDS)] = None
    """Duration of the step in seconds. If not set, the step lasts until the annotation tidemill.io/promote gets a new
    value."""


class Rollout(Model):
    """How a new version replaces the stable version."""

    model_config = {
        "json_schema_extra": rules(
            rule(
                "self.strategy == 'Canary' || (!has(self.steps) || size(self.steps) == 0)",
                "spec.rollout.steps may be set only with strategy Canary",
            ),
            rule(
                "self.strategy == 'Canary' || !has(self.analysis)",
                "spec.rollout.analysis may be set only with strategy Canary",
            ),
            rule(
                "self.strategy != 'Canary' || (has(self.steps) && size(self.steps) > 0)",
                "spec.rollout.steps must have at least one step with strategy Canary",
            ),
            rule(
                "!has(self.steps) || (self.steps.map(s, s.weight).isSorted() && "
                "self.steps.all(s, self.steps.exists_one(t, t.weight == s.weight)))",
                "spec.rollout.steps: weights must increase from step to step",
            ),
            rule(
                "!has(self.analysis) || !has(self.analysis.checks) || !has(self.steps) || size(self.steps) == 0 || "
                "self.steps.exists(s, s.weight < 100) || self.analysis.checks.all(c, !has(c.maxRatioToStable))",
                "spec.rollout.steps: a check with maxRatioToStable needs a step with a weight below 100, because with "
                "100 the stable version gets no requests to compare with",
            ),
        )
    }

    strategy: Literal["Canary", "Immediate"] = "Immediate"
    """How requests move to a new version. Canary: step by step, with automatic analysis and rollback. Immediate: all at
    once, as soon as the pods of the new version are ready."""
    steps: Annotated[list[Step], Field(max_length=20, json_schema_extra=ATOMIC)] = []
    """Steps of a canary rollout, in order. Required with strategy Canary. The weights must increase from step to step.
    After the last step the candidate becomes the stable version and receives all requests."""
    analysis: Analysis | None = None
    """Automatic analysis of the candidate during a canary rollout. If not set, a step ends after its duration, and only
    a candidate whose pods are not ready, or that refuses requests that the stable version takes, is rolled back."""
    signature_changes: Literal["Hold", "Allow"] = "Hold"
    """What happens if a new version requires other columns than the stable version, or takes or returns other types of
    values. Hold: it gets no requests until the annotation tidemill.io/promote names it; then it is rolled out from the
    first step. Allow: it is rolled out like any other version."""
    monitor_rollback: Literal["Never", "Propose", "Act"] = "Propose"
    """What happens if a ModelMonitor finds that the stable version should be rolled back. Never: nothing, and it
    requests none. Propose: the condition RollbackProposed says so, and the annotation tidemill.io/accept-rollback with
    the id of the request carries it out. Act: the deployment returns to the version before at once."""
    rollback_window: RollbackWindow = RollbackWindow()
    """Which earlier versions the deployment returns to without steps, for example when spec.model.number names one or
    the stable version is rejected."""
    progress_deadline_seconds: Annotated[int, Field(ge=10, le=MAX_SECONDS)] = 600
    """Time in seconds within which the pods of a candidate must become ready. If they do not, the candidate is rolled
    back; one that the cluster refuses (quota, image, node, volume) waits, and its time begins when it may start. Pods
    of the stable version that are not ready for longer than this make the deployment Stalled."""


class Logging(Model):
    """What the servers send to a ModelMonitor."""

    sample_ratio: Ratio = 1.0
    """Share of requests whose rows and predictions are sent to the ModelMonitor."""
    payloads: Payloads | None = None
    """Keeps the rows of requests with their answers and labels. The ModelMonitor of this deployment writes them, so
    there has to be one. If not set, no rows are kept."""
    columns: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=256)]],
        Field(max_length=MAX_LOGGED_COLUMNS, json_schema_extra=SET),
    ] = []
    """Columns that requests may have beside those of the model, for example [gender]. The model never gets them; they
    are sent to the ModelMonitor, for spec.fairness, and kept by payloads only where it names them. A request without
    one is answered, too. If not set, there are none."""


class ModelDeploymentSpec(Model):
    """Desired state of a ModelDeployment."""

    model_config = {
        "json_schema_extra": rules(
            rule(
                "!(has(self.replicas) && has(self.autoscaling))",
                "spec: at most one of replicas and autoscaling may be set",
            )
        )
    }

    suspend: bool = False
    """Whether the operator stops changing this deployment. If true, the versions that are served now keep serving, and
    a canary keeps its current weight."""
    model: ModelReference
    """Selects the version that is served. Exactly one of pipeline and version must be set."""
    replicas: Annotated[int | None, Field(ge=0, le=1000)] = None
    """Number of server pods of each version that receives requests. Must not be set together with autoscaling. If
    neither is set, there is 1 pod."""
    autoscaling: Autoscaling | None = None
    """Scales the number of server pods with their CPU utilization, by a HorizontalPodAutoscaler. Must not be set
    together with replicas. If not set, the number of pods is fixed."""
    server: Server = Server()
    """Settings of the model server and its pods."""
    router: RouterSettings | None = None
    """Settings of the router, which splits requests between versions. If not set, there are none."""
    rollout: Rollout = Rollout()
    """How a new version replaces the stable version."""
    access: Access | None = None
    """Keys that clients need. If not set, everybody who reaches the address may call."""
    slo: Objectives | None = None
    """Service level objectives: shares of requests that must succeed and be fast. If not set, nothing is counted."""
    logging: Logging = Logging()
    """What the servers send to a ModelMonitor of this deployment. Has no effect if there is none."""
    network_policies: NetworkPolicies = None


class StableStatus(Model):
    """The version that serves requests."""

    version: str
    """Name of the ModelVersion."""
    digest: Digest
    """Digest of the version."""
    weight: int = 100
    """Percentage of requests that the version receives."""
    since: Time | None = None
    """Time when the version became the stable version."""
    runtime: str | None = None
    """Runtime that executes the model in the servers: ONNX or Native (scikit-learn)."""
    runtime_reason: str | None = None
    """Why the servers use that runtime."""
    batching_reason: str | None = None
    """Why the servers predict the rows of each request separately. Set only if the model is the cause, because its
    prediction for a row depends on the other rows of a batch."""


class CandidateStatus(Model):
    """The version that is being rolled out."""

    version: str
    """Name of the ModelVersion."""
    digest: Digest
    """Digest of the version."""
    weight: int = 0
    """Percentage of requests that the version receives."""
    runtime: str | None = None
    """Runtime that executes the model in the servers: ONNX or Native (scikit-learn)."""
    runtime_reason: str | None = None
    """Why the servers use that runtime."""
    batching_reason: str | None = None
    """Why the servers predict the rows of each request separately. Set only if the model is the cause, because its
    prediction for a row depends on the other rows of a batch."""
    step: int = -1
    """Index of the current step in spec.rollout.steps, starting at 0. -1 while the pods of the candidate are starting
    or it is held."""
    started_at: Time
    """Time when the rollout started, or when the cluster no longer refused its pods."""
    refused_since: Time | None = None
    """Since when the cluster has refused pods of the candidate (quota, image, node, volume). Not set otherwise."""
    held_since: Time | None = None
    """Time since when the pods of the candidate are ready but it gets no requests, because its signature differs from
    the one of the stable version. Not set otherwise."""
    signature_accepted: bool | None = None
    """true if the annotation tidemill.io/promote named the candidate while its signature differed from the one of the
    stable version. Not set otherwise."""
    promote_requested: str | None = None
    """Value of the annotation tidemill.io/promote that was set for this version and waits until its pods are ready. Not
    set otherwise."""
    step_started_at: Time | None = None
    """Time when the current step started."""
    failures: int = 0
    """Number of failed measurements in the current step."""
    successes: int = 0
    """Number of successful measurements in the current step."""
    last_analysis: AnalysisStatus | None = None
    """The last measurement in the current step."""
    comparison: Comparison | None = None
    """What the requests of all steps say about the limits of the analysis. Not set if nothing is compared."""
    attempt: Annotated[int, Field(ge=1)] = 1
    """Number of this rollout of the version. A version that is stopped by a comparison with the stable version alone is
    rolled out a second time before it is recorded as failed."""
    attempt_reason: str | None = None
    """Why the attempt before this one was stopped. Not set in the first attempt."""
    baseline_counters: Annotated[list[RouterCounters] | None, Field(max_length=32, json_schema_extra=ATOMIC)] = None
    """Counters of the router at the start of the current measurement, for each router pod and version. The operator
    continues the measurement from here after a restart. Not set if nothing is measured."""
    baseline: str | None = None
    """Deprecated: use baselineCounters. The same counters as JSON, for operators of version 0.1. Will be removed in
    0.3."""


class ModelDeploymentStatus(Status):
    """Observed state of a ModelDeployment."""

    url: str | None = None
    """URL of the deployment inside the cluster."""
    replicas: Annotated[int, Field(ge=0, le=2147483647)] = 0
    """Number of ready server pods of the stable version."""  # int32, as the scale subresource wants it
    selector: str | None = None
    """Label selector of the stable version's server pods. Autoscalers read it through the scale subresource."""
    stable: StableStatus | None = None
    """The version that serves requests. Not set until the first version has been ready."""
    previous: StableStatus | None = None
    """The version that was stable before the current one."""
    rollback_versions: Annotated[list[EarlierVersion] | None, Field(max_length=10, json_schema_extra=ATOMIC)] = None
    """Versions that were stable before the current one, newest first. A version that the deployment returned from, or
    that was rolled back, is not among them. A rollback returns to the first one that may be served. Not set until a
    version is promoted by an operator that knows this field; then only the previous version counts."""
    candidate: CandidateStatus | None = None
    """The version that is being rolled out. Not set while no rollout is in progress."""
    kept_pickles: Annotated[list[Digest] | None, Field(max_length=2, json_schema_extra=ATOMIC)] = None
    """Digests of versions that are stored as a pickle and were stable or previous before the field
    spec.server.allowPickle existed. Servers load them even if allowPickle is false, until other versions replace
    them."""
    failed_versions: Annotated[list[FailedVersion], Field(max_length=20, json_schema_extra=ATOMIC)] = []
    """Versions that this deployment rolled back, at most 20."""
    unsettled_since: Time | None = None
    """Time since when the pods or routes have not matched the spec while no rollout is in progress. Not set while they
    match."""
    slo: ObjectivesStatus | None = None
    """State of the service level objectives. Set only if spec.slo is."""
    last_handled_promote: str | None = None
    """Last value of the annotation tidemill.io/promote that the operator processed. Not set when the annotation is
    removed. A value longer than 512 characters is stored as its digest."""
    last_handled_abort: str | None = None
    """Last value of the annotation tidemill.io/abort that the operator processed. Not set when the annotation is
    removed. A value longer than 512 characters is stored as its digest."""
    last_handled_retry: str | None = None
    """Last value of the annotation tidemill.io/retry that the operator processed. Not set when the annotation is
    removed. A value longer than 512 characters is stored as its digest."""
    last_handled_rollback: str | None = None
    """Id of the last rollback request of a ModelMonitor that the operator processed."""


class ModelDeployment(Resource):
    """Serves a model version, rolls out new versions step by step with automatic analysis, and rolls back bad ones."""

    INFO: ClassVar[Kind] = Kind(
        kind="ModelDeployment",
        plural="modeldeployments",
        singular="modeldeployment",
        short_names=("md",),
        description=(
            "ModelDeployment serves a model version at a stable address, rolls out new versions step by step, and "
            "rolls back bad ones."
        ),
        columns=(
            *READY_COLUMNS,
            Column("Version", "string", ".status.stable.version", "Name of the stable version, which serves requests."),
            Column("Candidate", "string", ".status.candidate.version", "Name of the version that is being rolled out."),
            Column(
                "Weight", "integer", ".status.candidate.weight", "Percentage of requests that the candidate receives."
            ),
            Column("URL", "string", ".status.url", "URL of the deployment inside the cluster."),
            *TAIL_COLUMNS,
        ),
        default_conditions=(DEFAULT_READY, DefaultCondition("Available", "Unknown", PENDING, "Not known yet")),
        scale=True,
        name_rule=rule(
            "self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$') && size(self.metadata.name) <= 63",
            "metadata.name must be a valid Service name: at most 63 characters of a-z, 0-9 and '-', starting with "
            "a letter",
        ),
    )

    kind: Literal["ModelDeployment"] = "ModelDeployment"
    spec: ModelDeploymentSpec
    status: ModelDeploymentStatus = ModelDeploymentStatus()
