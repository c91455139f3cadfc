"""Settings of the operator process, from TIDEMILL_* environment variables and nothing else.

Why environment: a Deployment's manifest is the one place where an administrator looks. Read once at start, passed down,
never a global. docs/operator.md lists every variable; a value that cannot be read fails the start with a sentence.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from tidemill_contracts import quantities
from tidemill_contracts.storage import ALLOWED_NETWORKS_ENV, EXPANDED_LIMIT_ENV, REFUSED_NETWORKS_ENV

_PULL_POLICIES = ("Always", "IfNotPresent", "Never")
_LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
KEY_LENGTH = 32
_ACCESS_MODES = ("ReadWriteOnce", "ReadWriteMany", "ReadWriteOncePod")


class ConfigError(ValueError):
    """A TIDEMILL_* variable holds something unusable; the message names it and what is allowed."""


def _own_name() -> str:
    """Two processes that were given no name must not take each other for the holder of the Lease."""
    return f"{os.uname().nodename}-{os.getpid()}"


_LONGEST_SETTLE = 600


@dataclass(frozen=True, slots=True)
class OperatorConfig:
    """Field `x_y` is read from TIDEMILL_X_Y. Durations are seconds."""

    trainer_image: str = "tidemill.io/trainer:dev"
    server_image: str = "tidemill.io/server:dev"
    monitor_image: str = "tidemill.io/monitor:dev"
    router_image: str = "tidemill.io/router:dev"
    image_pull_policy: str = "IfNotPresent"
    image_pull_secrets: tuple[str, ...] = ()
    """Names of pull secrets that generated pods refer to; they must exist in the pods' namespaces."""
    run_as_user: str | None = None
    """FromNamespace: generated pods name no user and no groups, and the cluster gives them those of their namespace
    (OpenShift); None: 65532."""
    ca_bundle_config_map: str | None = None
    """Name of a ConfigMap with certificate authorities, which exists in every namespace that is served; None: pods
    trust those of their image."""
    ca_bundle_key: str = "ca-bundle.crt"
    """Its key. The value, in PEM, is all that pods trust."""
    http_proxy: str | None = None
    """URL of the proxy by which generated pods reach http addresses outside of the cluster."""
    https_proxy: str | None = None
    """The same for https."""
    no_proxy: tuple[str, ...] = ()
    """Hosts and suffixes of host names (.example.com) that are reached without a proxy, beside those in the cluster."""
    watch_namespaces: tuple[str, ...] = ()
    """Empty: the whole cluster."""
    artifact_claim_name: str = "tidemill-artifacts"
    artifact_claim_size: str = "10Gi"
    artifact_claim_storage_class: str | None = None
    """None: the cluster's default class."""
    artifact_claim_access_modes: tuple[str, ...] = ("ReadWriteOnce",)
    scraper_namespaces: tuple[tuple[str, str], ...] = ()
    """Labels of the namespaces whose pods may read metrics, in NetworkPolicies that are made; empty: any namespace."""
    docs_url: str | None = None
    """Where people read the folder docs/ of this version; stands before it in the `runbook_url` of alerts."""
    allowed_networks: tuple[str, ...] = ()
    """Networks (CIDR) that data and artifact URIs may lead to although the default or the next setting refuses them."""
    refused_networks: tuple[str, ...] = ()
    """Networks that they may not lead to, beside loopback, link-local and metadata addresses."""
    expanded_limit: str | None = None
    """What a compressed data file may become, a quantity; None: the data plane's default."""
    record_keys: tuple[str, ...] = field(default=(), repr=False)
    """Secrets by which the operator signs records of versions in artifact stores; the first signs, all are believed.
    Empty: no records are written or read."""
    log_level: str = "INFO"
    workers: int = 32
    updates_at_once: int = 5
    """So many objects at a time have their pods replaced because of a new operator or image; 0: none."""
    config_map_settle_seconds: float = 3.0
    """So long must ConfigMaps of code and data have stayed as they are before a change of inputs starts a run."""
    resync_seconds: float = 600.0
    namespace: str = "tidemill-system"
    """The operator's own namespace: where its Lease lives."""
    pod_name: str = field(default_factory=_own_name)
    """Identity in the Lease and reportingInstance of events; unset: host name and process id."""
    leader_election: bool = True
    lease_name: str = "tidemill-operator"
    lease_duration_seconds: float = 15.0
    renew_deadline_seconds: float = 10.0
    retry_period_seconds: float = 2.0
    http_port: int = 8080
    """/healthz, /readyz and /metrics."""
    webhook_targets: tuple[str, ...] = ()
    """`host:port` of receivers with private addresses, for example alertmanager.monitoring.svc:9093, to which monitors
    may send alerts. Receivers with public addresses need no entry."""
    watch_stale_seconds: float = 240.0
    """Liveness fails when a watch connection has been silent for longer (bookmarks come about every minute)."""

    @classmethod
    def from_env(cls, env: Mapping[str, str] | None = None) -> OperatorConfig:
        """Reads the variables; ConfigError for an unusable value (unknown names: see `unknown_settings`)."""
        env = os.environ if env is None else env
        values: dict[str, Any] = {}
        known = {f"TIDEMILL_{f.name.upper()}": f for f in fields(cls)}
        for name, text in env.items():
            if name not in known:
                continue
            setting = known[name]
            values[setting.name] = _read(name, text, _PARSERS.get(str(setting.type), str))
        config = cls(**values)
        cls._check(config)
        return config

    def data_environment(self) -> dict[str, str]:
        """What the pods that read data and artifacts are given of these settings; nothing that is not set."""
        found = {
            ALLOWED_NETWORKS_ENV: ",".join(self.allowed_networks),
            REFUSED_NETWORKS_ENV: ",".join(self.refused_networks),
            EXPANDED_LIMIT_ENV: self.expanded_limit or "",
        }
        return {name: value for name, value in found.items() if value}

    def _check(self) -> None:
        _one_of("TIDEMILL_IMAGE_PULL_POLICY", self.image_pull_policy, _PULL_POLICIES)
        if any(len(key) < KEY_LENGTH for key in self.record_keys):
            raise ConfigError(f"TIDEMILL_RECORD_KEYS: every key must have at least {KEY_LENGTH} characters")
        _one_of("TIDEMILL_LOG_LEVEL", self.log_level, _LOG_LEVELS)
        for mode in self.artifact_claim_access_modes:
            _one_of("TIDEMILL_ARTIFACT_CLAIM_ACCESS_MODES", mode, _ACCESS_MODES)
        if self.run_as_user not in (None, "FromNamespace"):
            raise ConfigError(
                f"TIDEMILL_RUN_AS_USER={self.run_as_user!r} is not allowed; allowed is FromNamespace, or leave it out"
            )
        _config_map(self.ca_bundle_config_map, self.ca_bundle_key)
        _proxy("TIDEMILL_HTTP_PROXY", self.http_proxy)
        _proxy("TIDEMILL_HTTPS_PROXY", self.https_proxy)
        _hosts("TIDEMILL_NO_PROXY", self.no_proxy)
        _address("TIDEMILL_DOCS_URL", self.docs_url)
        _networks("TIDEMILL_ALLOWED_NETWORKS", self.allowed_networks)
        _networks("TIDEMILL_REFUSED_NETWORKS", self.refused_networks)
        _targets("TIDEMILL_WEBHOOK_TARGETS", self.webhook_targets)
        if self.expanded_limit is not None and quantities.size(self.expanded_limit) is None:
            raise ConfigError(f"TIDEMILL_EXPANDED_LIMIT {quantities.SIZE_RULE}")
        if not self.pod_name:
            raise ConfigError("TIDEMILL_POD_NAME must not be empty: it tells the replicas apart")
        if self.workers < 1:
            raise ConfigError("TIDEMILL_WORKERS must be at least 1")
        if not 0 <= self.config_map_settle_seconds <= _LONGEST_SETTLE:
            raise ConfigError(f"TIDEMILL_CONFIG_MAP_SETTLE_SECONDS must be between 0 and {_LONGEST_SETTLE}")
        if self.updates_at_once < 0:
            raise ConfigError("TIDEMILL_UPDATES_AT_ONCE must not be negative; 0 replaces no pods")
        if not self.lease_duration_seconds > self.renew_deadline_seconds > self.retry_period_seconds > 0:
            raise ConfigError(
                "TIDEMILL_LEASE_DURATION_SECONDS must be above TIDEMILL_RENEW_DEADLINE_SECONDS, and that above "
                "TIDEMILL_RETRY_PERIOD_SECONDS"
            )


