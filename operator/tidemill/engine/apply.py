"""Carries out the writing part of a plan on children: who owns them, what may be left out, in which order.

It never touches the reconciled object itself and decides nothing about the children's content.
"""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Collection, Mapping
from typing import Any

from tidemill.api.base import API_VERSION
from tidemill.core import last_applied
from tidemill.core.children import controller_of
from tidemill.core.labels import APPLIED, MANAGED_BY, MANAGED_BY_VALUE, MANAGED_SELECTOR
from tidemill.core.plan import Key, ObjectRef, Plan
from tidemill.core.pod_reads import Child
from tidemill.core.random_values import RANDOM
from tidemill.core.subset import includes
from tidemill.engine import ownership, terminating
from tidemill.engine.clock import Clock, SystemClock
from tidemill.engine.ownership import CHILD_TERMINATING, NOT_OWNED, Refusal, check_owner, is_labelled
from tidemill.errors import ApiError, Stalled, Waiting
from tidemill.kube import registry
from tidemill.kube.cache import Cache
from tidemill.kube.client import KubeClient
from tidemill.kube.transform import is_truncated, transform

Obj = dict[str, Any]

REJECTED = "Rejected"
_REMEMBERED = 20_000
_AGAIN_SECONDS = 600.0
"""How often a Secret is asked for again that was made: a person may have deleted it, and nobody would say so."""
_SOON_SECONDS = 15.0
"""The same where the name was taken: by an earlier object of the owner's name, which is being collected, or by ours."""


