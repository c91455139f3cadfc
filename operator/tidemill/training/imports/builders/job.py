"""The Job of one attempt: the program of the operator's trainer image, with the source to read and the store to write.

The pod holds no Kubernetes credentials, passes Pod Security `restricted`, and sees of Secrets the keys for its URIs.
"""

from __future__ import annotations

from typing import Any

from tidemill.core import children, labels, pod
from tidemill.training.imports import store
from tidemill.training.imports.snapshot import ACTIVE_SECONDS, ImportSnapshot
from tidemill.training.volumes import TMP_ENVIRONMENT, PodVolumes
from tidemill_contracts import importing
from tidemill_contracts import training as contract
from tidemill_contracts.importing import ImportConfig

COMPONENT = "importer"
COMMAND = ["python", "-m", "tidemill_runtime.trainer", "import"]
BACKOFF_LIMIT = 2
TTL_SECONDS = 86400


def build(snapshot: ImportSnapshot) -> dict[str, Any]:
    """The Job's manifest."""
    final = {"containerName": contract.CONTAINER, "operator": "In", "values": [contract.EXIT_NOT_RETRIABLE]}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": children.metadata(snapshot.job_name, snapshot.object, _labels(snapshot)),
        "spec": {
            "backoffLimit": BACKOFF_LIMIT,
            "activeDeadlineSeconds": ACTIVE_SECONDS,
            "ttlSecondsAfterFinished": TTL_SECONDS,
            "podReplacementPolicy": "Failed",
            "podFailurePolicy": {
                "rules": [
                    {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
                    {"action": "FailJob", "onExitCodes": final},
                ]
            },
            "template": _pod(snapshot).template(),
        },
    }


def _labels(snapshot: ImportSnapshot) -> dict[str, str]:
    more = {labels.IMPORT: snapshot.name, labels.PIPELINE: snapshot.series}
    return children.labels(COMPONENT, snapshot.name, more)


def _pod(snapshot: ImportSnapshot) -> pod.Pod:
    spec, config, written = snapshot.model_import.spec, snapshot.config, store.store_uri(snapshot)
    found = PodVolumes(written)
    found.add_uri(spec.source.uri)
    found.add_secret(spec.source.secret_ref, spec.source.uri)
    found.add_uri(written, writable=True)
    found.add_secret(spec.artifacts.secret_ref, written)
    environment = {
        importing.CONFIG_ENV: import_config(snapshot).to_json(),
        **TMP_ENVIRONMENT,
        "PYTHONHASHSEED": "0",  # equal files give equal versions
        **config.data_environment(),
    }
    container = pod.Container(
        name=contract.CONTAINER,
        image=config.trainer_image,
        command=COMMAND,
        environment=environment,
        resources=(spec.resources.to_json() if spec.resources else {}) or pod.DEFAULT_RESOURCES,
        termination=pod.Termination("File", contract.TERMINATION_MESSAGE_PATH),
        mounts=found.volume_mounts(),
    )
    return pod.Pod(
        container=container,
        volumes=found.volumes(),
        cluster=pod.ClusterSettings.of(config),
        settings=spec.pod,
        labels=_labels(snapshot),
        selector={k: v for k, v in _labels(snapshot).items() if k in (labels.COMPONENT, labels.IMPORT)},
        restart_policy="Never",
    )


def import_config(snapshot: ImportSnapshot) -> ImportConfig:
    """The document that the program is handed."""
    spec = snapshot.model_import.spec
    return ImportConfig(
        namespace=snapshot.namespace,
        name=snapshot.name,
        pipeline=snapshot.series,
        uri=spec.source.uri,
        digest=spec.source.digest,
        secret=spec.source.secret_ref.name if spec.source.secret_ref else None,
        store=store.store_uri(snapshot),
        store_secret=spec.artifacts.secret_ref.name if spec.artifacts.secret_ref else None,
    )
