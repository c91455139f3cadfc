"""The Job that reads or writes records of versions in the artifact store, with the credentials that runs have."""

from __future__ import annotations

from typing import Any, Literal

from tidemill.core import children, hashing, labels, names
from tidemill.core.delivery import Delivery, deliver
from tidemill.training import constants
from tidemill.training.pipeline.builders import store_job
from tidemill.training.pipeline.snapshot import PipelineSnapshot, store_folder
from tidemill.training.volumes import PodVolumes
from tidemill_contracts.records import RECORDS_ENV, RecordsConfig, StoredRecord

COMMAND = ["python", "-m", "tidemill_runtime.trainer", "records"]
Mode = Literal["read", "write"]


def build(
    snapshot: PipelineSnapshot,
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
    labelled = children.labels("records", snapshot.name, {labels.PIPELINE: snapshot.name, constants.RECORDS: mode})
    delivery = _delivery(snapshot, written, series)
    annotations = {constants.RECORDS: f"{wanted} {snapshot.records.count}"} if mode == "write" else {}
    name = names.child_name(snapshot.name, "records", mode, *parts)
    job = store_job.job(
        children.metadata(name, snapshot.object, labelled, annotations),
        store_job.template(snapshot, COMMAND, _mounts(snapshot, mode), delivery, labelled),
        seconds,
    )
    return (*delivery.objects, job)


def _delivery(snapshot: PipelineSnapshot, written: tuple[StoredRecord, ...], series: str | None) -> Delivery:
    """One ConfigMap for all such Jobs of the pipeline: the next one starts when the last has ended."""
    secret = snapshot.pipeline.spec.artifacts.secret_ref
    config = RecordsConfig(
        store=store_folder(snapshot), secret=secret.name if secret else None, write=written, series=series
    )
    labelled = children.labels("records", snapshot.name, {labels.PIPELINE: snapshot.name})
    name = names.child_name(snapshot.name, "records", "config")
    return deliver(RECORDS_ENV, config.to_json(), name=name, owner=snapshot.object, labels=labelled)


def _mounts(snapshot: PipelineSnapshot, mode: Mode) -> PodVolumes:
    store = store_folder(snapshot)
    mounts = PodVolumes(store)
    mounts.add_uri(store, writable=mode == "write")
    mounts.add_secret(snapshot.pipeline.spec.artifacts.secret_ref, store)
    return mounts
