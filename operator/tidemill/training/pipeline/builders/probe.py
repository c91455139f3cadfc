"""The Job that looks at sources which the operator must not reach itself: it resolves revisions and trains nothing."""

from __future__ import annotations

from typing import Any

from tidemill.api.v1alpha1.training_template import DataSource
from tidemill.core import children, labels, names, pod
from tidemill.core.delivery import Delivery, deliver
from tidemill.training import constants
from tidemill.training.pipeline.snapshot import PROBE_DEADLINE_SECONDS, PipelineSnapshot
from tidemill.training.volumes import PodVolumes
from tidemill_contracts.training import (
    CONTAINER,
    PROBE_ENV,
    TERMINATION_MESSAGE_PATH,
    DataInput,
    ProbeConfig,
)

COMMAND = ["python", "-m", "tidemill_runtime.trainer", "probe"]
RESOURCES = {"requests": {"cpu": "50m", "memory": "128Mi"}, "limits": {"memory": "512Mi"}}


def build(snapshot: PipelineSnapshot, number: int) -> dict[str, Any]:
    """The manifest of probe `number`. Uses the operator's trainer image: a user's image need not know how to probe."""
    sources = snapshot.probed_sources
    name = names.child_name(snapshot.name, "probe", number)
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": children.metadata(name, snapshot.object, _labels(snapshot)),
        "spec": {
            "backoffLimit": 0,
            "activeDeadlineSeconds": PROBE_DEADLINE_SECONDS,
            "ttlSecondsAfterFinished": 86400,
            "podReplacementPolicy": "Failed",
            "template": _pod(snapshot, sources).template(),
        },
    }


def config_maps(snapshot: PipelineSnapshot) -> tuple[dict[str, Any], ...]:
    """The ConfigMap with the probe's configuration, where that is too long for the environment."""
    return _delivery(snapshot, snapshot.probed_sources).objects


def _delivery(snapshot: PipelineSnapshot, sources: list[DataSource]) -> Delivery:
    """One ConfigMap for all probes of the pipeline: the next one starts when the last has ended."""
    inputs = tuple(
        DataInput(name=s.name, uri=s.uri, format=s.format, secret=s.secret_ref.name if s.secret_ref else None)
        for s in sources
    )
    name = names.child_name(snapshot.name, "probe", "config")
    labelled = children.labels("probe", snapshot.name, {labels.PIPELINE: snapshot.name})
    return deliver(PROBE_ENV, ProbeConfig(data=inputs).to_json(), name=name, owner=snapshot.object, labels=labelled)


def _labels(snapshot: PipelineSnapshot) -> dict[str, str]:
    return children.labels("probe", snapshot.name, {labels.PIPELINE: snapshot.name, constants.PROBE: "true"})


def _pod(snapshot: PipelineSnapshot, sources: list[DataSource]) -> pod.Pod:
    mounts, delivery = PodVolumes(), _delivery(snapshot, sources)
    for source in sources:
        mounts.add_uri(source.uri)
        mounts.add_secret(source.secret_ref, source.uri)
    spec, config = snapshot.pipeline.spec, snapshot.config
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
        labels=_labels(snapshot),
        selector={k: v for k, v in _labels(snapshot).items() if k in (labels.COMPONENT, labels.PIPELINE)},
        restart_policy="Never",
    )
