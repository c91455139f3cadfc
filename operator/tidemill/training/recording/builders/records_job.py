"""The Job that reads or writes records of versions in the artifact store, with the credentials of that store."""

from __future__ import annotations

from typing import Any, Literal

from tidemill.core import children, hashing, names
from tidemill.core.delivery import Delivery, deliver
from tidemill.training import constants
from tidemill.training.recording.builders import store_job
from tidemill.training.recording.snapshot import RecordsSnapshot
from tidemill.training.volumes import PodVolumes
from tidemill_contracts.records import RECORDS_ENV, RecordsConfig, StoredRecord

COMMAND = ["python", "-m", "tidemill_runtime.trainer", "records"]
Mode = Literal["read", "write"]


def build(
    snapshot: RecordsSnapshot,
    mode: Mode,
    number: int,
    seconds: int,
    written: tuple[StoredRecord, ...] = (),
    series: str | None = None,
) -> tuple[dict[str, Any], ...]:
    """The Job, behind the ConfigMap with its configuration where that is too long for the environment.

    `seconds`: the longest that it may run; `written` and `series`: the records to write, of each version and of all.
    """
    wanted = snapshot.records.wanted or ""
    parts = [number, hashing.short(wanted, 6)] if mode == "write" else [number]
    labelled = children.labels("records", snapshot.name, {**snapshot.labels, constants.RECORDS: mode})
    delivery = _delivery(snapshot, written, series)
    annotations = {constants.RECORDS: f"{wanted} {snapshot.records.count}"} if mode == "write" else {}
    name = names.child_name(snapshot.name, "records", *_apart(snapshot), mode, *parts)
    job = store_job.job(
        children.metadata(name, snapshot.object, labelled, annotations),
        store_job.template(snapshot.config, snapshot.settings, COMMAND, _mounts(snapshot, mode), delivery, labelled),
        seconds,
    )
    return (*delivery.objects, job)


def _apart(snapshot: RecordsSnapshot) -> tuple[str, ...]:
    """Part of the names of an import's objects: a pipeline may have its name."""
    return () if snapshot.import_name is None else (hashing.short(str(snapshot.object["metadata"]["uid"]), 6),)


def _delivery(snapshot: RecordsSnapshot, written: tuple[StoredRecord, ...], series: str | None) -> Delivery:
    """One ConfigMap for all such Jobs of the object: the next one starts when the last has ended."""
    secret = snapshot.secret_ref
    config = RecordsConfig(store=snapshot.folder, secret=secret.name if secret else None, write=written, series=series)
    labelled = children.labels("records", snapshot.name, snapshot.labels)
    name = names.child_name(snapshot.name, "records", *_apart(snapshot), "config")
    return deliver(RECORDS_ENV, config.to_json(), name=name, owner=snapshot.object, labels=labelled)


def _mounts(snapshot: RecordsSnapshot, mode: Mode) -> PodVolumes:
    store = snapshot.folder
    mounts = PodVolumes(store)
    mounts.add_uri(store, writable=mode == "write")
    mounts.add_secret(snapshot.secret_ref, store)
    return mounts
