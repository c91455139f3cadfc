"""ModelDeployment: a model on an address, rolled out step by step."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from tidemill.api.base import (
    ATOMIC,
    BORN_READY,
    MAX_SECONDS,
    PENDING,
    READY_COLUMNS,
    TAIL_COLUMNS,
    Born,
    Column,
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
from tidemill.api.v1alpha1.model_server import Server


class ModelReference(Model):
    """Which version is served."""

    model_config = {
        "json_schema_extra": rules(
            rule(
                "has(self.pipeline) != has(self.version)", "spec.model: exactly one of pipeline and version must be set"
            ),
            rule(
                "!has(self.number) || has(self.pipeline)", "spec.model.number has an effect only together with pipeline"
            ),
        )
    }

    pipeline: Annotated[
        ObjectName | None, Field(description="Follow the newest approved version of this TrainingPipeline.")
    ] = None
    number: Annotated[int | None, Field(ge=1, description="Stay on this version number of the pipeline.")] = None
    version: Annotated[ObjectName | None, Field(description="Serve the ModelVersion of this name.")] = None


class Autoscaling(Model):
    """Replicas by load; the operator then leaves the number of replicas to the autoscaler."""

    model_config = {
        "json_schema_extra": rules(
            rule("self.minReplicas <= self.maxReplicas", "spec.autoscaling: minReplicas must not be above maxReplicas")
        )
    }

    min_replicas: Annotated[int, Field(ge=1, le=1000, description="Fewest replicas.")] = 1
    max_replicas: Annotated[int, Field(ge=1, le=1000, description="Most replicas.")]
    target_cpu_utilization: Annotated[
        int, Field(alias="targetCPUUtilization", ge=1, le=100, description="Percentage of the requested CPU to aim at.")
    ] = 70


class Step(Model):
    """One step of a canary."""

    weight: Annotated[int, Field(ge=1, le=100, description="Percentage of requests that the candidate answers.")]
    duration_seconds: Annotated[
        int | None,
        Field(ge=1, le=MAX_SECONDS, description="How long; absent: until the annotation tidemill.io/promote is set."),
    ] = None


class Check(Model):
    """One check of the candidate, from the router's own figures."""

    model_config = {
        "json_schema_extra": rules(
            rule(
                "has(self.max) || has(self.maxRatioToStable)",
                "check: at least one of max and maxRatioToStable must be set",
            )
        )
    }

    metric: Annotated[
        Literal["ErrorRatio", "LatencyP50Milliseconds", "LatencyP95Milliseconds", "LatencyP99Milliseconds"],
        Field(
            description="ErrorRatio (0 to 1), LatencyP50Milliseconds, LatencyP95Milliseconds or LatencyP99Milliseconds."
        ),
    ]
    max: Annotated[float | None, Field(ge=0, description="Largest passing value.")] = None
    max_ratio_to_stable: Annotated[
        float | None,
        Field(gt=0, description="Largest passing ratio to the stable version's value in the same interval."),
    ] = None


class Analysis(Model):
    """When a candidate is good enough to go on."""

    interval_seconds: Annotated[int, Field(ge=1, le=3600, description="Time between two measurements.")] = 15
    min_requests: Annotated[
        int,
        Field(
            ge=1, le=1_000_000_000, description="Requests to the candidate in an interval; with fewer it is not judged."
        ),
    ] = 50
    no_traffic: Annotated[
        Literal["Wait", "Proceed"],
        Field(description="What happens at the end of a step that had too few requests: Wait for more, or Proceed."),
    ] = "Wait"
    failure_limit: Annotated[
        int, Field(ge=1, le=100, description="Failed measurements in one step that roll the candidate back.")
    ] = 2
    checks: Annotated[
        list[Check], Field(min_length=1, max_length=10, description="All must pass.", json_schema_extra=ATOMIC)
    ]


class Rollout(Model):
    """How a new version replaces the stable one."""

    model_config = {
        "json_schema_extra": rules(
            rule(
                "self.strategy == 'Canary' || (!has(self.steps) || size(self.steps) == 0)",
                "spec.rollout.steps has an effect only with strategy Canary",
            ),
            rule(
                "self.strategy == 'Canary' || !has(self.analysis)",
                "spec.rollout.analysis has an effect only with strategy Canary",
            ),
            rule(
                "self.strategy != 'Canary' || (has(self.steps) && size(self.steps) > 0)",
                "spec.rollout.steps must have at least one step with strategy Canary",
            ),
            rule(
                "!has(self.steps) || (self.steps.map(s, s.weight).isSorted() && "
                "self.steps.all(s, self.steps.exists_one(t, t.weight == s.weight)))",
                "spec.rollout.steps: weights must rise from step to step",
            ),
        )
    }

    strategy: Annotated[
        Literal["Canary", "Immediate"],
        Field(
            description="Canary: by steps, with analysis and roll-back. Immediate: all requests as soon as the new version is ready."
        ),
    ] = "Immediate"
    steps: Annotated[
        list[Step],
        Field(
            max_length=20,
            description="Steps of a canary; after the last one the candidate gets all requests.",
            json_schema_extra=ATOMIC,
        ),
    ] = []
    analysis: Annotated[
        Analysis | None, Field(description="Automatic judgement; absent: only time and pods count.")
    ] = None
    progress_deadline_seconds: Annotated[
        int,
        Field(
            ge=10, le=MAX_SECONDS, description="A candidate whose pods are not ready within this time is rolled back."
        ),
    ] = 600


