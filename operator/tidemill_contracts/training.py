"""The contract between the operator and a training pod.

In: one JSON document, `TrainerConfig`, in the environment variable `TIDEMILL_TRAINER_CONFIG`.
Out: one JSON document, `TrainingResult`, as the container's termination message, at most 4,096 bytes.
"""

from typing import Literal

from pydantic import Field

from tidemill_contracts.artifact import Lineage, Signature, Task
from tidemill_contracts.base import Document
from tidemill_contracts.failures import FailureCategory
from tidemill_contracts.feedback import RowsInput, RowsTaken
from tidemill_contracts.holdout import HoldoutReport, HoldoutSplit

CONFIG_ENV = "TIDEMILL_TRAINER_CONFIG"
PROBE_ENV = "TIDEMILL_PROBE_CONFIG"
CONTAINER = "train"
TERMINATION_MESSAGE_PATH = "/dev/termination-log"
TERMINATION_MESSAGE_LIMIT = 4096
EXIT_NOT_RETRIABLE = 42  # the Job fails at once: another try cannot help
INPUT_DIR_ENV = "TIDEMILL_INPUT_DIR"
OUTPUT_DIR_ENV = "TIDEMILL_OUTPUT_DIR"

NAME_LIMIT = 256  # characters of the name of a metric, a phase or a package in a result
REVISION_LIMIT = 512  # characters of an input's revision
CLASSES_LIMIT = 10  # classes of which a result counts the held-out rows


def is_name(text: str) -> bool:
    """Return whether a result may use this as the name of a metric, a phase or a package."""
    return 0 < len(text) <= NAME_LIMIT and text.isprintable()


def is_revision(text: str) -> bool:
    """Return whether a result may say this of what an input holds."""
    return 0 < len(text) <= REVISION_LIMIT and text.isprintable()


class ColumnExpectation(Document):
    """What one column must satisfy."""

    name: str
    type: Literal["Number", "Category", "Boolean", "Text"] | None = None
    min: float | None = None
    max: float | None = None
    allowed: tuple[str, ...] | None = None
    max_missing_ratio: float | None = None


class Expectations(Document):
    """What a data set must satisfy before it is trained on."""

    min_rows: int | None = None
    columns: tuple[ColumnExpectation, ...] = ()


class DataInput(Document):
    """One data set of a run."""

    name: str
    uri: str
    format: Literal["Auto", "CSV", "Parquet", "JSONLines"] = "Auto"
    secret: str | None = None  # mounted below storage.SECRET_ROOT
    revision: str | None = None  # as resolved before the run; None: resolved by the run
    expectations: Expectations | None = None
    rows: RowsInput | None = None  # of a deployment's kept rows: where they are


class Code(Document):
    """Where the training code is and how it is called; exactly one of entrypoint and command."""

    digest: str
    directory: str | None = None  # None: the image carries the code on its Python path
    entrypoint: str | None = None  # module:function
    command: tuple[str, ...] | None = None


class Champion(Document):
    """The version that the candidate is judged against."""

    version: str
    uri: str
    digest: str
    metrics: dict[str, float | None] = Field(default_factory=dict)


class TrainerConfig(Document):
    """The configuration of one run."""

    schema_version: Literal[1] = 1
    namespace: str
    pipeline: str
    run: str
    data: tuple[DataInput, ...]
    target: str | None = None
    code: Code
    image: str
    parameters: dict[str, str] = Field(default_factory=dict)
    seed: int = 0
    holdout_ratio: float = 0.2
    split: HoldoutSplit | None = None  # None: exact shares of every class, by the rows' content
    gate_metrics: tuple[str, ...] = ()
    champion: Champion | None = None
    store: str  # URI of the pipeline's folder in the artifact store
    store_secret: str | None = None
    keep: tuple[str, ...] | None = None  # digests that must stay; older others are removed; None: remove nothing
    allow_pickle: bool = False


class Failure(Document):
    """Why a run failed, in a form that a person can act on."""

    category: FailureCategory
    reason: str  # PascalCase: MissingTarget, SyntaxError, ExpectationFailed, …
    message: str


class TrainingResult(Document):
    """What a run found, or an import. Metrics that are NaN or infinite are None."""

    schema_version: Literal[1] = 1
    outcome: Literal["Succeeded", "Failed"]
    failure: Failure | None = None
    digest: str | None = None
    model_digest: str | None = None
    uri: str | None = None
    formats: tuple[str, ...] = ()
    task: Task = "unknown"
    metrics: dict[str, float | None] = Field(default_factory=dict)
    champion_metrics: dict[str, float | None] | None = None
    champion_note: str | None = None  # why recorded metrics stand in for re-scored ones
    champion_overlap: str | None = None  # why the champion may have learned rows that it was re-scored on
    holdout: HoldoutReport | None = None  # how the split that was asked for turned out
    rows: dict[str, int] = Field(default_factory=dict)  # train, holdout
    holdout_classes: dict[str, int] = Field(default_factory=dict)  # class -> held-out rows, fewest first, bounded
    data: dict[str, str] = Field(default_factory=dict)  # input name -> revision
    kept_rows: dict[str, RowsTaken] = Field(default_factory=dict)  # name of an input of kept rows -> what was taken
    signature: Signature | None = None  # left out when it does not fit
    signature_digest: str | None = None  # of what clients depend on, by tidemill_contracts.signatures
    frameworks: dict[str, str] = Field(default_factory=dict)
    seconds: dict[str, float] = Field(default_factory=dict)  # phase -> duration
    onnx: str | None = None  # "verified" or why there is no ONNX form
    onnx_check: int | None = None  # version of the check that found it; None: the first
    batching: bool | None = None  # False: native answers depend on who else is in the batch
    warnings: tuple[str, ...] = ()
    lineage: Lineage | None = None  # of an imported version, as its manifest has it; left out when it does not fit


class ProbeConfig(Document):
    """The configuration of a probe pod: resolve these inputs to revisions and train nothing."""

    data: tuple[DataInput, ...]


class ProbeResult(Document):
    """The probe's termination message."""

    revisions: dict[str, str] = Field(default_factory=dict)
    errors: dict[str, str] = Field(default_factory=dict)
