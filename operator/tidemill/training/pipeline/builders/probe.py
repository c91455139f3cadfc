"""The Job that looks at sources which the operator must not reach itself: it resolves revisions and trains nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tidemill.core import children, labels, names, pod
from tidemill.core.delivery import Delivery, deliver
from tidemill.training import constants, rows_input
from tidemill.training.pipeline.snapshot import PROBE_DEADLINE_SECONDS, PipelineSnapshot, store_folder
from tidemill.training.recording.builders import store_job
from tidemill.training.volumes import PodVolumes
from tidemill_contracts.training import PROBE_ENV, DataInput, ProbeConfig

COMMAND = ["python", "-m", "tidemill_runtime.trainer", "probe"]


def inputs(snapshot: PipelineSnapshot, known: Mapping[str, str]) -> tuple[DataInput, ...]:
    """What the probe looks at. `known`: revisions that the last run took, by input."""
    return tuple(
        DataInput(
            name=s.name,
            uri=s.uri,
            format=s.format,
            secret=s.secret_ref.name if s.secret_ref else None,
            rows=rows_input.rows_input(s.feedback, snapshot.rows_of(s), known.get(s.name)),
        )
        for s in snapshot.probed_sources
    )


def build(snapshot: PipelineSnapshot, number: int, found: tuple[DataInput, ...]) -> dict[str, Any]:
    """The manifest of probe `number`. Uses the operator's trainer image: a user's image need not know how to probe."""
    mounts = PodVolumes(store_folder(snapshot))
    for source in snapshot.probed_sources:
        mounts.add_uri(source.uri)
        mounts.add_secret(source.secret_ref, source.uri)
        mounts.add_rows(snapshot.rows_of(source))
    labelled = children.labels("probe", snapshot.name, {labels.PIPELINE: snapshot.name, constants.PROBE: "true"})
    settings, delivery = pod.settings_of(snapshot.pipeline.spec), _delivery(snapshot, found)
    return store_job.job(
        children.metadata(names.child_name(snapshot.name, "probe", number), snapshot.object, labelled),
        store_job.template(snapshot.config, settings, COMMAND, mounts, delivery, labelled),
        PROBE_DEADLINE_SECONDS,
    )


def config_maps(snapshot: PipelineSnapshot, found: tuple[DataInput, ...]) -> tuple[dict[str, Any], ...]:
    """The ConfigMap with the probe's configuration, where that is too long for the environment."""
    return _delivery(snapshot, found).objects


def _delivery(snapshot: PipelineSnapshot, found: tuple[DataInput, ...]) -> Delivery:
    """One ConfigMap for all probes of the pipeline: the next one starts when the last has ended."""
    name = names.child_name(snapshot.name, "probe", "config")
    labelled = children.labels("probe", snapshot.name, {labels.PIPELINE: snapshot.name})
    return deliver(PROBE_ENV, ProbeConfig(data=found).to_json(), name=name, owner=snapshot.object, labels=labelled)
