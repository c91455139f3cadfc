"""What the monitor's pod needs to keep rows in a store: configuration, mounts and the settings of the network."""

from __future__ import annotations

from typing import Any

from tidemill.api.v1alpha1.payload_log import Payloads
from tidemill.core import pod
from tidemill.monitoring.snapshot import Snapshot
from tidemill_contracts import payloads, retention, schemes
from tidemill_contracts.payloads import PayloadConfig
from tidemill_contracts.storage import PVC_ROOT, SECRET_ROOT, parse_uri

_DAY = 86_400


def wanted(snapshot: Snapshot) -> Payloads | None:
    """What the deployment says; None where it keeps no rows."""
    return snapshot.served.payloads if snapshot.served is not None else None


def config(snapshot: Snapshot) -> PayloadConfig | None:
    """The part of the monitor's configuration."""
    found, performance = wanted(snapshot), snapshot.spec.performance
    if found is None:
        return None
    return PayloadConfig(
        uri=payloads.folder(found.uri, snapshot.namespace, snapshot.spec.deployment),
        secret=found.secret_ref.name if found.secret_ref else None,
        columns=None if found.columns is None else tuple(found.columns),
        redact=tuple(found.redact),
        retention_seconds=found.retention_days * _DAY,
        wait_seconds=performance.label_delay_seconds if performance else retention.DEFAULT_LABEL_DELAY,
    )


def over_the_network(snapshot: Snapshot) -> bool:
    """Whether the pod has to reach the store itself; the node mounts claims."""
    found = wanted(snapshot)
    return found is not None and schemes.BY_NAME[parse_uri(found.uri).scheme].mount != "claim"


def environment(snapshot: Snapshot) -> dict[str, str]:
    """Which networks the store may be in, as the operator's configuration says."""
    return dict(snapshot.settings.data_environment) if wanted(snapshot) is not None else {}


def mounts(snapshot: Snapshot) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Volumes and mounts: the claim, for writing, and the entries of the Secret that the store needs."""
    found = wanted(snapshot)
    volumes: list[dict[str, Any]] = []
    mounted: list[dict[str, Any]] = []
    if found is None:
        return volumes, mounted
    uri = parse_uri(found.uri)
    if schemes.BY_NAME[uri.scheme].mount == "claim":
        volumes.append({"name": "payloads", "persistentVolumeClaim": {"claimName": uri.authority}})
        mounted.append({"name": "payloads", "mountPath": f"{PVC_ROOT}/{uri.authority}"})
    keys = schemes.secret_keys(uri.scheme)
    if found.secret_ref is not None and keys:
        volumes.append({"name": "payload-credentials", "secret": pod.secret_source(found.secret_ref.name, keys)})
        path = f"{SECRET_ROOT}/{found.secret_ref.name}"
        mounted.append({"name": "payload-credentials", "mountPath": path, "readOnly": True})
    return volumes, mounted
