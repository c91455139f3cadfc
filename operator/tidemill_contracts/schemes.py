"""The schemes of URIs: one row each, from which everything that differs between schemes derives.

What derives: the patterns and rules of the kinds' schemas, the sentences of errors, what pods mount, who looks for new
data, which keys of a Secret are mounted and how they are used, the tables in docs/training-code.md. The row says how
data is read (`place`); the readers of places are in `tidemill_runtime.datasets.sources` and `tidemill_runtime.storage`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

Use = Literal["data", "artifacts", "batch output"]

_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_OBJECT = rf"{_LABEL}(\.{_LABEL})*"
_BUCKET = r"[A-Za-z0-9$]([-A-Za-z0-9._]*[A-Za-z0-9])?"
_HOST = r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9]([-A-Za-z0-9._]*[A-Za-z0-9.])?)(:[0-9]{1,5})?"

_FOLDER = (
    "a file, or a folder of files of one table, stacked in name order; names starting with `_` or `.` are left out"
)
_WEB_FILE = (
    "one file; the Secret's `AUTHORIZATION` is the header of the request to this URL. Redirects are followed without "
    "that header, even on the same host: if the target needs it, give the final URL"
)

BUILTIN_DATA_SETS: Final = ("breast-cancer", "diabetes", "digits", "iris", "wine")
"""The names after `builtin://`."""


@dataclass(frozen=True, slots=True)
class SecretKey:
    """A key of a Secret that a `secretRef` names."""

    name: str
    option: str
    """What it becomes: an option of the object store's client, or a header of the request."""
    is_secret: bool = True
    """Whether its value is taken out of logs and messages; False: it is a place, not a credential."""


@dataclass(frozen=True, slots=True)
class Scheme:
    """What everybody needs to know of a scheme; texts are for errors and the documentation."""

    name: str
    form: str
    """How a URI is written."""
    authority: str
    """Pattern of what stands between `://` and the path, as a schema of Kubernetes takes it, too."""
    authority_is: str
    """What that is: the end of "expected …"."""
    place: Literal["bundled", "mounted", "objects", "web", "kept rows", "machine"]
    """In the image, mounted by Kubernetes, in an object store, at a server that answers with one file, where a
    ModelDeployment keeps its rows (which is a mounted place or an object store), or on the machine (batch prediction
    only)."""
    uses: tuple[Use, ...]
    reads: str
    """What is read as data."""
    probed_by: Literal["nobody", "operator", "probe"] = "nobody"
    """Who can tell whether data has changed: nobody needs to, the operator sees the object, or a pod has to look."""
    mount: Literal["", "claim", "configMap"] = ""
    """What a pod mounts for it."""
    exact: bool = True
    """Whether a revision is the digest of the content; False: that of a listing, which may change without it."""
    secret: tuple[SecretKey, ...] = ()
    ports: tuple[int, ...] = ()
    """Ports that pods reach it at, open in manifests/namespace; a mounted one is reached by the node."""

    @property
    def is_url(self) -> bool:
        """Whether a host follows, and a query may."""
        return self.authority == _HOST


_EVERY_USE: tuple[Use, ...] = ("data", "artifacts", "batch output")
_AUTHORIZATION = (SecretKey("AUTHORIZATION", "Authorization"),)

