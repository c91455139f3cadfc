"""ModelVersion: an immutable, numbered, content-addressed model with its lineage."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from tidemill.api.base import (
    ATOMIC,
    DEFAULT_READY,
    PENDING,
    SET,
    TAIL_COLUMNS,
    UNCHANGED,
    Column,
    DefaultCondition,
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
from tidemill_contracts import schemes
from tidemill_contracts.formats import FORMATS
from tidemill_contracts.holdout import CUT_LIMIT, OVERLAP_LIMIT
from tidemill_contracts.signatures import MOST_INPUTS, MOST_OUTPUTS
from tidemill_contracts.storage import URI_LIMIT

_FORMAT_NOTES = {
    name: " (a pickle)" * row.is_pickle
    + " (with functions or classes of the training code)" * row.has_code
    + " (any other file that a program wrote)" * (not row.file)
    for name, row in FORMATS.items()
}
_FORMATS = [f"{name}{note}" for name, note in _FORMAT_NOTES.items()]
_FORMATS_HELP = f"Forms in which the model is stored: {', '.join(_FORMATS[:-1])} or {_FORMATS[-1]}."


class ModelColumn(Model):
    """One input or output of the model."""

    name: str
    """Name of the input or output."""
    datatype: str
    """Data type of the Open Inference Protocol, for example BOOL, INT64, FP64 or BYTES."""
    shape: Annotated[list[int], Field(json_schema_extra=ATOMIC)] = [-1]
    """Shape of the tensor. -1 stands for the number of rows."""
    used: bool | None = None
    """Of an input, whether predictions may depend on it. false: the model does not use it, so clients need not send it,
    and values that they send are ignored. If not set, it is used and has to be sent."""


class ModelSignature(Model):
    """Inputs and outputs of the model."""

    inputs: Annotated[list[ModelColumn], Field(max_length=MOST_INPUTS, json_schema_extra=ATOMIC)]
    """Inputs of the model, in order."""
    outputs: Annotated[list[ModelColumn], Field(max_length=MOST_OUTPUTS, json_schema_extra=ATOMIC)]
    """Outputs of the model, in order."""


class VersionSplit(Model):
    """Which rows were held out from the training of the version."""

    type: Literal["Hash", "Group", "Time", "Column"]
    """How rows were divided: spec.evaluation.split.type of the pipeline."""
    column: Annotated[str | None, Field(max_length=256)] = None
    """Column by which rows were divided. Not set for type Hash."""
    ratio: float | None = None
    """Share of the rows that was to be held out. Not set for type Column."""
    cut: Annotated[str | None, Field(max_length=CUT_LIMIT)] = None
    """First time that was held out: a number, or a time in UTC. Set only for type Time."""


class VersionRows(Model):
    """What a version was trained on of the rows that a ModelDeployment kept."""

    rows: Annotated[int, Field(ge=0)]
    """Number of rows with a label, before some were held out."""
    first: Time
    """Time of the oldest prediction among them."""
    last: Time
    """Time of the newest prediction among them."""
    versions: dict[str, int] = {}
    """Number of rows by the name of the ModelVersion that predicted. Beyond 10 versions, the rows of the rest are
    counted as others."""
    suspected: Annotated[int, Field(ge=0)] = 0
    """Number of these rows that are of clients which a ModelMonitor suspected when the run started."""
    left_out: Annotated[int, Field(ge=0)] = 0
    """Number of rows with a label of such clients that were left out."""


class VersionLineage(Model):
    """What the version was trained from."""

    run: ObjectName | None = None
    """Name of the TrainingRun that created the version. Not set if the version was imported."""
    trigger: str | None = None
    """Why that run started, for example ScheduleDue. Not set if the version was imported."""
    key: Digest | None = None
    """Digest of all inputs that decide the outcome of the run: spec, code, image and data. Not set if the version was
    imported."""
    data: dict[str, str]
    """Revision of each input of the run, by the name of the input. A revision changes when the content of the input
    changes."""
    code: str
    """Digest of the training code."""
    image: str
    """Image that trained the version, by digest if the node reported one."""
    parameters: dict[str, str] = {}
    """Parameters that the training code received."""
    seed: int = 0
    """Seed of the random number generators."""
    frameworks: dict[str, str] = {}
    """Versions of the Python packages that the training used, by the name of the package."""
    parent: str | None = None
    """Name of the champion that the version was compared with. Not set if there was none."""
    parent_overlap: Annotated[str | None, Field(max_length=OVERLAP_LIMIT)] = None
    """Why that champion may have been trained on holdout rows of the run, so that its metrics may have been too good.
    Not set if it was not, or if its recorded metrics were used."""
    split: VersionSplit | None = None
    """Which rows were held out from training. Not set if the pipeline had no spec.evaluation.split."""
    kept_rows: dict[str, VersionRows] | None = None
    """What was read of the rows that a ModelDeployment kept, by the name of the input. Not set if no input was
    feedback://."""


