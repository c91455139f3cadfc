"""ModelImport: the way in for a model that was not trained by a pipeline of this namespace."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from tidemill.api.base import (
    ATOMIC,
    READY_COLUMNS,
    TAIL_COLUMNS,
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
    rule,
    rules,
)
from tidemill.api.v1alpha1.pod_settings import PodSettings
from tidemill.api.v1alpha1.store_records import Records
from tidemill.api.v1alpha1.training_pipeline import Store
from tidemill.api.v1alpha1.training_run import RunFailure
from tidemill.api.v1alpha1.training_template import none_of
from tidemill_contracts import importing, schemes

_KEYLESS = tuple(s for s in schemes.ARTIFACT_SCHEMES if not schemes.BY_NAME[s].secret)
_FILES = [end for end in importing.SUFFIXES if end not in importing.PICKLE_SUFFIXES]
_PICKLES = "|".join(end.removeprefix(".") for end in importing.PICKLE_SUFFIXES)


class ImportSource(Model):
    """What is imported: exactly the content with this digest, or nothing."""

    model_config = {
        "json_schema_extra": rules(
            rule("!self.uri.matches('/[.][.](/|$)')", "source.uri: '..' is not allowed in a path"),
            rule(
                f"!self.uri.matches('[.]({_PICKLES})$')",
                f"source.uri: a pickle ({', '.join(importing.PICKLE_SUFFIXES)}) is not imported, because loading one "
                f"runs code; expected a folder of a version, or a file that ends with {schemes.listed(_FILES)}",
            ),
            rule(
                f"!has(self.secretRef) || {none_of(_KEYLESS)}",
                f"source.secretRef may be set only with a uri of {schemes.prefixes(schemes.with_secret('artifacts'))}",
            ),
        )
    }

    uri: Annotated[
        str,
        Field(
            min_length=1,
            max_length=2048,
            pattern=schemes.uri_pattern("artifacts"),
            description=f"Where the model is: {schemes.listed(schemes.forms('artifacts'))}. A path that ends with "
            f"{schemes.listed(_FILES)} is a single file. Any other is a folder: that of a version (spec.uri of its "
            "ModelVersion), or the one around it, in which versions lie by their digests; then another version is "
            "imported by another digest alone.",
        ),
    ]
    digest: Digest
    """Digest of what is imported: of a version, spec.digest of its ModelVersion; of a single file, sha256: and the
    output of sha256sum. Content with another digest is refused."""
    secret_ref: SecretRef | None = None
    """Secret in the same namespace with the credentials of the object store, as for artifacts of a TrainingPipeline.
    Must not be set with pvc://. If not set, no Secret is used."""


class ImportAs(Model):
    """What the model becomes."""

    model_config = {
        "json_schema_extra": rules(
            rule("has(self.pipeline) != has(self.name)", "as: exactly one of pipeline and name must be set"),
            rule("self == oldSelf", "as is immutable; create another ModelImport instead"),
        )
    }

    pipeline: Annotated[ObjectName | None, Field(max_length=63)] = None
    """Name of a TrainingPipeline, which need not exist. The model becomes its next version, and ModelDeployments that
    follow the pipeline serve it once it is approved. Exactly one of pipeline and name must be set."""
    name: Annotated[
        ObjectName | None,
        Field(
            max_length=63,
            json_schema_extra=rules(
                rule(
                    "!self.matches('-[0-9]+$')",
                    "as.name must not end with a hyphen and a number, as the versions of pipelines do",
                )
            ),
        ),
    ] = None
    """Name of the ModelVersion. It belongs to no pipeline; a ModelDeployment serves it by spec.model.version. Exactly
    one of pipeline and name must be set."""