class Applier:
    """Applies, patches and deletes children; skips applies that would change nothing."""

    def __init__(self, client: KubeClient, cache: Cache, watched: Collection[str], clock: Clock | None = None) -> None:
        """`watched`: kinds whose children the cache knows of through a watch; others are read live."""
        self._client = client
        self._clock = clock or SystemClock()
        self._asked_again: OrderedDict[tuple[ObjectRef, str], float] = OrderedDict()
        self._cache = cache
        self._watched = frozenset(watched)
        self._settled: OrderedDict[str, tuple[str, str]] = OrderedDict()

    async def execute(self, plan: Plan, writer: Key | None = None) -> Refusal | None:
        """All applies in order, then patches, then deletes; what was refused first, None when all went well.

        A refused child does not keep its siblings waiting: a rollback must reach the router whatever quota says. Only
        pods that read it by its name do, and pods that read what is somebody else's are stopped (see `ownership`).
        Nothing else is deleted then, as a delete relies on what was applied before, and what is somebody else's, or
        goes, is not patched either. Raises, at once, what concerns the whole pass: a server that does not answer or is
        busy, a conflict, and a refusal of a record or Job, since the plan's status may count that as done.
        `writer`: whose plan it is; the watch's echo of its applies does not wake it again. The echo of a patch does: it
        may be delivered together with somebody else's change to that object.
        """
        refused: Refusal | None = None
        not_ours: set[Child] = set()
        unproven: dict[Child, Refusal] = {}
        for manifest in plan.apply:
            child = (manifest["kind"], manifest["metadata"]["name"])
            try:
                kept_back = ownership.kept_back(manifest, plan.leads_to.get(child, ()), unproven)
                if kept_back is not None:
                    raise kept_back
                await self.apply(manifest, writer)
            except (Stalled, Waiting, ApiError) as error:
                if ownership.is_proof_missing(manifest, error) and not _concerns_the_pass(error):
                    unproven[child] = error
                if registry.lookup(manifest["apiVersion"], manifest["kind"]).counted or _concerns_the_pass(error):
                    await self._stop_readers(plan, unproven)
                    raise
                refused = _first(refused, error)
                if error.reason in (NOT_OWNED, CHILD_TERMINATING):
                    not_ours.add(child)
        await self._stop_readers(plan, unproven)
        for patch in plan.patches:
            if (patch.ref.kind, patch.ref.name) in not_ours:
                continue
            try:
                self._remember(await self._client.patch_merge(patch.ref, patch.body, patch.subresource), None)
            except ApiError as error:
                if patch.ignore_missing and (error.is_not_found or (error.is_conflict and patch.ref.uid)):
                    continue
                if _concerns_the_pass(error):
                    raise
                refused = refused or error
        for ref in plan.delete if refused is None else ():
            await self._client.delete(ref)
        return refused

    async def _stop_readers(self, plan: Plan, unproven: Mapping[Child, Refusal]) -> None:
        """Deletes the owner's Deployments whose pods read what is somebody else's; they are made again when it goes."""
        foreign = ownership.foreign(unproven)
        owners = {uid for m in plan.apply if foreign and (uid := controller_of(m).get("uid"))}
        for uid in sorted(owners):
            live = self._cache.list("Deployment", owner_uid=uid)
            known = {o["metadata"]["name"] for o in live}
            for manifest in plan.apply:  # one without its label is not watched
                if manifest["kind"] == "Deployment" and manifest["metadata"]["name"] not in known:
                    found = await self._client.get(ObjectRef.of(manifest, with_uid=False))
                    live += [found] if found is not None else []
            for ref in ownership.to_stop(live, uid, foreign):
                await self._client.delete(ref)

    async def apply(self, manifest: Obj, writer: Key | None = None) -> None:
        """Server-side apply, unless the live object is it already or belongs to somebody else.

        What is being deleted is put right as long as it is there: pods may read it until then.
        """
        ref = ObjectRef.of(manifest, with_uid=False)
        wanted, fingerprint = _prepared(manifest)
        if registry.lookup(ref.api_version, ref.kind).never_read:
            await self._create_unread(ref, wanted)
            return
        if registry.lookup(ref.api_version, ref.kind).write_once:
            await self._create(ref, wanted, writer)
            return
        live = self._known(ref) or await self._client.get(ref)
        if live is not None:
            check_owner(live, wanted)
        if live is None or not await self._is_current(ref, live, wanted, fingerprint):
            await self._write(ref, wanted, fingerprint, writer)
        if live is not None and live["metadata"].get("deletionTimestamp"):
            raise ownership.OursIsTerminating(ref)

    async def _write(self, ref: ObjectRef, wanted: Obj, fingerprint: str, writer: Key | None) -> None:
        try:
            written = await self._client.apply(wanted)
        except ApiError as error:
            raise _verdict(ref, error) from error
        self._remember(written, writer)
        if _has_no_content(ref) or not includes(written, wanted):
            # Content that is not watched, or that the server spells in another way: what it is now is what was wanted.
            self._settle(written, fingerprint)

    async def _create(self, ref: ObjectRef, wanted: Obj, writer: Key | None) -> None:
        """One request for what is written once; only when the name is taken it is asked whose it is."""
        live = self._known(ref)
        if live is None:
            try:
                self._remember(await self._client.create(wanted), writer)
                return
            except ApiError as error:
                if error.reason != "AlreadyExists":
                    raise _verdict(ref, error) from error
            live = await self._client.get(ref)
        if live is None:
            raise Waiting(CHILD_TERMINATING, f"{ref.kind} {ref.name} is being deleted", 2.0)
        self._check_identity(ref, live, wanted)
        check_owner(live, wanted)
        if live["metadata"].get("deletionTimestamp"):
            raise ownership.OursIsTerminating(ref)
        if ref.kind in self._watched and controller_of(wanted) and not is_labelled(live):
            # The watches select by that label: nothing that happens to the child would ever be seen.
            text = f"{ref.kind} {ref.name} exists without the label {MANAGED_SELECTOR}: restore it or delete the object"
            raise ownership.OursIsUnlabelled(NOT_OWNED, text, ownership.FOREIGN_LOOK_SECONDS)
        self._remember(live, None)

    async def _create_unread(self, ref: ObjectRef, wanted: Obj) -> None:
        """One request, which says nothing of an object that is there: its random values stay whose they are."""
        key, now = (ref, str(controller_of(wanted).get("uid"))), self._clock.monotonic()
        if now < self._asked_again.get(key, now):
            return
        values = {name: secrets.token_urlsafe(32) for name, value in wanted["stringData"].items() if value == RANDOM}
        try:
            await self._client.create({**wanted, "stringData": {**wanted["stringData"], **values}})
        except ApiError as error:
            if error.reason != "AlreadyExists":
                raise _verdict(ref, error) from error
            self._asked_again[key] = now + _SOON_SECONDS
        else:
            self._asked_again[key] = now + _AGAIN_SECONDS
        while len(self._asked_again) > _REMEMBERED:
            self._asked_again.popitem(last=False)

    def _check_identity(self, ref: ObjectRef, live: Obj, wanted: Obj) -> None:
        """Refuses, to be planned again, what another pass of ours has created under the name since the last look."""
        fields = registry.lookup(ref.api_version, ref.kind).identity
        if is_labelled(live) and any(live["spec"].get(f) != wanted["spec"].get(f) for f in fields):
            self._remember(live, None)
            raise ApiError(409, "Conflict", f"{ref.kind} {ref.name} was created meanwhile with other content")

    def _known(self, ref: ObjectRef) -> Obj | None:
        """The child as the watch shows it; None when only the API server knows: not watched, not ours, or cut."""
        found = self._cache.get(ref.kind, ref.namespace, ref.name) if ref.kind in self._watched else None
        if found is None or is_truncated(found):
            return None
        return found if is_labelled(found) or ref.api_version == API_VERSION else None

    async def _is_current(self, ref: ObjectRef, live: Obj, wanted: Obj, fingerprint: str) -> bool:
        """Whether an apply would change nothing. Content that is not watched is read once for each change."""
        if (live["metadata"].get("annotations") or {}).get(APPLIED) != fingerprint:
            return False
        bare = _has_no_content(ref)
        if self._settled.get(live["metadata"]["uid"]) == (fingerprint, _change_marker(live)):
            return not bare or includes(live["metadata"], wanted["metadata"])
        whole = await self._client.get(ref) if bare else live
        if whole is None or not includes(whole, wanted):
            return False
        if bare:
            self._settle(whole, fingerprint)
        return True

    def _settle(self, live: Obj, fingerprint: str) -> None:
        """This state of the child is what the manifest with that digest asks for."""
        self._settled[live["metadata"]["uid"]] = (fingerprint, _change_marker(live))
        while len(self._settled) > _REMEMBERED:
            self._settled.popitem(last=False)

    def _remember(self, written: Obj, writer: Key | None) -> None:
        if written.get("kind") in self._watched:
            self._cache.put(transform(written), writer)


