"""URIs of data and artifacts, and where a pod finds what Kubernetes mounts for them.

The operator mounts claims, ConfigMaps and Secrets below fixed folders and hands the *public* URI
(`pvc://claim/path`) to the data plane, which maps it to a path here. So a URI means the same in a
spec, in a record and in a log line.
"""

from dataclasses import dataclass

PVC_ROOT = "/mnt/pvc"  # /mnt/pvc/<claim>/<path>
CONFIGMAP_ROOT = "/mnt/configmap"  # /mnt/configmap/<name>/<key>
SECRET_ROOT = "/mnt/secret"  # noqa: S105  a folder, /mnt/secret/<name>/<key>
CODE_ROOT = "/mnt/code"  # the files of the code ConfigMap

MOUNTED_SCHEMES = ("pvc", "configmap")
OBJECT_STORE_SCHEMES = ("s3", "gs", "az", "file")
DATA_SCHEMES = ("builtin", "configmap", "pvc", "s3", "gs", "az", "http", "https")
ARTIFACT_SCHEMES = ("pvc", "s3", "gs", "az")
URI_LIMIT = 4096  # characters of the URI of a version

# Comma-separated networks (CIDR) that URIs may lead to beside, or not to beside, the default; settings of the operator
# that it hands to the pods that read data.
ALLOWED_NETWORKS_ENV = "TIDEMILL_ALLOWED_NETWORKS"
REFUSED_NETWORKS_ENV = "TIDEMILL_REFUSED_NETWORKS"
EXPANDED_LIMIT_ENV = "TIDEMILL_EXPANDED_LIMIT"  # a quantity: what a compressed file may become

# What a Secret named by a `secretRef` may hold, by the scheme that it is used for: key -> option of the object store
# or header of the request. No other key of the Secret is mounted.
_S3 = {
    "AWS_ACCESS_KEY_ID": "access_key_id",
    "AWS_SECRET_ACCESS_KEY": "secret_access_key",
    "AWS_SESSION_TOKEN": "session_token",
    "AWS_REGION": "region",
    "AWS_ENDPOINT_URL": "endpoint",
}
_HTTP = {"AUTHORIZATION": "authorization"}
CREDENTIALS: dict[str, dict[str, str]] = {
    "s3": _S3,
    "gs": {"GOOGLE_SERVICE_ACCOUNT_KEY": "service_account_key"},
    "az": {"AZURE_STORAGE_ACCOUNT_NAME": "account_name", "AZURE_STORAGE_ACCOUNT_KEY": "account_key"},
    "http": _HTTP,
    "https": _HTTP,
}
SECRET_KEYS = tuple(dict.fromkeys(key for keys in CREDENTIALS.values() for key in keys))


def secret_keys(scheme: str) -> tuple[str, ...]:
    """Return the keys of a Secret that are mounted and read for URIs of that scheme; none where it needs no Secret."""
    return tuple(CREDENTIALS.get(scheme, ()))


@dataclass(frozen=True)
class Uri:
    """A parsed URI: `scheme://authority/path`, path without leading slash."""

    scheme: str
    authority: str
    path: str

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}" + (f"/{self.path}" if self.path else "")

    def child(self, *parts: str) -> "Uri":
        """Return the URI of a file or folder below this one."""
        joined = "/".join(p.strip("/") for p in (self.path, *parts) if p.strip("/"))
        return Uri(self.scheme, self.authority, joined)


def parse_uri(text: str) -> Uri:
    """Split a URI.

    Raises:
        ValueError: no scheme, or a scheme or form that Tidemill does not read; the message names the allowed ones.
    """
    scheme, separator, rest = text.partition("://")
    known = sorted({*DATA_SCHEMES, *OBJECT_STORE_SCHEMES})
    if not separator or scheme not in known:
        raise ValueError(f"unsupported URI {text!r}: expected one of {', '.join(s + '://' for s in known)}")
    if scheme == "file":
        return Uri(scheme, "", rest.lstrip("/"))
    authority, _, path = rest.partition("/")
    if not authority:
        raise ValueError(f"unsupported URI {text!r}: nothing stands after {scheme}://")
    if ".." in path.split("/"):
        raise ValueError(f"unsupported URI {text!r}: '..' is not allowed in a path")
    return Uri(scheme, authority, path.strip("/") if scheme not in ("http", "https") else path)
