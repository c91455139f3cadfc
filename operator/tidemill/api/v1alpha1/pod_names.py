"""Names in a `pod` section that would undo what the platform decides: one table, for admission and for pods.

The API server refuses them when they are written. An object that was stored before a name came into the table keeps it:
its pods are made without that name, and a condition says so.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from tidemill.api.base import GROUP, rule

DOMAINS: Final = (GROUP, "batch.kubernetes.io")
"""Labels and annotations of these domains are set by the operator or by a controller of Kubernetes; of ours, below it
as well."""
OWN_KEY: Final = rf"^(([-a-z0-9.]*[.])?{re.escape(GROUP)}|batch[.]kubernetes[.]io)/".replace("\\.", "[.]")
OWN_LABELS: Final = (
    *(f"app.kubernetes.io/{name}" for name in ("name", "instance", "component", "part-of", "managed-by")),
    "pod-template-hash",
    "controller-uid",
    "job-name",
)
"""Labels that the operator, or a controller of Kubernetes, sets on the pods."""


@dataclass(frozen=True)
class Refused:
    """Environment variables of one purpose."""

    why: str
    """What is decided elsewhere, and where; the end of the message."""
    prefixes: tuple[str, ...] = ()
    suffixes: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    accepted: tuple[str, ...] = ()
    """Names that begin with a prefix and may be set."""
    any_case: bool = False
    """Whether programs read the names in small letters as well."""

    @cached_property
    def pattern(self) -> str:
        """The names as a regular expression for Python and CEL (RE2)."""
        found = [*(f"{prefix}.*" for prefix in self.prefixes), *(f".*{end}" for end in self.suffixes), *self.names]
        return f"{'(?i)' if self.any_case else ''}^({'|'.join(found)})$"

    def holds(self, name: str) -> bool:
        """Whether this variable is refused."""
        return name not in self.accepted and re.search(self.pattern, name) is not None

    @property
    def message(self) -> str:
        """What the API server answers."""
        parts = [f"begin with {_either(self.prefixes)}"] if self.prefixes else []
        if self.accepted:
            parts[-1] += f" (except {', '.join(self.accepted)})"
        parts += [f"end with {_either(self.suffixes)}"] if self.suffixes else []
        parts += [f"be {_either(self.names)}"] if self.names else []
        spelt = ", in capital or small letters," if self.any_case else ","
        return f"env: a name must not {', nor '.join(parts)}{spelt} because {self.why}"

    def rule(self) -> dict[str, Any]:
        """The rule of the schema."""
        accepted = f" || self in [{', '.join(map(repr, self.accepted))}]" if self.accepted else ""
        return rule(f"!self.matches('{self.pattern}'){accepted}", self.message)


def _either(names: tuple[str, ...]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"


ENVIRONMENT: Final = (
    Refused(
        "these are set by the operator or make a process load other code",
        prefixes=("TIDEMILL_", "LD_", "PYTHON", "OPENSSL_", "GCONV_", "GLIBC_"),
        names=(
            "HOME", "TMPDIR", "TMP", "TEMP", "PATH", "BASH_ENV", "LOCPATH", "NLSPATH", "OMP_TOOL_LIBRARIES",
            "ARROW_LIBHDFS_DIR", "HADOOP_HOME",
        ),
    ),
    Refused(
        "these change what the process writes, or whom it believes",
        names=(
            "MALLOC_TRACE", "GETCONF_DIR", "TZDIR", "PROMETHEUS_MULTIPROC_DIR", "FORWARDED_ALLOW_IPS",
            "WEB_CONCURRENCY",
        ),
        any_case=True,
    ),
    # The rest of what the C library itself does not take from a user with fewer rights (unsecvars.h of glibc).
    Refused(
        "the cluster's DNS resolves names for all pods",
        names=("HOSTALIASES", "LOCALDOMAIN", "NIS_PATH", "RESOLV_HOST_CONF", "RES_OPTIONS"),
    ),
    Refused(
        "certificate authorities are set for all pods by the operator's setting TIDEMILL_CA_BUNDLE_CONFIG_MAP",
        names=(
            "SSL_CERT_FILE", "SSL_CERT_DIR", "SSLKEYLOGFILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "AWS_CA_BUNDLE",
            "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",
        ),
        any_case=True,
    ),
    # They decide where our own connections lead, past the addresses that may not be dialled. Python takes the proxy of
    # any scheme from a name that ends so.
    Refused(
        "a proxy is set for all pods by the operator's settings TIDEMILL_HTTP_PROXY, TIDEMILL_HTTPS_PROXY and "
        "TIDEMILL_NO_PROXY",
        suffixes=("_PROXY",),
        any_case=True,
    ),
    Refused(
        "these change how gRPC resolves, connects and trusts",
        prefixes=("GRPC_",),
        accepted=("GRPC_VERBOSITY", "GRPC_ENABLE_FORK_SUPPORT"),
        any_case=True,
    ),
    # Where traces, with the contents of requests in them, are sent; and classes that the SDK loads by their name.
    Refused(
        "traces are sent where spec.server.tracing says",
        prefixes=("OTEL_EXPORTER_", "OTEL_PYTHON_", "OTEL_EXPERIMENTAL_"),
        names=(
            "OTEL_TRACES_EXPORTER", "OTEL_METRICS_EXPORTER", "OTEL_LOGS_EXPORTER", "OTEL_PROPAGATORS",
            "OTEL_CONFIG_FILE",
        ),
        any_case=True,
    ),
    # The libraries of the object stores take dozens of names, and more with each release: so by prefix.
    Refused(
        "credentials and address of a store come from the keys of a Secret (secretRef), or from the identity of "
        "serviceAccountName",
        prefixes=(
            "AWS_", "AZURE_", "GOOGLE_", "GCE_METADATA_", "CLOUDSDK_", "BOTO_", "STORAGE_EMULATOR_HOST", "IDENTITY_",
            "MSI_",
        ),
        names=("NETRC", "METADATA_SERVER_DETECTION", "NO_GCE_CHECK", "GCLOUD_PROJECT", "SERVICE_ACCOUNT"),
        accepted=(
            "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_MAX_ATTEMPTS", "AWS_RETRY_MODE", "AWS_SERVER_SIDE_ENCRYPTION",
            "AWS_SSE_KMS_KEY_ID", "AWS_SSE_BUCKET_KEY_ENABLED", "AZURE_STORAGE_ACCOUNT_NAME", "GOOGLE_CLOUD_PROJECT",
        ),
        any_case=True,
    ),
)  # fmt: skip
CONTROL: Final = r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]"
"""Characters that a value must not hold: the zero byte ends a variable, so no process starts with one, and of the
others only tab, line feed and carriage return are text."""


def is_own_key(key: str) -> bool:
    """Whether a label or annotation has a prefix of ours or of a controller of Kubernetes."""
    return re.search(OWN_KEY, key) is not None


def is_refused_label(key: str) -> bool:
    """Whether the API server refuses a label of pods."""
    return is_own_key(key) or key in OWN_LABELS


def is_refused_variable(name: str) -> bool:
    """Whether the API server refuses an environment variable of pods."""
    return any(refused.holds(name) for refused in ENVIRONMENT)


def is_variable_kept(name: str, value: str) -> bool:
    """Whether a variable that may have been stored before a rule came reaches the pods."""
    return not is_refused_variable(name) and re.search(CONTROL, value) is None


def refused(labels: Iterable[str], annotations: Iterable[str], variables: Iterable[tuple[str, str]]) -> list[str]:
    """The names that are refused, each with its field: `env AWS_PROFILE`. `variables`: names and values."""
    return [
        *(f"labels {key}" for key in labels if is_refused_label(key)),
        *(f"annotations {key}" for key in annotations if is_own_key(key)),
        *(f"env {name}" for name, value in variables if not is_variable_kept(name, value)),
    ]