class Logging(Model):
    """What the servers report to a ModelMonitor."""

    sample_ratio: Annotated[Ratio, Field(description="Share of requests whose rows are reported, 0 to 1.")] = 1.0


class ModelDeploymentSpec(Model):
    """What is served and how it changes."""

    model_config = {
        "json_schema_extra": rules(
            rule(
                "!(has(self.replicas) && has(self.autoscaling))",
                "spec: at most one of replicas and autoscaling may be set",
            )
        )
    }

    suspend: Annotated[
        bool, Field(description="Change nothing: keep serving what is served now, hold a canary at its present weight.")
    ] = False
    model: Annotated[ModelReference, Field(description="Which version is served.")]
    replicas: Annotated[
        int | None, Field(ge=0, le=1000, description="Number of server pods; absent: 1, or as autoscaling decides.")
    ] = None
    autoscaling: Annotated[Autoscaling | None, Field(description="Replicas by load.")] = None
    server: Annotated[Server, Field(description="The model server's pods.")] = Server()
    rollout: Annotated[Rollout, Field(description="How a new version replaces the stable one.")] = Rollout()
    logging: Annotated[Logging, Field(description="What is reported to a ModelMonitor.")] = Logging()
    network_policies: NetworkPolicies = None


class StableStatus(Model):
    """The version that answers requests."""

    version: Annotated[str, Field(description="Name of the ModelVersion.")]
    digest: Annotated[Digest, Field(description="Its digest.")]
    weight: Annotated[int, Field(description="Percentage of requests.")] = 100
    since: Annotated[Time | None, Field(description="Since when it is the stable version.")] = None
    runtime: Annotated[str | None, Field(description="What its servers run: ONNX or Native (scikit-learn).")] = None
    runtime_reason: Annotated[str | None, Field(description="Why that runtime, as half a sentence.")] = None
    batching_reason: Annotated[
        str | None,
        Field(description="Why its servers answer each request alone, where that is so because of the model."),
    ] = None


class CheckResult(Model):
    """The outcome of one check."""

    metric: Annotated[str, Field(description="The metric.")]
    verdict: Annotated[Literal["Successful", "Failed", "Inconclusive", "Error"], Field(description="The outcome.")]
    value: Annotated[float | None, Field(description="The candidate's value.")] = None
    stable_value: Annotated[float | None, Field(description="The stable version's value.")] = None
    limit: Annotated[float | None, Field(description="The limit that counted.")] = None


class AnalysisStatus(Model):
    """The last measurement."""

    time: Annotated[Time, Field(description="When.")]
    since: Annotated[
        Time, Field(description="Start of what was measured; a stretch with too few requests is carried on.")
    ]
    verdict: Annotated[
        Literal["Successful", "Failed", "Inconclusive", "Error"],
        Field(description="Successful; Failed; Inconclusive: too few requests; Error: the figures could not be read."),
    ]
    requests: Annotated[int, Field(description="Requests that the candidate answered in the interval.")] = 0
    message: Annotated[str, Field(description="As a sentence.")]
    checks: Annotated[list[CheckResult], Field(description="By check.", json_schema_extra=ATOMIC)] = []


class CandidateStatus(Model):
    """The version that is being rolled out."""

    version: Annotated[str, Field(description="Name of the ModelVersion.")]
    digest: Annotated[Digest, Field(description="Its digest.")]
    weight: Annotated[int, Field(description="Percentage of requests.")] = 0
    runtime: Annotated[str | None, Field(description="What its servers run: ONNX or Native (scikit-learn).")] = None
    runtime_reason: Annotated[str | None, Field(description="Why that runtime, as half a sentence.")] = None
    batching_reason: Annotated[
        str | None,
        Field(description="Why its servers answer each request alone, where that is so because of the model."),
    ] = None
    step: Annotated[int, Field(description="Index of the step; -1: its pods are starting.")] = -1
    started_at: Annotated[Time, Field(description="When the roll-out started.")]
    step_started_at: Annotated[Time | None, Field(description="When the step started.")] = None
    failures: Annotated[int, Field(description="Failed measurements in this step.")] = 0
    successes: Annotated[int, Field(description="Successful measurements in this step.")] = 0
    last_analysis: Annotated[AnalysisStatus | None, Field(description="The last measurement.")] = None
    baseline: Annotated[
        str | None,
        Field(
            description="Router figures at the start of the stretch under measurement, for the operator itself: a new leader goes on from them."
        ),
    ] = None


