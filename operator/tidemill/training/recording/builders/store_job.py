"""What the Jobs have in common that reach data and stores and train nothing.

They run the operator's trainer image: a user's image need not know their commands.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tidemill.api.v1alpha1.pod_settings import PodSettings
from tidemill.config import OperatorConfig
from tidemill.core import labels, pod
from tidemill.core.delivery import Delivery
from tidemill.training.volumes import TMP_ENVIRONMENT, PodVolumes
from tidemill_contracts.training import CONTAINER, TERMINATION_MESSAGE_PATH

RESOURCES = {"requests": {"cpu": "50m", "memory": "128Mi"}, "limits": {"memory": "512Mi"}}


def job(metadata: Mapping[str, Any], template: Mapping[str, Any], seconds: int) -> dict[str, Any]:
    """The manifest of a Job that is tried once, for at most `seconds`, and goes a day after its end."""
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": metadata,
        "spec": {
            "backoffLimit": 0,
            "activeDeadlineSeconds": seconds,
            "ttlSecondsAfterFinished": 86400,
            "podReplacementPolicy": "Failed",
            "template": template,
        },
    }


def template(
    config: OperatorConfig,
    settings: PodSettings,
    command: Sequence[str],
    mounts: PodVolumes,
    delivery: Delivery,
    labelled: Mapping[str, str],
) -> dict[str, Any]:
    """The template of its pod, with the pod settings, the mounts and the configuration given."""
    container = pod.Container(
        name=CONTAINER,
        image=config.trainer_image,
        command=list(command),
        environment={
            **delivery.environment,
            **TMP_ENVIRONMENT,
            **config.data_environment(),
        },
        resources=RESOURCES,
        termination=pod.Termination("File", TERMINATION_MESSAGE_PATH),
        mounts=[*mounts.volume_mounts(), *delivery.mounts],
    )
    return pod.Pod(
        container=container,
        volumes=[*mounts.volumes(), *delivery.volumes],
        cluster=pod.ClusterSettings.of(config),
        settings=settings,
        labels=labelled,
        selector={k: v for k, v in labelled.items() if k in (labels.COMPONENT, labels.PIPELINE, labels.IMPORT)},
        restart_policy="Never",
    ).template()
