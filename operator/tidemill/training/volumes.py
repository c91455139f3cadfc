"""What a training or probe pod must see of the cluster: claims, ConfigMaps and Secrets at the paths of the contract.

Shared by the Job of a run and the Job of a probe, so that a probe looks at exactly what a run will read.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import Any

from tidemill.api.base import SecretRef
from tidemill.api.v1alpha1.training_run import KeptRows, TrainingRunSpec
from tidemill.core import hashing, pod
from tidemill_contracts import schemes
from tidemill_contracts.storage import CODE_ROOT, CONFIGMAP_ROOT, PVC_ROOT, SECRET_ROOT, parse_uri

_TMP = "/tmp"  # noqa: S108 - an emptyDir of the pod
_TMP_LIMIT = "10Gi"
TMP_ENVIRONMENT = {"HOME": _TMP, "TMPDIR": _TMP}
"""Sends what libraries write to the only folder of the image that can be written to."""


@dataclass
class PodVolumes:
    """Collects volumes without doubling any; a claim that is written anywhere is writable everywhere."""

    store: str
    """URI of the artifact store. Its claim is never attached read-only, also where only the container's mount is: a pod
    that attaches a local volume read-only, as the first on its node, keeps kubelet from giving the volume to the pods'
    group, and until all its pods have gone no run can write to it. Claims of data are attached read-only: kubelet would
    otherwise change the group of a user's files."""
    claims: dict[str, bool] = field(default_factory=dict)
    """Writable, by name."""
    config_maps: set[str] = field(default_factory=set)
    secrets: dict[str, set[str]] = field(default_factory=dict)
    """Keys that are mounted, by name of the Secret."""
    written: set[str] = field(default_factory=set)
    """Claims of kept rows: a monitor's pod writes to them, so they are attached like the store's; mounts only read."""
    code: str | None = None

    def add_uri(self, text: str, *, writable: bool = False) -> None:
        """What a URI needs: a claim or a ConfigMap; nothing for the others."""
        uri = parse_uri(text)
        mount = schemes.BY_NAME[uri.scheme].mount
        if mount == "claim":
            self.claims[uri.authority] = writable or self.claims.get(uri.authority, False)
        elif mount == "configMap":
            self.config_maps.add(uri.authority)

    def add_secret(self, reference: SecretRef | None, uri: str) -> None:
        """The keys of a Secret that a pod needs for this URI."""
        keys = schemes.secret_keys(parse_uri(uri).scheme)
        if reference is not None and keys:
            self.secrets.setdefault(reference.name, set()).update(keys)

    def add_rows(self, rows: KeptRows | None) -> None:
        """What the kept rows of a deployment need; nothing where an input is something else."""
        if rows is None:
            return
        self.add_uri(rows.uri)
        self.add_secret(rows.secret_ref, rows.uri)
        uri = parse_uri(rows.uri)
        if schemes.BY_NAME[uri.scheme].mount == "claim":
            self.written.add(uri.authority)

    def volumes(self) -> list[dict[str, Any]]:
        """The pod's volumes, `tmp` first."""
        found: list[dict[str, Any]] = [pod.empty_dir("tmp", _TMP_LIMIT)]
        if self.code:
            found.append({"name": "code", "configMap": {"name": self.code}})
        store = parse_uri(self.store)
        stored_in = store.authority if schemes.BY_NAME[store.scheme].mount == "claim" else None
        for name, writable in sorted(self.claims.items()):
            claim = {
                "claimName": name,
                **({} if writable or name == stored_in or name in self.written else {"readOnly": True}),
            }
            found.append({"name": _name("claim", name), "persistentVolumeClaim": claim})
        found += [{"name": _name("map", name), "configMap": {"name": name}} for name in sorted(self.config_maps)]
        found += [
            {"name": _name("secret", name), "secret": {**pod.secret_source(name, keys), "defaultMode": 0o440}}
            for name, keys in sorted(self.secrets.items())
        ]
        return found

    def volume_mounts(self) -> list[dict[str, Any]]:
        """The container's mounts, in the order of `volumes`."""
        found: list[dict[str, Any]] = [{"name": "tmp", "mountPath": _TMP}]
        if self.code:
            found.append({"name": "code", "mountPath": CODE_ROOT, "readOnly": True})
        for name, writable in sorted(self.claims.items()):
            mount = {"name": _name("claim", name), "mountPath": f"{PVC_ROOT}/{name}"}
            found.append(mount if writable else {**mount, "readOnly": True})
        for kind, root, names in (
            ("map", CONFIGMAP_ROOT, self.config_maps),
            ("secret", SECRET_ROOT, self.secrets),
        ):
            found += [
                {"name": _name(kind, name), "mountPath": f"{root}/{name}", "readOnly": True} for name in sorted(names)
            ]
        return found

    def describe(self) -> str:
        """What the pod waits for besides its image, for a message about a pod that does not start. Not for Secrets."""
        parts = [f"ConfigMap {name}" for name in sorted(self.config_maps | ({self.code} if self.code else set()))]
        parts += [f"PersistentVolumeClaim {name}" for name in sorted(self.claims)]
        return ", ".join(parts)


def volumes_of(spec: TrainingRunSpec) -> PodVolumes:
    """What the pod of a run needs."""
    found = PodVolumes(spec.store.uri, code=spec.code.config_map.name if spec.code.config_map else None)
    for source in spec.data:
        found.add_uri(source.uri)
        found.add_secret(source.secret_ref, source.uri)
        with contextlib.suppress(ValueError):  # of a record written by hand: the trainer says that it cannot be read
            found.add_rows(source.rows)
    found.add_uri(spec.store.uri, writable=True)
    if spec.champion is not None:
        with contextlib.suppress(ValueError):  # the same
            found.add_uri(spec.champion.uri)
    found.add_secret(spec.store.secret_ref, spec.store.uri)
    return found


def _name(kind: str, name: str) -> str:
    """Name of a volume: a label, and names of claims and Secrets may hold dots and be longer."""
    return f"{kind}-{hashing.short(name, 10)}"
