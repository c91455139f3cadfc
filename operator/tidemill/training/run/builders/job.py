"""The Job of a run. Applied once and never again: everything in it is immutable, and a queue may own parts of it.

Exit code 42 fails it at once, a disruption (drain, preemption) does not count as a try, a second pod never starts
before the first has ended. The pod holds no Kubernetes credentials and passes Pod Security `restricted`.
"""

from __future__ import annotations

from typing import Any

from tidemill.api.base import Resources
from tidemill.api.v1alpha1.training_run import ResolvedData, TrainingRunSpec
from tidemill.core import children, hashing, labels, names, pod
from tidemill.core.delivery import Delivery, deliver
from tidemill.training import constants, rows_input
from tidemill.training.run.snapshot import RunSnapshot
from tidemill.training.volumes import TMP_ENVIRONMENT, volumes_of
from tidemill_contracts import training as contract
from tidemill_contracts.holdout import HoldoutSplit
from tidemill_contracts.storage import CODE_ROOT

COMMAND = ["python", "-m", "tidemill_runtime.trainer"]
TTL_SECONDS = 86400


def config_maps(snapshot: RunSnapshot) -> tuple[dict[str, Any], ...]:
    """The ConfigMap with the trainer's configuration, where that is too long for the environment."""
    return _delivery(snapshot).objects


def _delivery(snapshot: RunSnapshot) -> Delivery:
    """Named by content and immutable: another operator may write the same document in another way."""
    text = trainer_config(snapshot).to_json()
    name = names.child_name(snapshot.name, "config", hashing.short(text.encode(), 8))
    return deliver(
        contract.CONFIG_ENV, text, name=name, owner=snapshot.object, labels=_labels(snapshot), immutable=True
    )


def _labels(snapshot: RunSnapshot) -> dict[str, str]:
    pipeline = snapshot.run.spec.pipeline
    return children.labels("trainer", pipeline, {labels.PIPELINE: pipeline, labels.RUN: snapshot.name})


def _selector(snapshot: RunSnapshot) -> dict[str, str]:
    """The labels of the pods of all runs of the pipeline."""
    return {k: v for k, v in _labels(snapshot).items() if k in (labels.COMPONENT, labels.PIPELINE)}


def build(snapshot: RunSnapshot) -> dict[str, Any]:
    """The Job's manifest; it has the run's name."""
    spec = snapshot.run.spec
    labelled = _labels(snapshot)
    queue = {constants.KUEUE_QUEUE: spec.queue_name} if spec.queue_name else {}
    annotations = (
        {constants.SCHEDULED: spec.trigger.to} if spec.trigger.type == "ScheduleDue" and spec.trigger.to else {}
    )
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": children.metadata(snapshot.name, snapshot.object, {**labelled, **queue}, annotations),
        "spec": {
            "backoffLimit": spec.limits.backoff_limit,
            "activeDeadlineSeconds": spec.limits.active_deadline_seconds,
            "ttlSecondsAfterFinished": TTL_SECONDS,
            "podReplacementPolicy": "Failed",
            "podFailurePolicy": {"rules": _rules()},
            "template": _pod(snapshot).template(),
        },
    }


def _rules() -> list[dict[str, Any]]:
    """First match wins: a disruption is not the code's fault; exit 42 says that another try cannot help."""
    final = {"containerName": contract.CONTAINER, "operator": "In", "values": [contract.EXIT_NOT_RETRIABLE]}
    return [
        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
        {"action": "FailJob", "onExitCodes": final},
    ]


def _pod(snapshot: RunSnapshot) -> pod.Pod:
    spec, config = snapshot.run.spec, snapshot.config
    found, delivery = volumes_of(spec), _delivery(snapshot)
    environment = {
        **delivery.environment,
        **TMP_ENVIRONMENT,
        "PYTHONHASHSEED": "0",  # the order of sets goes into models: equal runs must give equal bytes
        **config.data_environment(),
    }
    container = pod.Container(
        name=contract.CONTAINER,
        image=spec.image,
        command=COMMAND,
        environment=environment,
        resources=_resources(spec.resources),
        termination=pod.Termination("File", contract.TERMINATION_MESSAGE_PATH),
        mounts=[*found.volume_mounts(), *delivery.mounts],
    )
    volumes = [*found.volumes(), *delivery.volumes]
    return pod.Pod(
        container=container,
        volumes=volumes,
        cluster=pod.ClusterSettings.of(config),
        settings=pod.settings_of(spec),
        labels=_labels(snapshot),
        selector=_selector(snapshot),
        restart_policy="Never",
    )


def _resources(wanted: Resources | None) -> dict[str, Any]:
    """The user's, or the defaults as a whole: half of each could ask for more than it allows."""
    stated = wanted.to_json() if wanted else {}
    return stated or pod.DEFAULT_RESOURCES


def trainer_config(snapshot: RunSnapshot) -> contract.TrainerConfig:
    """The document that the trainer is handed.

    Other code than was decided on is refused; other data is trained on with a warning, and what was really read is
    recorded and compared with from then on.
    """
    spec = snapshot.run.spec
    return contract.TrainerConfig(
        namespace=snapshot.namespace,
        pipeline=spec.pipeline,
        run=snapshot.name,
        data=tuple(_input(source) for source in spec.data),
        target=spec.target,
        code=_code(spec),
        image=spec.image,
        parameters=spec.parameters,
        seed=spec.seed,
        holdout_ratio=spec.holdout_ratio,
        split=_split(spec),
        gate_metrics=tuple(dict.fromkeys(gate.metric for gate in spec.gates)),
        champion=_champion(spec),
        store=spec.store.uri,
        store_secret=spec.store.secret_ref.name if spec.store.secret_ref else None,
        keep=tuple(spec.keep) if spec.keep is not None else None,
        allow_pickle=spec.allow_pickle,
    )


def _input(source: ResolvedData) -> contract.DataInput:
    expected = source.expectations.model_dump(mode="json") if source.expectations is not None else None
    return contract.DataInput(
        name=source.name,
        uri=source.uri,
        format=source.format,
        secret=source.secret_ref.name if source.secret_ref else None,
        revision=source.revision,
        expectations=contract.Expectations.model_validate(expected) if expected else None,
        rows=rows_input.rows_input(source.feedback, source.rows),
    )


def _split(spec: TrainingRunSpec) -> HoldoutSplit | None:
    split = spec.split
    if split is None:
        return None
    return HoldoutSplit(type=split.type, column=split.column, keep_column=split.keeps_column)


def _code(spec: TrainingRunSpec) -> contract.Code:
    return contract.Code(
        digest=spec.code.digest,
        directory=CODE_ROOT if spec.code.config_map else None,
        entrypoint=spec.code.entrypoint,
        command=tuple(spec.code.command) if spec.code.command else None,
    )


def _champion(spec: TrainingRunSpec) -> contract.Champion | None:
    found = spec.champion
    if found is None:
        return None
    metrics: dict[str, float | None] = dict(found.metrics)
    return contract.Champion(version=found.version, uri=found.uri, digest=found.digest, metrics=metrics)
