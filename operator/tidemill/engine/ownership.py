"""Whose a child is, and which pods must not read one that is not ours.

Ours is what has the reconciled object as its controller, by uid. An object that somebody else made under the name of a
child is never touched, and its content is never believed: no pods are made that read it by its name, and a Deployment
whose pods read it already is deleted, as the kubelet shows them whatever has the name (decision 0257).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from tidemill.core import pod_reads
from tidemill.core.children import controller_of, is_controlled_by
from tidemill.core.labels import MANAGED_BY, MANAGED_BY_VALUE
from tidemill.core.plan import ObjectRef
from tidemill.core.pod_reads import Child
from tidemill.errors import ApiError, Stalled, Waiting
from tidemill.kube import registry

Obj = dict[str, Any]

NOT_OWNED = "NotOwned"
CHILD_TERMINATING = "ChildTerminating"
FOREIGN_LOOK_SECONDS = 15.0
"""How often it is looked whether a name is free again: what is not ours is not watched."""
Refusal = Stalled | Waiting | ApiError
"""Why one child could not be written."""


class OursIsTerminating(Waiting):
    """A child of ours is being deleted; as long as it is there, its content is what we wrote."""

    def __init__(self, ref: ObjectRef) -> None:
        """`ref`: the child."""
        text = f"{ref.kind} {ref.name} is being deleted and will be created again afterwards"
        super().__init__(CHILD_TERMINATING, text, 2.0)


class KeptBack(Stalled):
    """A child that relies on one that is not ours; nobody else has made it."""


class OursIsUnlabelled(Stalled):
    """A child of ours lost the label by which it is watched."""


def not_owned(message: str) -> Stalled:
    """The refusal of an object that is not ours: a person must act, and nobody says when that was done."""
    return Stalled(NOT_OWNED, message, FOREIGN_LOOK_SECONDS)


def check_owner(live: Obj, wanted: Obj) -> None:
    """Refuses a child that has another controller, or none of ours where it should have one."""
    ref = ObjectRef.of(wanted)
    owner, has = controller_of(wanted), controller_of(live)
    if owner.get("uid") == has.get("uid") and (owner or is_labelled(live) or _is_write_once(ref)):
        return
    same_name = {k: has.get(k) for k in ("kind", "name")} == {k: owner.get(k) for k in ("kind", "name")}
    if owner and same_name:
        message = f"{ref.kind} {ref.name} still belongs to an earlier {owner['kind']} of this name and is being removed"
        raise Waiting(CHILD_TERMINATING, message, 2.0)
    holder = f"is controlled by {has['kind']} {has['name']}" if has else "was not created by Tidemill"
    raise not_owned(f"{ref.kind} {ref.name} exists and {holder}; it is not changed: delete or rename it")


def is_labelled(live: Obj) -> bool:
    """Whether an object has the label by which the watches select ours."""
    return bool((live["metadata"].get("labels") or {}).get(MANAGED_BY) == MANAGED_BY_VALUE)


def is_proof_missing(manifest: Obj, error: Refusal) -> bool:
    """Whether a refused child may have, or come to have, content that is not ours.

    A child without an owner of ours is left out: the default claim may be made by an administrator, on purpose.
    """
    return bool(controller_of(manifest)) and not isinstance(error, OursIsTerminating | OursIsUnlabelled)


def kept_back(manifest: Obj, leads_to: Collection[Child], unproven: Mapping[Child, Refusal]) -> Refusal | None:
    """Why a manifest must not be applied now: the first that it relies on of those that are not known to be ours.

    `leads_to`: what its content leads requests to, beside what its pods read.
    """
    read = pod_reads.of(manifest)
    child = next((c for c in sorted({*read, *leads_to}) if c in unproven), None)
    cause = unproven[child] if child is not None else None
    if not isinstance(cause, Stalled):
        return cause
    where = f"{manifest['kind']} {manifest['metadata']['name']}"
    then = f"no pods are made that read it ({where})"
    if child not in read:
        then = f"no requests are led to it ({where} is not changed)"
    return KeptBack(cause.reason, f"{cause.message}. Until then {then}", cause.retry_after_seconds)


def foreign(unproven: Mapping[Child, Refusal]) -> frozenset[Child]:
    """Those that somebody else has made, as against those that could not be written."""
    return frozenset(
        c for c, error in unproven.items() if error.reason == NOT_OWNED and not isinstance(error, KeptBack)
    )


def to_stop(deployments: Iterable[Obj], owner_uid: str, read: Collection[Child]) -> list[ObjectRef]:
    """Those of an owner's live Deployments whose pods read one of some objects."""
    return [
        ObjectRef.of(live)
        for live in deployments
        if is_controlled_by(live, owner_uid)
        and not live["metadata"].get("deletionTimestamp")
        and not pod_reads.of(live).isdisjoint(read)
    ]


def _is_write_once(ref: ObjectRef) -> bool:
    return registry.lookup(ref.api_version, ref.kind).write_once
