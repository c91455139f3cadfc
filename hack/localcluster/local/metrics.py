"""metrics-server as a process of the host: `kubectl top` and the figures that a HorizontalPodAutoscaler scales by.

Optional: without its binary (a Go that is too old, no module proxy) the cluster comes up without figures and says so.
"""

from __future__ import annotations

import base64
import os
import subprocess
from pathlib import Path
from typing import Any

from hack.localcluster.local.objects import Document, host_service, role
from hack.localcluster.local.processes import Process
from hack.localcluster.local.settings import Settings
from hack.localcluster.progress import Progress
from hack.tools.go import NEWEST, go_toolchain
from hack.tools.paths import cache_folder
from hack.tools.pypi import ToolError

VERSION = "v0.9.0"
NAME = "metrics-server"
USER = "system:metrics-server"
PORT = 4443
REGISTRATION = "/apis/apiregistration.k8s.io/v1/apiservices/v1beta1.metrics.k8s.io"
HOSTS = [f"{NAME}.kube-system.svc", f"{NAME}.kube-system.svc.cluster.local"]


def binary(progress: Progress) -> Path | None:
    """The program, built from its Go module into the user's cache; None (with a sentence) when that fails."""
    folder = _folder()
    path = folder / NAME
    if path.exists():
        return path
    progress.step(f"building {NAME} {VERSION} (once; about 2 minutes on 2 cores)")
    folder.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "CGO_ENABLED": "0", "GOBIN": str(folder), "GOFLAGS": "-buildvcs=false"}
    module = f"sigs.k8s.io/metrics-server/cmd/metrics-server@{VERSION}"
    try:
        command = [str(go_toolchain()), "install", "-trimpath", "-ldflags", "-s -w", module]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    except ToolError as error:
        progress.step(f"no metrics for autoscaling: {error}")
        return None
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        progress.step(f"no metrics for autoscaling: {NAME} could not be built: {reason}")
        return None
    return path


def _folder() -> Path:
    return cache_folder() / NAME / f"{VERSION}-go{NEWEST[0]}.{NEWEST[1]}"


def process(settings: Settings) -> Process:
    """metrics-server on the bridge's address; its kubeconfig and certificate must be there."""
    kubeconfig = settings.config / f"{NAME}.kubeconfig"
    flags = [
        f"--kubeconfig={kubeconfig}",
        f"--authentication-kubeconfig={kubeconfig}",
        f"--authorization-kubeconfig={kubeconfig}",
        f"--bind-address={settings.address}",
        f"--secure-port={PORT}",
        f"--tls-cert-file={settings.pki / 'metrics-server-serving.crt'}",
        f"--tls-private-key-file={settings.pki / 'metrics-server-serving.key'}",
        "--kubelet-preferred-address-types=InternalIP",
        f"--kubelet-certificate-authority={settings.pki / 'ca.crt'}",
        # The shortest that it takes: a test of autoscaling should not wait for minutes.
        "--metric-resolution=10s",
        "--kubelet-request-timeout=5s",
    ]
    return Process(NAME, [str(_folder() / NAME), *flags], settings.folder)


def documents(settings: Settings) -> list[tuple[str, Document]]:
    """Permissions, the selector-less Service and the registration of the metrics API."""
    rules = [
        {"apiGroups": [""], "resources": ["nodes/metrics"], "verbs": ["get"]},
        {"apiGroups": [""], "resources": ["pods", "nodes"], "verbs": ["get", "list", "watch"]},
    ]
    ports = [{"name": "https", "port": 443, "protocol": "TCP"}]
    return [
        *role("tidemill:metrics-server", USER, rules),
        *role("tidemill:metrics-server:auth-delegator", USER, None, "system:auth-delegator"),
        _authentication_reader(),
        *host_service(settings, NAME, {"k8s-app": NAME}, ports, {"https": PORT}),
        _registration(settings),
    ]


def _authentication_reader() -> tuple[str, Document]:
    group = "rbac.authorization.k8s.io"
    binding: dict[str, Any] = {
        "apiVersion": f"{group}/v1",
        "kind": "RoleBinding",
        "metadata": {"name": "tidemill:metrics-server", "namespace": "kube-system"},
        "roleRef": {"apiGroup": group, "kind": "Role", "name": "extension-apiserver-authentication-reader"},
        "subjects": [{"apiGroup": group, "kind": "User", "name": USER}],
    }
    return f"/apis/{group}/v1/namespaces/kube-system/rolebindings", binding


def _registration(settings: Settings) -> tuple[str, Document]:
    group = "apiregistration.k8s.io"
    spec = {
        "group": "metrics.k8s.io",
        "version": "v1beta1",
        "service": {"name": NAME, "namespace": "kube-system", "port": 443},
        "caBundle": base64.b64encode((settings.pki / "ca.crt").read_bytes()).decode(),
        "groupPriorityMinimum": 100,
        "versionPriority": 100,
    }
    metadata = {"name": REGISTRATION.rpartition("/")[2]}
    return REGISTRATION.rpartition("/")[0], {
        "apiVersion": f"{group}/v1",
        "kind": "APIService",
        "metadata": metadata,
        "spec": spec,
    }