def unknown_settings(env: Mapping[str, str] | None = None) -> list[str]:
    """TIDEMILL_* variables that are no setting of the operator: worth a warning, since a typo looks like that."""
    env = os.environ if env is None else env
    known = {f"TIDEMILL_{f.name.upper()}" for f in fields(OperatorConfig)}
    found = (name for name in env if name.startswith("TIDEMILL_") and name not in known)
    return sorted(name for name in found if not _SERVICE_LINK.search(name))


_SERVICE_LINK = re.compile(r"_(SERVICE_HOST|SERVICE_PORT(_.*)?|PORT(_.*)?)$")
"""What the kubelet adds for Services whose names begin with `tidemill-`, where enableServiceLinks is on."""


def _bool(text: str) -> bool:
    if text.lower() in ("true", "1", "yes"):
        return True
    if text.lower() in ("false", "0", "no"):
        return False
    raise ValueError("must be true or false")


def _words(text: str) -> tuple[str, ...]:
    return tuple(word for word in (part.strip() for part in text.split(",")) if word)


_LABEL = re.compile(r"([-a-z0-9.]{1,253}/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")


def _labels(text: str) -> tuple[tuple[str, str], ...]:
    pairs = [word.partition("=") for word in _words(text)]
    for key, sign, value in pairs:
        if not sign or not _LABEL.fullmatch(key) or (value and not ("/" not in value and _LABEL.fullmatch(value))):
            raise ValueError("must be comma-separated labels key=value")
    return tuple((key, value) for key, _, value in pairs)