class VersionSource(Model):
    """Where an imported version came from."""

    import_: Annotated[ObjectName, Field(alias="import")]
    """Name of the ModelImport that registered the version."""
    generation: Annotated[int, Field(ge=1)]
    """The metadata.generation of the ModelImport at that time."""
    uri: Annotated[str, Field(max_length=URI_LIMIT)]
    """Where the model was copied from: spec.source.uri of the ModelImport."""
    digest: Digest
    """Digest of what was copied: spec.source.digest of the ModelImport."""


class ModelVersionSpec(Model):
    """Content and origin of the version. Cannot be changed."""

    model_config = {
        "json_schema_extra": rules(
            UNCHANGED,
            rule("!self.uri.matches('/[.][.](/|$)')", "spec.uri: '..' is not allowed in a path"),
            rule(
                "has(self.source) || (has(self.lineage) && has(self.lineage.run) && has(self.lineage.trigger) && "
                "has(self.lineage.key))",
                "spec.lineage must be set, with run, trigger and key, unless spec.source is",
            ),
        )
    }

    pipeline: ObjectName
    """Name of the TrainingPipeline that created the version, or whose version it became by an import. Of a version
    that was imported with as.name: that name."""
    number: Annotated[int, Field(ge=1)]
    """Number of the version within its pipeline. Numbers are not used again."""
    digest: Digest
    """Digest of the version's manifest. The manifest lists the digests of all files of the version."""
    model_digest: Digest
    """Digest of the model's native form."""
    uri: Annotated[
        str,
        Field(
            max_length=URI_LIMIT,
            pattern=schemes.uri_pattern("artifacts"),
            description=f"Where the version is stored: {schemes.listed(schemes.forms('artifacts'))}.",
        ),
    ]
    secret_ref: SecretRef | None = None
    """Secret in the same namespace with the credentials of the object store. Not set if none are needed."""
    formats: Annotated[list[str], Field(min_length=1, json_schema_extra=SET, description=_FORMATS_HELP)]
    task: str
    """Task of the model: classification, regression, clustering, outlier-detection, transformation or unknown."""
    onnx: str | None = None
    """Result of comparing the ONNX form with the native form: "verified", or why there is no verified ONNX form. Not
    set if nothing was compared."""
    onnx_check: int | None = None
    """Version of the check that compared the ONNX form with the native form. If not set, version 1."""
    batching: bool | None = None
    """Whether servers may predict the rows of several requests together. false: the model's prediction for a row
    depends on the other rows of a batch, so each request is predicted separately. If not set, the model was not
    checked, and the server checks it."""
    signature: ModelSignature | None = None
    """Inputs and outputs of the model. Not set if they are too many to be stored here."""
    signature_digest: Digest | None = None
    """Digest of the inputs that the model uses and of its outputs. Deployments compare it where a version has no
    signature. Not set for a version of an older trainer."""
    metrics: dict[str, float] = {}
    """Metrics of the version on the holdout rows of its run."""
    lineage: VersionLineage | None = None
    """What the version was trained from. Of an imported version: what its manifest says; not set if it says nothing, as
    that of a single file."""
    source: VersionSource | None = None
    """Where the version was imported from. Not set if it was trained here."""
    approval: Literal["Automatic", "Manual"] = "Automatic"
    """How the version is approved once the operator has registered it. Automatic: by passing the gates of its run, or
    at once where there are none, as for an import. Manual: by the annotation tidemill.io/approve."""


class VersionOrigin(Model):
    """The object whose result the version is."""

    kind: Literal["TrainingRun", "ModelImport"]
    """Kind of the object."""
    name: ObjectName
    """Name of the object. It may have been deleted since."""
    uid: Annotated[str | None, Field(max_length=253)] = None
    """Uid of the object."""


class Registered(Model):
    """That the operator has registered the version. A version without this is not deployed and never a champion."""

    digest: Digest
    """Digest of the version that was registered."""
    time: Time
    """Time when the version was registered."""
    origin: VersionOrigin | None = None
    """The object whose result the version is. Not set for a version of an operator that did not record it."""
    gates: Literal["Passed", "NotJudged", "Unknown"] = "Unknown"
    """What the gates say of the version. Passed: it passed the gates of its run. NotJudged: there were none, as for an
    import. Unknown: an earlier release registered the version, and its run is gone."""
    training: Digest | None = None
    """Digest of the part of the pipeline's spec that was trained, as in the annotation tidemill.io/spec, which the
    operator sets back to it. Not set for an import."""
    restored: Time | None = None
    """Time when the version was found again by its record in the artifact store. Not set if it was not restored."""


