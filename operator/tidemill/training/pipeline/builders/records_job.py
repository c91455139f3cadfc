"""The Job that reads or writes records of versions in the artifact store, with the credentials that runs have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from tidemill.core import children, hashing, labels, names, pod
from tidemill.core.delivery import Delivery, deliver
from tidemill.training import constants
from tidemill.training.pipeline.snapshot import PipelineSnapshot, store_folder
from tidemill.training.volumes import PodVolumes
from tidemill_contracts.records import RECORDS_ENV, RecordsConfig, StoredRecord
from tidemill_contracts.training import CONTAINER, TERMINATION_MESSAGE_PATH

COMMAND = ["python", "-m", "tidemill_runtime.trainer", "records"]
RESOURCES = {"requests": {"cpu": "50m", "memory": "128Mi"}, "limits": {"memory": "512Mi"}}
Mode = Literal["read", "write"]


def build(
    snapshot: PipelineSnapshot, mode: Mode, number: int, written: tuple[StoredRecord, ...], seconds: int
) -> tuple[dict[str, Any], ...]:
    """The Job, behind the ConfigMap with its configuration where that is too long for the environment.

    `written`: the records to write; none: read. `seconds`: the longest that it may run.
    """
    wanted = snapshot.records.wanted or ""
    parts = [number, hashing.short(wanted, 6)] if mode == "write" else [number]
    labelled = children.labels("records", snapshot.name, {labels.PIPELINE: snapshot.name, constants.RECORDS: mode})
    delivery = _delivery(snapshot, written)
    annotations = {constants.RECORDS: wanted} if mode == "write" else {}
    job = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": children.metadata(
            names.child_name(snapshot.name, "records", mode, *parts), snapshot.object, labelled, annotations
        ),
        "spec": {
            "backoffLimit": 0,
            "activeDeadlineSeconds": seconds,
            "ttlSecondsAfterFinished": 86400,
            "podReplacementPolicy": "Failed",
            "template": _pod(snapshot, delivery, labelled, is_writing=mode == "write").template(),
        },
    }
    return (*delivery.objects, job)


def _delivery(snapshot: PipelineSnapshot, written: tuple[StoredRecord, ...]) -> Delivery:
    """One ConfigMap for all such Jobs of the pipeline: the next one starts when the last has ended."""
    secret = snapshot.pipeline.spec.artifacts.secret_ref
    config = RecordsConfig(store=store_folder(snapshot), secret=secret.name if secret else None, write=written)
    labelled = children.labels("records", snapshot.name, {labels.PIPELINE: snapshot.name})
    name = names.child_name(snapshot.name, "records", "config")
    return deliver(RECORDS_ENV, config.to_json(), name=name, owner=snapshot.object, labels=labelled)


def _pod(snapshot: PipelineSnapshot, delivery: Delivery, labelled: Mapping[str, str], *, is_writing: bool) -> pod.Pod:
    spec, config, store = snapshot.pipeline.spec, snapshot.config, store_folder(snapshot)
    mounts = PodVolumes()
    mounts.add_uri(store, writable=is_writing)
    mounts.add_secret(spec.artifacts.secret_ref, store)
    environment = {
        **delivery.environment,
        "HOME": "/tmp",  # noqa: S108
        "TMPDIR": "/tmp",  # noqa: S108
        **config.data_environment(),
    }
    container = pod.Container(
        name=CONTAINER,
        image=config.trainer_image,
        command=COMMAND,
        environment=environment,
        resources=RESOURCES,
        termination=pod.Termination("File", TERMINATION_MESSAGE_PATH),
        mounts=[*mounts.volume_mounts(), *delivery.mounts],
    )
    volumes = [*mounts.volumes(), *delivery.volumes]
    return pod.Pod(
        container=container,
        volumes=volumes,
        cluster=pod.ClusterSettings.of(config),
        settings=pod.settings_of(spec),
        labels=labelled,
        selector={k: v for k, v in labelled.items() if k in (labels.COMPONENT, labels.PIPELINE)},
        restart_policy="Never",
    )
