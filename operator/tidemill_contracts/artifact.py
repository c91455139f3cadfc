"""What a model version is on disk: the layout of its folder and the manifest that digests it.

A version lives in `<store>/<pipeline>/<id of the pipeline object>/<hex digest>/`. Every file but the marker and the
record of the version is listed in the manifest with its digest; the version's digest is the digest of the manifest's
canonical bytes; the marker is written last and holds that digest. A reader that checks marker, manifest and files
before it loads anything cannot load a half-written or changed model. The manifest holds nothing that differs between
two runs of one key (no time, no run name): equal inputs give an equal digest.
"""

from typing import Literal

from pydantic import Field

from tidemill_contracts.base import Document
from tidemill_contracts.digests import canonical_json, sha256
from tidemill_contracts.feedback import RowsTaken
from tidemill_contracts.formats import Format
from tidemill_contracts.holdout import Holdout

MANIFEST_FILE = "manifest.json"
MARKER_FILE = "COMPLETE"
REFERENCE_FILE = "reference.json"
SAMPLE_FILE = "sample.json"
CODE_FILE = "code.json"  # of a version whose model has functions or classes of the training code
# Names of outputs. The first is the prediction: `label`, `value` (numbers of a regressor or transformer) or `cluster`.
PROBABILITIES = "probabilities"  # [rows, classes]; of several targets `probabilities_0`, `probabilities_1`, …
SCORE = "score"  # of an outlier detector, [rows]: below zero is an outlier
DISTANCES = "distances"  # to the centres of clusters, [rows, clusters]

DATATYPES = (
    "BOOL", "INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64", "FP16", "FP32", "FP64", "BYTES",
)  # fmt: skip
"""Data types of the Open Inference Protocol."""

Kind = Literal["number", "boolean", "text"]

Task = Literal["classification", "regression", "clustering", "outlier-detection", "transformation", "unknown"]
Value = float | int | str | bool | None


class ColumnSpec(Document):
    """One input column or one output of a model."""

    name: str
    datatype: str  # Open Inference Protocol: BOOL, INT64, FP64, BYTES, …
    shape: tuple[int, ...] = (-1,)
    categories: tuple[str, ...] | None = None  # known values of a categorical column, at most 1,000
    nullable: bool | None = None  # False: the native form refuses missing values here; None: it was not seen to
    closed: bool | None = None  # True: the native form refuses values that are not among `categories`
    minimum: float | None = None  # smaller numbers are refused, -infinity too; None: none was seen to be
    maximum: float | None = None  # larger numbers are refused, infinity too; None: none was seen to be
    used: bool | None = None  # False, of an input: no answer depends on it, so it need not be sent; None: one may

    @property
    def is_used(self) -> bool:
        """Whether an answer may depend on it; so it is in every version from before that mark."""
        return self.used is not False


def kind_of(datatype: str) -> Kind:
    """Return which values a column of an Open Inference Protocol datatype takes: servers accept any number for any."""
    if datatype == "BYTES":
        return "text"
    return "boolean" if datatype == "BOOL" else "number"


class Signature(Document):
    """What a model takes and gives, in order."""

    inputs: tuple[ColumnSpec, ...]
    outputs: tuple[ColumnSpec, ...]
    frame: bool = True  # the model wants a DataFrame with these column names, not a matrix

    @property
    def used_inputs(self) -> tuple[ColumnSpec, ...]:
        """The inputs that every request must have, in order: those that an answer may depend on."""
        return tuple(column for column in self.inputs if column.is_used)


class Lineage(Document):
    """Everything that decided the outcome of the run, by content."""

    data: dict[str, str]  # input name -> revision
    data_digests: dict[str, str] = Field(default_factory=dict)  # input name -> digest of the content that was read
    code: str  # digest of the code
    image: str  # image reference, by digest where the node reported one
    parameters: dict[str, str] = Field(default_factory=dict)
    seed: int = 0
    frameworks: dict[str, str] = Field(default_factory=dict)  # package -> version
    holdout: Holdout | None = None  # which rows were held out; None: an older trainer, or not known
    kept_rows: dict[str, RowsTaken] | None = (
        None  # name of an input of kept rows -> what was taken; None: no such input
    )


class ParityReport(Document):
    """How the ONNX form compares with the native form, behind the server's own rules."""

    passed: bool
    rows: int  # that were compared
    candidates: int | None = None  # rows that they were taken from; None: an older check
    check: int | None = None  # version of the check; None: the first one, which looked at held-out rows only
    max_abs_difference: float | None = None
    label_mismatches: int | None = None
    reason: str = ""


class ModelManifest(Document):
    """The content of `manifest.json`."""

    schema_version: Literal[1] = 1
    pipeline: str
    task: Task
    formats: tuple[Format, ...]
    files: dict[str, str]  # file name -> sha256:…
    model_digest: str  # of the native form alone
    signature: Signature
    metrics: dict[str, float | None]
    classes: tuple[str | int | float | bool, ...] | None = None
    lineage: Lineage
    onnx_parity: ParityReport | None = None
    batching: bool | None = None  # False: native answers depend on who else is in the batch; None: nobody looked

    def canonical_bytes(self) -> bytes:
        """Return the bytes that are stored and digested: sorted keys, no spaces, UTF-8."""
        return canonical_json(self.model_dump(mode="json", exclude_none=True))

    def digest(self) -> str:
        """Return the version's digest, `sha256:<hex>`."""
        return sha256(self.canonical_bytes())


class ModelCode(Document):
    """The content of `code.json`: the modules of the training code that the model needs to be loaded."""

    files: dict[str, str]  # name.py -> its source; the module `name`, in no package

    @property
    def modules(self) -> dict[str, str]:
        """Sources by the names of their modules."""
        return {name.removesuffix(".py"): source for name, source in self.files.items()}


class Sample(Document):
    """A few held-out rows with the native model's answers: the server's warm-up and parity check."""

    columns: dict[str, list[Value]]
    predictions: list[Value | list[Value]]  # a list for a row of several targets; None where an answer is NaN
