"""The Job that looks at sources which the operator must not reach itself: it resolves revisions and trains nothing."""

from __future__ import annotations

from typing import Any

from tidemill.api.v1alpha1.training_template import DataSource
from tidemill.core import children, labels, names, pod
from tidemill.core.delivery import Delivery, deliver
from tidemill.training import constants
from tidemill.training.pipeline.snapshot import PROBE_DEADLINE_SECONDS, PipelineSnapshot, store_folder
from tidemill.training.recording.builders import store_job
from tidemill.training.volumes import PodVolumes
from tidemill_contracts.training import PROBE_ENV, DataInput, ProbeConfig

COMMAND = ["python", "-m", "tidemill_runtime.trainer", "probe"]


def build(snapshot: PipelineSnapshot, number: int) -> dict[str, Any]:
    """The manifest of probe `number`. Uses the operator's trainer image: a user's image need not know how to probe."""
    mounts = PodVolumes(store_folder(snapshot))
    for source in snapshot.probed_sources:
        mounts.add_uri(source.uri)
        mounts.add_secret(source.secret_ref, source.uri)
    labelled = children.labels("probe", snapshot.name, {labels.PIPELINE: snapshot.name, constants.PROBE: "true"})
    settings, delivery = pod.settings_of(snapshot.pipeline.spec), _delivery(snapshot, snapshot.probed_sources)
    return store_job.job(
        children.metadata(names.child_name(snapshot.name, "probe", number), snapshot.object, labelled),
        store_job.template(snapshot.config, settings, COMMAND, mounts, delivery, labelled),
        PROBE_DEADLINE_SECONDS,
    )


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
