"""URIs of data and artifacts, and where a pod finds what Kubernetes mounts for them.

The operator mounts claims, ConfigMaps and Secrets below fixed folders and hands the *public* URI
(`pvc://claim/path`) to the data plane, which maps it to a path here. So a URI means the same in a
spec, in a record and in a log line.
"""

import ipaddress
import re
from dataclasses import dataclass

from tidemill_contracts import schemes

PVC_ROOT = "/mnt/pvc"  # /mnt/pvc/<claim>/<path>
CONFIGMAP_ROOT = "/mnt/configmap"  # /mnt/configmap/<name>/<key>
SECRET_ROOT = "/mnt/secret"  # noqa: S105  a folder, /mnt/secret/<name>/<key>
MOUNT_ROOTS = {"claim": PVC_ROOT, "configMap": CONFIGMAP_ROOT}
CODE_ROOT = "/mnt/code"  # the files of the code ConfigMap

URI_LIMIT = 4096  # characters of the URI of a version

# Comma-separated networks (CIDR) that URIs may lead to beside, or not to beside, the default; settings of the operator
# that it hands to the pods that read data.
ALLOWED_NETWORKS_ENV = "TIDEMILL_ALLOWED_NETWORKS"
REFUSED_NETWORKS_ENV = "TIDEMILL_REFUSED_NETWORKS"
EXPANDED_LIMIT_ENV = "TIDEMILL_EXPANDED_LIMIT"  # a quantity: what a compressed file may become


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
    known = schemes.BY_NAME.get(scheme)
    if not separator or known is None:
        shown = scheme + "://…" if "@" in text else text  # a password may stand before the @
        raise ValueError(f"unsupported URI {shown!r}: {schemes.expected(sorted(schemes.BY_NAME))}")
    if known.place == "machine":
        return Uri(scheme, "", rest.lstrip("/"))
    if known.is_url and "?" in rest.partition("/")[0]:
        rest = rest.replace("?", "/?", 1)
    authority, _, path = rest.partition("/")
    if not authority:
        raise ValueError(f"unsupported URI {text!r}: a name must follow {scheme}://")
    check_authority(scheme, authority)
    if ".." in path.split("/"):
        raise ValueError(f"unsupported URI {text!r}: '..' is not allowed in a path")
    return Uri(scheme, authority, path if known.is_url else path.strip("/"))


def check_authority(scheme: str, authority: str) -> None:
    """Hold what stands between `://` and the path against what the scheme takes.

    Raises:
        ValueError: something else; the message holds no password.
    """
    if "@" in authority:
        raise ValueError(
            f"unsupported {scheme}:// URI: it must not contain a user or a password; use a secretRef instead"
        )
    known = schemes.BY_NAME[scheme]
    if re.fullmatch(known.authority, authority) is None or (known.is_url and not _is_host(authority)):
        raise ValueError(f"unsupported URI {scheme}://{authority}: expected {known.authority_is} after {scheme}://")


def _is_host(authority: str) -> bool:
    """Return whether the parts of a host that has the pattern's form have a meaning, too."""
    found = re.fullmatch(r"(?:\[(?P<v6>.*)\]|[^:]*)(?::(?P<port>[0-9]+))?", authority)
    if found is None or not 0 < int(found["port"] or 80) < 65536:
        return False
    try:
        return found["v6"] is None or bool(ipaddress.IPv6Address(found["v6"]))
    except ValueError:
        return False