class ModelImportSpec(Model):
    """Desired state of a ModelImport."""

    model_config = {
        "json_schema_extra": rules(
            rule(
                "!has(self.__as__.name) || self.source.digest == oldSelf.source.digest",
                "source.digest is immutable with as.name, because a ModelVersion is; create another ModelImport, or "
                "use as.pipeline",
            ),
            rule(
                "(has(self.artifacts) && has(self.artifacts.uri) ? self.artifacts.uri : '') == (has(oldSelf.artifacts) "
                "&& has(oldSelf.artifacts.uri) ? oldSelf.artifacts.uri : '')",
                "artifacts.uri is immutable; create another ModelImport instead",
            ),
        )
    }

    source: ImportSource
    """What is imported. With as.pipeline, another digest imports another version; a digest that was imported before is
    registered again under a new number, if another version came after it."""
    as_: Annotated[ImportAs, Field(alias="as")]
    """What the model becomes. Cannot be changed."""
    approval: Literal["Automatic", "Manual"] = "Automatic"
    """How a version that is imported is approved for deployment. Automatic: it is approved at once. Manual: it waits
    for the annotation tidemill.io/approve on the ModelVersion. A change applies to versions that are imported later."""
    artifacts: Store = Store()
    """Where the version is stored, below the folder imports. If not set, in a PersistentVolumeClaim of the
    namespace. The uri cannot be changed."""
    resources: Resources | None = None
    """CPU and memory of the pod that copies. If not set, it requests 100m CPU and 256Mi memory and has a memory limit
    of 1Gi. A single file must fit into the memory several times."""
    pod: PodSettings | None = None
    """Settings of the pod that copies, for example a serviceAccountName for workload identity. If not set, it has the
    operator's own settings only."""


class ImportAttempts(Model):
    """Jobs that have failed for the present spec."""

    generation: int
    """The metadata.generation that was imported."""
    failed: Annotated[int, Field(ge=0)]
    """Number of Jobs that have failed."""
    last_time: Time
    """Time when the last of them failed."""
    next_time: Time | None = None
    """Time of the next Job. Not set if there is none until the spec changes or the annotation tidemill.io/retry is
    set."""


class ModelImportStatus(Status):
    """Observed state of a ModelImport."""

    version: str | None = None
    """Name of the ModelVersion that the last import was registered as."""
    version_content: Digest | None = None
    """Digest of the spec of the ModelVersion that the last import registered. A ModelVersion of that name with another
    spec is not registered. Not set if the version existed already."""
    number: int | None = None
    """Number of that version within its pipeline."""
    digest: Digest | None = None
    """Digest of that version (spec.digest). Of an imported version it is that of the source."""
    uri: str | None = None
    """Where that version is stored."""
    source_digest: Digest | None = None
    """The spec.source.digest that was imported last."""
    import_time: Time | None = None
    """Time when the last import was registered."""
    job: str | None = None
    """Name of the Job of the last attempt."""
    attempts: ImportAttempts | None = None
    """Failed attempts to import the present spec. Not set if there were none."""
    failure: RunFailure | None = None
    """Why the last attempt failed. Not set if it did not."""
    warnings: Annotated[list[str], Field(max_length=10, json_schema_extra=ATOMIC)] = []
    """What the imported model lacks."""
    records: Records | None = None
    """Records of its versions in the artifact store. Not set if the operator has no record key."""
    last_handled_retry: str | None = None
    """Last value of the annotation tidemill.io/retry that the operator processed. Not set when the annotation is
    removed. A value longer than 512 characters is stored as its digest."""


class ModelImport(Resource):
    """Copies one model by its digest into the store of this namespace and registers it as a ModelVersion."""

    INFO: ClassVar[Kind] = Kind(
        kind="ModelImport",
        plural="modelimports",
        singular="modelimport",
        short_names=("mi",),
        description=(
            "ModelImport copies one model, a version of another namespace or an ONNX or skops file, by its digest into "
            "the artifact store of this namespace, checks it, and registers it as a ModelVersion."
        ),
        columns=(
            *READY_COLUMNS,
            Column("Version", "string", ".status.version", "Name of the ModelVersion that the model became."),
            Column("Digest", "string", ".status.digest", "Digest of that version.", 1),
            Column("Source", "string", ".spec.source.uri", "Where the model comes from.", 1),
            *TAIL_COLUMNS,
        ),
        name_rule=rule("size(self.metadata.name) <= 63", "metadata.name must have at most 63 characters"),
    )

    kind: Literal["ModelImport"] = "ModelImport"
    spec: ModelImportSpec
    status: ModelImportStatus = ModelImportStatus()
