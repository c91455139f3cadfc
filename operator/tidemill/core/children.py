"""What all children have: metadata, labels, and the owner reference by which they are known.

Values are plain dicts, ready for server-side apply. Labels and annotations of a user's object are never copied onto its
children; those of a `pod` section are on pods alone (`core.pod`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tidemill.core import labels as keys
from tidemill.core import names


def owner_reference(obj: Mapping[str, Any]) -> dict[str, Any]:
    """The controller ownerReference to `obj` (a live object; KeyError without a uid)."""
    meta = obj["metadata"]
    return {
        "apiVersion": obj["apiVersion"],
        "kind": obj["kind"],
        "name": meta["name"],
        "uid": meta["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }


def labels(component: str, instance: str, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The labels of a child: recommended ones plus `extra` (tidemill.io/* keys of `core.labels`)."""
    return {
        keys.NAME: f"tidemill-{component}",
        keys.INSTANCE: names.label_value(instance),
        keys.COMPONENT: component,
        keys.PART_OF: "tidemill",
        keys.MANAGED_BY: keys.MANAGED_BY_VALUE,
        **{key: names.label_value(value) for key, value in sorted((extra or {}).items())},
    }


def metadata(
    name: str,
    owner: Mapping[str, Any],
    labels: Mapping[str, str],
    annotations: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Metadata of a child of `owner` in the owner's namespace."""
    out: dict[str, Any] = {
        "name": name,
        "namespace": owner["metadata"]["namespace"],
        "labels": dict(labels),
        "ownerReferences": [owner_reference(owner)],
    }
    if annotations:
        out["annotations"] = dict(annotations)
    return out


def is_controlled_by(obj: Mapping[str, Any], owner_uid: str) -> bool:
    """Whether the controller of `obj` is the object with that uid."""
    return controller_of(obj).get("uid") == owner_uid


def controller_of(obj: Mapping[str, Any]) -> dict[str, Any]:
    """The controller ownerReference of `obj`; an empty dict when there is none."""
    references: Sequence[dict[str, Any]] = obj["metadata"].get("ownerReferences") or ()
    return next((r for r in references if r.get("controller")), {})