class FailedVersion(Model):
    """A version that was taken back; not tried again until what is rolled out changes or a person asks."""

    version: Annotated[str, Field(description="Name of the ModelVersion.")]
    digest: Annotated[Digest, Field(description="Its digest.")]
    reason: Annotated[str, Field(description="Why, one word.")]
    message: Annotated[str, Field(description="Why, as a sentence.")]
    time: Annotated[Time, Field(description="When.")]
    spec: Annotated[
        str,
        Field(
            max_length=71,
            description="Digest of the parts of spec that decide what is rolled out: all but suspend, replicas, autoscaling, logging and networkPolicies.",
        ),
    ] = ""


class ModelDeploymentStatus(Status):
    """What is served now."""

    url: Annotated[str | None, Field(description="Address inside the cluster.")] = None
    replicas: Annotated[
        int, Field(ge=0, le=2147483647, description="Server pods of the stable version that are ready.")
    ] = 0  # int32, as the scale subresource wants it
    selector: Annotated[
        str | None, Field(description="Label selector of the stable version's pods, for autoscalers.")
    ] = None
    stable: Annotated[StableStatus | None, Field(description="The version that answers requests.")] = None
    previous: Annotated[
        StableStatus | None, Field(description="The stable version before; where a roll-back goes.")
    ] = None
    candidate: Annotated[CandidateStatus | None, Field(description="The version that is being rolled out.")] = None
    kept_pickles: Annotated[
        list[Digest] | None,
        Field(
            max_length=2,
            description="Digests of versions with a pickle that were stable or previous before spec.server.allowPickle existed: they are loaded without it until another version takes their place.",
            json_schema_extra=ATOMIC,
        ),
    ] = None
    failed_versions: Annotated[
        list[FailedVersion], Field(max_length=20, description="Versions taken back.", json_schema_extra=ATOMIC)
    ] = []
    unsettled_since: Annotated[
        Time | None,
        Field(
            description="Since when pods or routes have not been as the spec says although no version is being rolled out; absent while they are."
        ),
    ] = None
    last_handled_promote: Annotated[
        str | None,
        Field(
            description="Value of the annotation tidemill.io/promote that was last served; of more than 512 characters its digest."
        ),
    ] = None
    last_handled_abort: Annotated[
        str | None,
        Field(
            description="Value of the annotation tidemill.io/abort that was last served; of more than 512 characters its digest."
        ),
    ] = None
    last_handled_retry: Annotated[
        str | None,
        Field(
            description="Value of the annotation tidemill.io/retry that was last served; of more than 512 characters its digest."
        ),
    ] = None
    last_handled_rollback: Annotated[
        str | None, Field(description="Id of the monitor's roll-back request that was last served.")
    ] = None


class ModelDeployment(Resource):
    """Puts a model version on an address, rolls new ones out step by step with analysis, and takes bad ones back."""

    INFO: ClassVar[Kind] = Kind(
        kind="ModelDeployment",
        plural="modeldeployments",
        singular="modeldeployment",
        short_names=("md",),
        description="ModelDeployment puts a model version on an address, rolls new versions out step by step, and takes bad ones back.",
        columns=(
            *READY_COLUMNS,
            Column("Version", "string", ".status.stable.version", "The version that answers requests."),
            Column("Candidate", "string", ".status.candidate.version", "The version that is being rolled out."),
            Column(
                "Weight", "integer", ".status.candidate.weight", "Percentage of requests that the candidate answers."
            ),
            Column("URL", "string", ".status.url", "Address inside the cluster."),
            *TAIL_COLUMNS,
        ),
        born=(BORN_READY, Born("Available", "Unknown", PENDING, "Not known yet")),
        scale=True,
        name_rule=rule(
            "self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$') && size(self.metadata.name) <= 63",
            "metadata.name becomes the name of a Service: at most 63 characters, a-z, 0-9 and '-', starting with a letter",
        ),
    )

    kind: Literal["ModelDeployment"] = "ModelDeployment"
    spec: ModelDeploymentSpec
    status: ModelDeploymentStatus = ModelDeploymentStatus()
