"""Pods that tests run beside the product: their manifests, their end, and a way to their ports.

They use the product's images, the trainer's unless told otherwise: these are in every cluster that the tests run on,
and have Python. They satisfy Pod Security `restricted`, as everything in the tests' namespaces must.
"""

import contextlib
import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hack.images.inputs import image_name
from hack.tools.kubectl import Kubectl


def container(name: str, command: list[str], **more: Any) -> dict[str, Any]:
    """Return a container that satisfies Pod Security `restricted`."""
    return {
        "name": name,
        "image": image_name("trainer"),
        "imagePullPolicy": "IfNotPresent",
        "command": command,
        "resources": {"requests": {"cpu": "20m", "memory": "64Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        **more,
    }


def pod(name: str, *containers: dict[str, Any], volumes: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    """Return a pod that runs once; its files belong to the group that it runs as."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"test-pod": name}},
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 1,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 65532,
                "fsGroup": 65532,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": list(containers),
            "volumes": volumes or [],
        },
    }


def writer(name: str, claim: str, files: dict[str, str]) -> list[dict[str, Any]]:
    """Return a claim and a pod that puts text files on it and ends."""
    script = "import json, os, pathlib\nfor name, text in json.loads(os.environ['FILES']).items():\n"
    script += "    pathlib.Path('/claim', name).write_text(text, encoding='utf-8')\n"
    wanted = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "10Mi"}}}
    meta = {"name": claim}
    write = container(
        "write",
        ["python", "-c", script],
        env=[{"name": "FILES", "value": json.dumps(files)}],
        volumeMounts=[{"name": "claim", "mountPath": "/claim"}],
    )
    volume = {"name": "claim", "persistentVolumeClaim": {"claimName": claim}}
    return [
        {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": meta, "spec": wanted},
        pod(name, write, volumes=[volume]),
    ]


def kill(kubectl: Kubectl, pod_name: str) -> None:
    """Kill a pod without warning.

    Deleting by force still gives a container two seconds after SIGTERM. So where the node is this machine its
    processes get SIGKILL first; the pod is then deleted, so that the next one starts without the kubelet's back-off.
    """
    wanted = f"HOSTNAME={pod_name}".encode()
    for path in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):  # somebody else's, or gone meanwhile
            if wanted in path.read_bytes().split(b"\0"):
                os.kill(int(path.parent.name), signal.SIGKILL)
    kubectl.run("delete", "pod", pod_name, "--grace-period=0", "--force", "--wait=false")


@contextlib.contextmanager
def forwarded(kubectl: Kubectl, target: str, port: int) -> Iterator[str]:
    """Reach a port of a pod or Service from this machine; give the address."""
    command = kubectl.command("port-forward", target, f":{port}")
    with (
        tempfile.TemporaryFile() as errors,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True) as process,
    ):
        try:
            assert process.stdout is not None
            line = process.stdout.readline()  # Forwarding from 127.0.0.1:40001 -> 7070
            errors.seek(0)
            assert line.startswith("Forwarding from 127.0.0.1:"), line + errors.read().decode()
            yield line.removeprefix("Forwarding from ").split()[0]
        finally:
            process.terminate()
