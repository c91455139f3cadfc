"""URIs of data and artifacts, and where a pod finds what Kubernetes mounts for them.

The operator mounts claims, ConfigMaps and Secrets below fixed folders and hands the *public* URI
(`pvc://claim/path`) to the data plane, which maps it to a path here. So a URI means the same in a
spec, in a record and in a log line.
"""

import ipaddress
import re
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

_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_OBJECT = rf"{_LABEL}(\.{_LABEL})*"
_BUCKET = r"[A-Za-z0-9$]([-A-Za-z0-9._]*[A-Za-z0-9])?"
_HOST = r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9]([-A-Za-z0-9._]*[A-Za-z0-9.])?)(:[0-9]{1,5})?"
AUTHORITIES = {
    "builtin": (_OBJECT, "the name of a data set"),
    "pvc": (_OBJECT, "the name of a claim"),
    "configmap": (_OBJECT, "the name of a ConfigMap"),
    "s3": (_BUCKET, "the name of a bucket"),
    "gs": (_BUCKET, "the name of a bucket"),
    "az": (_BUCKET, "the name of a container"),
    "http": (_HOST, "a host, or a host and a port"),
    "https": (_HOST, "a host, or a host and a port"),
}
"""What stands between `://` and the path, by scheme: a pattern, also of the kinds' schemas, and what it is."""


def uri_pattern(schemes: tuple[str, ...]) -> str:
    """Return the pattern of URIs of these schemes, as a schema of Kubernetes takes it."""
    by_form: dict[str, list[str]] = {}
    for scheme in schemes:
        by_form.setdefault(AUTHORITIES[scheme][0], []).append(scheme)
    forms = (f"({'|'.join(names)})://{form}" for form, names in by_form.items())
    return f"^({'|'.join(forms)})([/?].*)?$"


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
        shown = text.partition("://")[0] + "://…" if "@" in text else text  # a password may stand before the @
        raise ValueError(f"unsupported URI {shown!r}: expected one of {', '.join(s + '://' for s in known)}")
    if scheme == "file":
        return Uri(scheme, "", rest.lstrip("/"))
    if scheme in ("http", "https") and "?" in rest.partition("/")[0]:
        rest = rest.replace("?", "/?", 1)
    authority, _, path = rest.partition("/")
    if not authority:
        raise ValueError(f"unsupported URI {text!r}: a name must follow {scheme}://")
    check_authority(scheme, authority)
    if ".." in path.split("/"):
        raise ValueError(f"unsupported URI {text!r}: '..' is not allowed in a path")
    return Uri(scheme, authority, path.strip("/") if scheme not in ("http", "https") else path)


def check_authority(scheme: str, authority: str) -> None:
    """Hold what stands between `://` and the path against what the scheme takes.

    Raises:
        ValueError: something else; the message holds no password.
    """
    if "@" in authority:
        raise ValueError(
            f"unsupported {scheme}:// URI: it must not contain a user or a password; use a secretRef instead"
        )
    pattern, what = AUTHORITIES[scheme]
    if re.fullmatch(pattern, authority) is None or (scheme in ("http", "https") and not _is_host(authority)):
        raise ValueError(f"unsupported URI {scheme}://{authority}: expected {what} after {scheme}://")


def _is_host(authority: str) -> bool:
    """Return whether the parts of a host that has the pattern's form have a meaning, too."""
    found = re.fullmatch(r"(?:\[(?P<v6>.*)\]|[^:]*)(?::(?P<port>[0-9]+))?", authority)
    if found is None or not 0 < int(found["port"] or 80) < 65536:
        return False
    try:
        return found["v6"] is None or bool(ipaddress.IPv6Address(found["v6"]))
    except ValueError:
        return False