class Decision(Model):
    """The decision whether the version may be deployed."""

    approved: bool
    """Whether the version was approved (true) or rejected (false)."""
    by: str
    """What decided: "gates" for gates that it passed, "approval: Automatic" where there were no gates, as for an
    import, the name of an annotation, or "rejection of" and the name of another version with the same content. Who set
    the annotation is in the audit log of the API server only."""
    time: Time
    """Time of the decision."""
    digest: Digest
    """Digest of the version that was decided on."""
    comment: Annotated[str | None, Field(max_length=1024)] = None
    """Value of the annotation tidemill.io/decision-comment at the time of the decision."""
    word: Annotated[str | None, Field(max_length=512)] = None
    """What stands behind the digest and a / in the value of the annotation, by which the same decision is given again.
    Not set if the value is the digest alone. More than 512 characters are stored as their digest."""
    version: ObjectName | None = None
    """Name of the version with the same content whose rejection this is. Not set if this version was decided on."""
    overruled: bool | None = None
    """Whether an approval by annotation is overruled by this rejection: it counts again only when the annotation
    tidemill.io/approve gets another value, which is the digest, a / and any new word, or is removed and set anew."""
    overruled_word: Annotated[str | None, Field(max_length=512)] = None
    """The word of the approval that is overruled. Not set if there is none."""


class TakenBack(Model):
    """A rollback of the version by a ModelDeployment."""

    digest: Digest
    """Digest of the version that was rolled back."""
    reason: Annotated[str, Field(max_length=1024)]
    """Why it was rolled back: AnalysisFailed, MonitorRequested, Aborted or Rejected."""
    message: Annotated[str, Field(max_length=1024)]
    """Explanation of the reason."""
    time: Time
    """Time of the rollback."""


class Lifted(Model):
    """The last time that the rollbacks in takenBack were lifted by an annotation."""

    by: Annotated[str, Field(max_length=1024)]
    """What lifted the rollbacks: an annotation and its value."""
    time: Time
    """Time when the rollbacks were lifted. Rollbacks up to this time do not count any more."""


class ModelVersionStatus(Status):
    """Observed state of a ModelVersion."""

    registered: Registered | None = None
    """That the operator has registered the version, and where it comes from. Not set for an object that somebody else
    created: such an object is not deployed. ModelImport is the way to bring a model in."""
    decision: Decision | None = None
    """The current decision whether the version may be deployed. Not set until there is one."""
    taken_back: dict[str, TakenBack] = {}
    """Rollbacks of this version, by the name of the ModelDeployment that rolled it back. An entry stays when the
    deployment is deleted. While there is an entry, the version is not used as champion and not followed by deployments,
    unless no other version of the pipeline is approved."""
    lifted: Lifted | None = None
    """The last time that the rollbacks in takenBack were lifted by an annotation, so that the version may be deployed
    again."""
    last_handled_retry: str | None = None
    """Last value of the annotation tidemill.io/retry that the operator processed. Not set when the annotation is
    removed. A value longer than 512 characters is stored as its digest."""
    deployments: Annotated[list[str], Field(max_length=100, json_schema_extra=SET)] = []
    """Names of the ModelDeployments that serve this version as stable version or candidate."""


class ModelVersion(Resource):
    """An immutable, content-addressed model. Created by the operator."""

    INFO: ClassVar[Kind] = Kind(
        kind="ModelVersion",
        plural="modelversions",
        singular="modelversion",
        short_names=("mv",),
        description=(
            "ModelVersion is an immutable, numbered, content-addressed model with its metrics and its full lineage. "
            "The operator creates it when a training run passes its gates, or for a ModelImport. An object that "
            "somebody else creates is not registered and not deployed."
        ),
        columns=(
            Column("Pipeline", "string", ".spec.pipeline", "Name of the TrainingPipeline."),
            Column("Number", "integer", ".spec.number", "Number of the version within its pipeline."),
            Column(
                "Approved",
                "string",
                '.status.conditions[?(@.type=="Approved")].status',
                "Whether the version may be deployed (condition Approved).",
            ),
            Column(
                "Deployed", "string", ".status.deployments", "Names of the ModelDeployments that serve the version."
            ),
            Column("Digest", "string", ".spec.digest", "Digest of the version's manifest.", 1),
            *TAIL_COLUMNS,
        ),
        default_conditions=(DEFAULT_READY, DefaultCondition("Approved", "Unknown", PENDING, "Not known yet")),
        selectable=(".spec.pipeline",),
    )

    kind: Literal["ModelVersion"] = "ModelVersion"
    spec: ModelVersionSpec
    status: ModelVersionStatus = ModelVersionStatus()