def _has_no_content(ref: ObjectRef) -> bool:
    return registry.lookup(ref.api_version, ref.kind).metadata_only


def _first(before: Refusal | None, error: Refusal) -> Refusal:
    """What is reported: the first refusal, and once more with the pods that it keeps back."""
    if before is None or (isinstance(before, Stalled) and isinstance(error, Stalled) and _says_more(before, error)):
        return error
    return before


def _says_more(before: Stalled, error: Stalled) -> bool:
    return error.reason == before.reason and error.message.startswith(f"{before.message}. ")


def _concerns_the_pass(error: Refusal) -> bool:
    """No answer, too many requests, stale data, or a namespace that goes: the next write would fare no better."""
    return isinstance(error, ApiError) and (error.status in (0, 409, 429) or terminating.is_cause(error))


def _verdict(ref: ObjectRef, error: ApiError) -> Exception:
    """A manifest that the API server will never take is a human's business; all else is retried."""
    if error.status in (400, 422):
        return Stalled(REJECTED, f"{ref.kind} {ref.name} was refused by the API server: {error.message}")
    return error


def _prepared(manifest: Obj) -> tuple[Obj, str]:
    """The manifest with our label and the digest of itself as an annotation, and that digest."""
    fingerprint = last_applied.fingerprint(manifest)
    meta = manifest["metadata"]
    labels = {MANAGED_BY: MANAGED_BY_VALUE, **(meta.get("labels") or {})}
    annotations = {**(meta.get("annotations") or {}), APPLIED: fingerprint}
    return {**manifest, "metadata": {**meta, "labels": labels, "annotations": annotations}}, fingerprint


def _change_marker(obj: Obj) -> str:
    """What moves when somebody changes the object's desired state: generation, else resourceVersion."""
    meta = obj["metadata"]
    return f"g{meta['generation']}" if "generation" in meta else f"r{meta.get('resourceVersion')}"
