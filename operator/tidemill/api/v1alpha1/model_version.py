"""ModelVersion: an immutable, numbered, content-addressed model with its lineage."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from tidemill.api.base import (
    ATOMIC,
    BORN_READY,
    PENDING,
    SET,
    TAIL_COLUMNS,
    UNCHANGED,
    Born,
    Column,
    Digest,
    Kind,
    Model,
    ObjectName,
    Resource,
    SecretRef,
    Status,
    Time,
    rule,
    rules,
)
from tidemill_contracts.storage import ARTIFACT_SCHEMES, URI_LIMIT, uri_pattern


class ModelColumn(Model):
    """One input or output."""

    name: Annotated[str, Field(description="Name of the column.")]
    datatype: Annotated[str, Field(description="Open Inference Protocol data type: BOOL, INT64, FP64, BYTES, …")]
    shape: Annotated[list[int], Field(description="Shape; -1 is the number of rows.", json_schema_extra=ATOMIC)] = [-1]


class ModelSignature(Model):
    """What the model takes and gives."""

    inputs: Annotated[
        list[ModelColumn], Field(max_length=2000, description="Inputs in order.", json_schema_extra=ATOMIC)
    ]
    outputs: Annotated[
        list[ModelColumn], Field(max_length=100, description="Outputs in order.", json_schema_extra=ATOMIC)
    ]


class VersionLineage(Model):
    """Everything that decided what this model is."""

    run: Annotated[ObjectName, Field(description="The TrainingRun.")]
    trigger: Annotated[str, Field(description="Why that run started.")]
    key: Annotated[Digest, Field(description="Digest of everything that decides the outcome.")]
    data: Annotated[dict[str, str], Field(description="Revision by input.")]
    code: Annotated[str, Field(description="Digest of the code.")]
    image: Annotated[str, Field(description="Image that trained it.")]
    parameters: Annotated[dict[str, str], Field(description="Arguments of the function.")] = {}
    seed: Annotated[int, Field(description="Seed.")] = 0
    frameworks: Annotated[dict[str, str], Field(description="Version by package.")] = {}
    parent: Annotated[str | None, Field(description="The champion it was judged against.")] = None


class ModelVersionSpec(Model):
    """The version's content and origin."""

    model_config = {
        "json_schema_extra": rules(
            UNCHANGED, rule("!self.uri.matches('/[.][.](/|$)')", "spec.uri: '..' is not allowed in a path")
        )
    }

    pipeline: Annotated[ObjectName, Field(description="The TrainingPipeline.")]
    number: Annotated[int, Field(ge=1, description="Number within the pipeline; never used again.")]
    digest: Annotated[Digest, Field(description="Digest of the manifest, which holds the digest of every file.")]
    model_digest: Annotated[Digest, Field(description="Digest of the model's native form.")]
    uri: Annotated[
        str,
        Field(
            max_length=URI_LIMIT,
            pattern=uri_pattern(ARTIFACT_SCHEMES),
            description="Where it is stored: pvc://claim/path, s3://bucket/prefix, gs://… or az://….",
        ),
    ]
    secret_ref: Annotated[SecretRef | None, Field(description="Secret with the store's credentials.")] = None
    formats: Annotated[
        list[str],
        Field(min_length=1, description="Forms of the model: skops, onnx, joblib, program.", json_schema_extra=SET),
    ]
    task: Annotated[
        str, Field(description="classification, regression, clustering, outlier-detection, transformation or unknown.")
    ]
    onnx: Annotated[str | None, Field(description="verified, or why there is no ONNX form.")] = None
    onnx_check: Annotated[
        int | None, Field(description="Version of the check that compared the ONNX form; absent: the first.")
    ] = None
    batching: Annotated[
        bool | None,
        Field(
            description="false: the native form answers a row otherwise when others are beside it, so that servers "
            "answer each request alone. Absent: nobody looked."
        ),
    ] = None
    signature: Annotated[
        ModelSignature | None, Field(description="Inputs and outputs; absent when too many to show here.")
    ] = None
    metrics: Annotated[dict[str, float], Field(description="Metrics on the holdout.")] = {}
    lineage: Annotated[VersionLineage, Field(description="Where it comes from.")]
    approval: Annotated[Literal["Automatic", "Manual"], Field(description="Who decides on its use.")] = "Automatic"


class Decision(Model):
    """A decision on the version's use; it names the digest that was decided on."""

    approved: Annotated[bool, Field(description="Approved or rejected.")]
    by: Annotated[str, Field(description="Who: the gates, or the writer of the annotation.")]
    time: Annotated[Time, Field(description="When.")]
    digest: Annotated[Digest, Field(description="The digest decided on.")]
    comment: Annotated[
        str | None, Field(max_length=1024, description="Value of the annotation tidemill.io/decision-comment.")
    ] = None


class TakenBack(Model):
    """Why a ModelDeployment took the version back."""

    digest: Annotated[Digest, Field(description="The digest that was taken back.")]
    reason: Annotated[str, Field(max_length=1024, description="AnalysisFailed, MonitorRequested, Aborted or Rejected.")]
    message: Annotated[str, Field(max_length=1024, description="Why, as a sentence.")]
    time: Annotated[Time, Field(description="When.")]


class Lifted(Model):
    """A person gave the version another chance."""

    by: Annotated[str, Field(max_length=1024, description="What lifted the marks: an annotation and its value.")]
    time: Annotated[Time, Field(description="When; marks up to this moment do not count any more.")]


class ModelVersionStatus(Status):
    """What became of the version."""

    decision: Annotated[Decision | None, Field(description="The decision in force.")] = None
    taken_back: Annotated[
        dict[str, TakenBack],
        Field(
            description="By ModelDeployment, why it took the version back; stays when that deployment is deleted. While any entry is here, the version is neither champion nor followed as long as another approved one exists."
        ),
    ] = {}
    lifted: Annotated[Lifted | None, Field(description="The last time that a person lifted takenBack.")] = None
    last_handled_retry: Annotated[
        str | None,
        Field(
            description="Value of the annotation tidemill.io/retry that was last served; of more than 512 characters its digest."
        ),
    ] = None
    deployments: Annotated[
        list[str],
        Field(
            max_length=100, description="ModelDeployments that serve it, stable or candidate.", json_schema_extra=SET
        ),
    ] = []


class ModelVersion(Resource):
    """An immutable, content-addressed model. Written by the operator."""

    INFO: ClassVar[Kind] = Kind(
        kind="ModelVersion",
        plural="modelversions",
        singular="modelversion",
        short_names=("mv",),
        description="ModelVersion is an immutable, numbered, content-addressed model with its metrics and its full lineage.",
        columns=(
            Column("Pipeline", "string", ".spec.pipeline", "The TrainingPipeline."),
            Column("Number", "integer", ".spec.number", "Number within the pipeline."),
            Column(
                "Approved", "string", '.status.conditions[?(@.type=="Approved")].status', "Whether it may be deployed."
            ),
            Column("Deployed", "string", ".status.deployments", "Where it is served."),
            Column("Digest", "string", ".spec.digest", "Digest of its content.", 1),
            *TAIL_COLUMNS,
        ),
        born=(BORN_READY, Born("Approved", "Unknown", PENDING, "Not known yet")),
        selectable=(".spec.pipeline",),
    )

    kind: Literal["ModelVersion"] = "ModelVersion"
    spec: ModelVersionSpec
    status: ModelVersionStatus = ModelVersionStatus()
