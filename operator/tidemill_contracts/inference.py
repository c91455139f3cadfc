"""The configuration of a model server, and what it reports to the monitor.

Server → monitor: `PredictionBatch`, columnar, at most once a second; posted with a batch id, so that a
repeated post counts once. A monitor that has not seen a version's digest answers 409, and the server
posts its reference profile first. Client → server → monitor: `Feedback`, acknowledged only when stored.
"""

from typing import Literal

from pydantic import Field

from tidemill_contracts.access import AccessConfig
from tidemill_contracts.base import Document
from tidemill_contracts.formats import Runtime
from tidemill_contracts.reference import ReferenceProfile
from tidemill_contracts.runtimes import FallbackReason

SERVER_CONFIG_ENV = "TIDEMILL_SERVER_CONFIG"
MONITOR_CONFIG_ENV = "TIDEMILL_MONITOR_CONFIG"

# Paths of the monitor
BATCH_PATH = "/v1/batches"
REFERENCE_PATH = "/v1/references"
FEEDBACK_PATH = "/v1/feedback"
REPORT_PATH = "/v1/report"
PAGE_PATH = "/v1/report.html"  # the report for people
PAGE_JSON_PATH = "/v1/report.json"  # the same figures

INGEST_ROOT = "/mnt/ingest"
"""Where servers and monitor find the token that shows a record to come from a server; no file, no token."""
INGEST_KEY = "token"  # of the Secret, and the file's name
SERVED_ROOT = "/mnt/served"
"""Where a monitor finds the digests of the versions whose reference profiles it may take."""
SERVED_KEY = "digests.json"  # a JSON list of digests: what is served, rolled out, or may be returned to

FORM_PATH = "/form"  # of the server's admin port

PREDICTION_ID_HEADER = "x-tidemill-prediction-id"

MAX_LOGGED_COLUMNS = 20
"""Columns that requests may have for the prediction log alone."""

Value = float | int | str | bool | None


class Batching(Document):
    """Adaptive batching: requests that wait for a model at the same time are answered by one call of it.

    The server batches where it measured, at warm-up, that a call costs more than its rows do. An idle model is called
    at once; only where requests come in bursts does a call wait for the next one.
    """

    enabled: bool = True  # False: one call for each request
    max_rows: int = 256  # of one call; a request is never split, one of more rows than this is a call of its own
    max_delay_milliseconds: float = 2.0  # at most this is waited for more requests; 0: never


class PredictionLog(Document):
    """Where prediction records go."""

    url: str  # base URL of the monitor; unreachable: records are counted and dropped
    sample_ratio: float = 1.0
    columns: tuple[str, ...] = ()  # that requests may have beside the model's: recorded, never given to the model
    max_queue_rows: int = 20_000


class ServerConfig(Document):
    """The configuration of one model server."""

    schema_version: Literal[1] = 1
    namespace: str
    deployment: str  # the model's name on the wire
    version: str  # name of the ModelVersion
    number: str  # the version on the wire, /versions/{number}
    digest: str
    uri: str
    secret: str | None = None
    runtime: Literal["Auto", "ONNX", "Native"] = "Auto"
    grpc: bool = True  # False: the server listens for HTTP alone
    workers: int = 1
    batching: Batching | None = None  # None: as Batching() says
    log: PredictionLog | None = None
    max_body_bytes: int = 16 * 1024 * 1024
    max_in_flight: int = 256
    request_timeout_seconds: float = 30.0
    drain_seconds: float = 8.0
    access_log_ratio: float = 0.0  # share of requests with a line in the log
    allow_pickle: bool = False
    allow_code: bool = False  # True: functions and classes of the training code that the version brings may be loaded
    extra_columns: Literal["Refuse", "Ignore"] = "Refuse"  # what is done with columns that the model does not know
    access: AccessConfig | None = None  # None: everybody may call
    slo_seconds: float | None = None  # the declared latency objective: a histogram bucket ends there


class PredictionBatch(Document):
    """Rows that one server process answered. All lists have one length, the number of rows."""

    batch_id: str  # unique: <pod>/<process start>/<sequence>; up to the last separator it names the process
    deployment: str
    version: str
    digest: str
    sent_at: float  # seconds since the epoch
    dropped: int = 0  # rows dropped by this process since it started
    errors: int = 0  # requests answered with an error since the last batch
    ids: list[str]  # one prediction id per row: <request id> or <request id>/<row>
    times: list[float]
    columns: dict[str, list[Value]]
    logged: list[str] = Field(default_factory=list)  # those of `columns` that are no inputs of the model
    predictions: list[Value]
    scores: list[float | None] | None = None  # the probability of the predicted class of each row
    clients: list[str | None] | None = None  # of each row, who asked, as access.client_hash has it; None: not known
    latencies: list[float] = Field(default_factory=list)  # seconds, one per request


class Reference(Document):
    """A version's reference profile, as the server posts it."""

    deployment: str
    version: str
    digest: str
    profile: ReferenceProfile
    manifest: str | None = None  # text of the version's manifest.json, whose digest is the version's
    profile_text: str | None = None  # text of its reference.json, whose digest is in the manifest


REFERENCE_PROOF = frozenset({"manifest", "profile_text"})
"""Fields of a Reference that are sent to monitors that demand a token only: those of 0.1 refuse them."""


class Feedback(Document):
    """The truth about one prediction."""

    id: str
    label: Value


class ServedForm(Document):
    """What a server answers at FORM_PATH once its model is loaded; the same until its process ends."""

    digest: str
    runtime: Runtime
    surprise: FallbackReason | None = None  # why not the form that the version's record lets one expect
