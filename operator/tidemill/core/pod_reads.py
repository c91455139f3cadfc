"""Which objects of its namespace the pods of a manifest read by name: files, variables, storage, account. Pure.

Found in the manifest itself, so that no builder has to list them and none can be forgotten.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

Child = tuple[str, str]
"""Kind and name of an object in the namespace of whoever is spoken of."""


def of(manifest: Mapping[str, Any]) -> set[Child]:
    """What the pods of a manifest with a pod template (Deployment, Job) read; nothing for any other object."""
    template = (manifest.get("spec") or {}).get("template") or {}
    return set(_of_pod(template.get("spec") or {}))


def _of_pod(spec: Mapping[str, Any]) -> Iterator[Child]:
    if spec.get("serviceAccountName"):
        yield "ServiceAccount", spec["serviceAccountName"]
    for volume in spec.get("volumes") or ():
        sources = (volume.get("projected") or {}).get("sources") or ()
        for source in (volume, *sources):
            yield from _named(source, "ConfigMap", "configMap", "name")
            yield from _named(source, "Secret", "secret", "secretName")
            yield from _named(source, "Secret", "secret", "name")
        yield from _named(volume, "PersistentVolumeClaim", "persistentVolumeClaim", "claimName")
    for container in (*(spec.get("initContainers") or ()), *(spec.get("containers") or ())):
        for source in container.get("envFrom") or ():
            yield from _named(source, "ConfigMap", "configMapRef", "name")
            yield from _named(source, "Secret", "secretRef", "name")
        for variable in container.get("env") or ():
            source = variable.get("valueFrom") or {}
            yield from _named(source, "ConfigMap", "configMapKeyRef", "name")
            yield from _named(source, "Secret", "secretKeyRef", "name")


def _named(source: Mapping[str, Any], kind: str, field: str, key: str) -> Iterator[Child]:
    name = (source.get(field) or {}).get(key)
    if name:
        yield kind, name
