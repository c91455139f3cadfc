"""A configuration document on its way into a pod: environment, and where that is too small, ConfigMap and mount.

Small documents stay in the environment: no further object for each run, and images that know nothing of files go on to
work (docs/decisions/0157).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tidemill.core import children
from tidemill_contracts import delivery as contract

VOLUME = "config"


@dataclass(frozen=True, slots=True)
class Delivery:
    """What a pod and its surroundings need so that the process finds its document."""

    environment: Mapping[str, str]
    volumes: list[dict[str, Any]] = field(default_factory=list)
    mounts: list[dict[str, Any]] = field(default_factory=list)
    objects: tuple[dict[str, Any], ...] = ()
    """The ConfigMap, to be applied before the pod is made."""


def deliver(
    variable: str,
    text: str,
    *,
    name: str,
    owner: Mapping[str, Any],
    labels: Mapping[str, str],
    immutable: bool = False,
) -> Delivery:
    """The way of a document; `name`, `owner` and `labels` are those of the ConfigMap that a long one gets."""
    environment = contract.variables(variable, text)
    if variable in environment:
        return Delivery(environment)
    config_map: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": children.metadata(name, owner, labels),
        "data": {contract.FILE_NAME: text},
    }
    if immutable:
        config_map["immutable"] = True
    volume = {"name": VOLUME, "configMap": {"name": name}}
    mount = {"name": VOLUME, "mountPath": contract.CONFIG_ROOT, "readOnly": True}
    return Delivery(environment, [volume], [mount], (config_map,))