SCHEMES: Final = (
    Scheme(
        "builtin",
        form="builtin://name",
        authority=_OBJECT,
        authority_is="the name of a data set",
        place="bundled",
        uses=("data",),
        reads=f"scikit-learn's bundled sets ({', '.join(BUILTIN_DATA_SETS)}), label in `target`; no network",
    ),
    Scheme(
        "configmap",
        form="configmap://name/key",
        authority=_OBJECT,
        authority_is="the name of a ConfigMap",
        place="mounted",
        uses=("data",),
        reads="one key of a ConfigMap",
        probed_by="operator",
        mount="configMap",
    ),
    Scheme(
        "pvc",
        form="pvc://claim/path",
        authority=_OBJECT,
        authority_is="the name of a claim",
        place="mounted",
        uses=_EVERY_USE,
        reads=_FOLDER,
        probed_by="probe",
        mount="claim",
    ),
    Scheme(
        "s3",
        form="s3://bucket/prefix",
        authority=_BUCKET,
        authority_is="the name of a bucket",
        place="objects",
        uses=_EVERY_USE,
        reads=_FOLDER,
        probed_by="probe",
        exact=False,
        secret=(
            SecretKey("AWS_ACCESS_KEY_ID", "access_key_id"),
            SecretKey("AWS_SECRET_ACCESS_KEY", "secret_access_key"),
            SecretKey("AWS_SESSION_TOKEN", "session_token"),
            SecretKey("AWS_REGION", "region", is_secret=False),
            SecretKey("AWS_ENDPOINT_URL", "endpoint"),
        ),
        ports=(80, 443, 9000),  # 9000: MinIO and others inside the cluster
    ),
    Scheme(
        "gs",
        form="gs://bucket/prefix",
        authority=_BUCKET,
        authority_is="the name of a bucket",
        place="objects",
        uses=_EVERY_USE,
        reads=_FOLDER,
        probed_by="probe",
        exact=False,
        secret=(SecretKey("GOOGLE_SERVICE_ACCOUNT_KEY", "service_account_key"),),
        ports=(443,),
    ),
    Scheme(
        "az",
        form="az://container/prefix",
        authority=_BUCKET,
        authority_is="the name of a container",
        place="objects",
        uses=_EVERY_USE,
        reads=_FOLDER,
        probed_by="probe",
        exact=False,
        secret=(
            SecretKey("AZURE_STORAGE_ACCOUNT_NAME", "account_name", is_secret=False),
            SecretKey("AZURE_STORAGE_ACCOUNT_KEY", "account_key"),
        ),
        ports=(443,),
    ),
    Scheme(
        "http",
        form="http://host/path",
        authority=_HOST,
        authority_is="a host, or a host and a port",
        place="web",
        uses=("data",),
        reads=_WEB_FILE,
        probed_by="probe",
        secret=_AUTHORIZATION,
        ports=(80,),
    ),
    Scheme(
        "https",
        form="https://host/path",
        authority=_HOST,
        authority_is="a host, or a host and a port",
        place="web",
        uses=("data",),
        reads=_WEB_FILE,
        probed_by="probe",
        secret=_AUTHORIZATION,
        ports=(443,),
    ),
    Scheme(
        "feedback",
        form="feedback://deployment",
        authority=_LABEL,
        authority_is="the name of a ModelDeployment",
        place="kept rows",
        uses=("data",),
        reads="the rows with a label that a ModelDeployment of the same namespace keeps (`spec.logging.payloads`): its "
        "inputs, and the label in `label`",
        probed_by="probe",
        exact=False,
    ),
    Scheme(
        "file",
        form="file:///path",
        authority="",
        authority_is="a path",
        place="machine",
        uses=("batch output",),
        reads="of batch prediction only, where a path may stand for it",
    ),
)

BY_NAME: Final[Mapping[str, Scheme]] = {scheme.name: scheme for scheme in SCHEMES}


def deployment_of_rows(uri: str) -> str | None:
    """The name of the ModelDeployment whose kept rows a URI means; None for any other URI."""
    scheme, _, name = uri.partition("://")
    return name if scheme in BY_NAME and BY_NAME[scheme].place == "kept rows" else None


def names(use: Use) -> tuple[str, ...]:
    """Return the schemes that may be used for this."""
    return tuple(scheme.name for scheme in SCHEMES if use in scheme.uses)


DATA_SCHEMES: Final = names("data")
ARTIFACT_SCHEMES: Final = names("artifacts")
SECRET_KEYS: Final = {key.name: key for scheme in SCHEMES for key in scheme.secret}
"""Every key of a Secret that is mounted and read for some scheme, by its name. No other key is."""


def secret_keys(scheme: str) -> tuple[str, ...]:
    """Return the keys of a Secret that are mounted and read for URIs of that scheme; none where it needs no Secret."""
    return tuple(key.name for key in BY_NAME[scheme].secret)


def uri_pattern(use: Use) -> str:
    """Return the pattern of URIs that may be used for this, as a schema of Kubernetes takes it."""
    by_authority: dict[str, list[str]] = {}
    for name in names(use):
        by_authority.setdefault(BY_NAME[name].authority, []).append(name)
    parts = (f"({'|'.join(found)})://{authority}" for authority, found in by_authority.items())
    return f"^({'|'.join(parts)})([/?].*)?$"


def expected(schemes: Iterable[str]) -> str:
    """Return the end of an error about another scheme: "expected one of pvc://, s3://"."""
    return f"expected one of {', '.join(f'{name}://' for name in schemes)}"


def prefixes(schemes: Iterable[str], last: Literal["and", "or"] = "or") -> str:
    """Return them as part of a sentence: "s3://, gs:// or az://"."""
    return listed((f"{name}://" for name in schemes), last)


def with_secret(use: Use) -> tuple[str, ...]:
    """Return the schemes of this use that a `secretRef` may be given for."""
    return tuple(name for name in names(use) if BY_NAME[name].secret)


def listed(parts: Iterable[str], last: Literal["and", "or"] = "or") -> str:
    """Return a list as part of a sentence: "a, b or c"."""
    *first, end = parts
    return f"{', '.join(first)} {last} {end}" if first else end


def forms(use: Use) -> tuple[str, ...]:
    """Return how the URIs of this use are written."""
    return tuple(BY_NAME[name].form for name in names(use))


def keys_by_scheme(use: Use) -> tuple[tuple[tuple[str, ...], tuple[SecretKey, ...]], ...]:
    """Return the schemes of this use with the keys of their Secrets; those with the same keys together."""
    found: dict[tuple[SecretKey, ...], list[str]] = {}
    for name in with_secret(use):
        found.setdefault(BY_NAME[name].secret, []).append(name)
    return tuple((tuple(schemes), keys) for keys, schemes in found.items())