def _optional(text: str) -> str | None:
    return text or None


_PARSERS: dict[str, Callable[[str], Any]] = {
    "int": int,
    "float": float,
    "bool": _bool,
    "tuple[str, ...]": _words,
    "tuple[tuple[str, str], ...]": _labels,
    "str | None": _optional,
}


def _read(name: str, text: str, parser: Callable[[str], Any]) -> Any:
    try:
        return parser(text)
    except ValueError as error:
        raise ConfigError(f"{name}={text!r} cannot be read: {error}") from error


def _networks(name: str, words: tuple[str, ...]) -> None:
    for word in words:
        try:
            ipaddress.ip_network(word)
        except ValueError as error:
            raise ConfigError(f"{name}: {error}; a network is written like 10.0.0.0/8 or fd00::/8") from error


_OBJECT_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
_KEY = re.compile(r"[-._a-zA-Z0-9]{1,253}")
_PROXY = re.compile(r"http://(?:[A-Za-z0-9][-A-Za-z0-9.]*|\[[0-9A-Fa-f:]+\]):([0-9]{1,5})/?")
_ADDRESS = re.compile(r"https?://[A-Za-z0-9\[][^\s\"'{}<>]{0,511}")
_TARGET = re.compile(r"([A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?|[0-9A-Fa-f:]*:[0-9A-Fa-f:.]*):[0-9]{1,5}")
_HOST = re.compile(r"\.?[A-Za-z0-9]([-A-Za-z0-9.]*[A-Za-z0-9])?(:[0-9]{1,5})?|[0-9a-fA-F:]+")


def _config_map(name: str | None, key: str) -> None:
    if name is not None and not _OBJECT_NAME.fullmatch(name):
        raise ConfigError(f"TIDEMILL_CA_BUNDLE_CONFIG_MAP={name!r} is no name of a ConfigMap")
    if not _KEY.fullmatch(key) or key in (".", ".."):
        raise ConfigError(f"TIDEMILL_CA_BUNDLE_KEY={key!r} is no key of a ConfigMap")


def _proxy(name: str, url: str | None) -> None:
    """The value is in every pod's spec, which `view` reads."""
    if url is None:
        return
    if "@" in url:
        raise ConfigError(f"{name} must hold no user and no password: everybody who may read pods sees it")
    found = _PROXY.fullmatch(url)
    if found is None or not 0 < int(found[1]) < 65536:
        raise ConfigError(f"{name}={url!r} is no proxy; it is written like http://proxy.example.com:3128")


def _address(name: str, url: str | None) -> None:
    if url is not None and not _ADDRESS.fullmatch(url):
        raise ConfigError(f"{name}={url!r} is no address; it is written like https://git.example.com/mlops/tidemill")


def _hosts(name: str, words: tuple[str, ...]) -> None:
    for word in words:
        if not _HOST.fullmatch(word):
            raise ConfigError(
                f"{name}: {word!r} is no host and no suffix of host names, as minio.team and .example.com are "
                "(networks such as 10.0.0.0/8 are not understood by all programs)"
            )


def _targets(name: str, words: tuple[str, ...]) -> None:
    for word in words:
        if not _TARGET.fullmatch(word):
            raise ConfigError(f"{name}: {word!r} is no host with a port, as alertmanager.monitoring.svc:9093 is")


def _one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ConfigError(f"{name}={value!r} is not allowed; allowed are {', '.join(allowed)}")
