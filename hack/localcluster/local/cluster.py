"""The local provider: the order in which the parts come up and go; `up` heals, `down` leaves nothing.

It decides nothing about flags (control_plane, node), the machine (host) or objects (objects).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import socket
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from hack.localcluster.local import host, images, metrics
from hack.localcluster.local import settings as local_settings
from hack.localcluster.local.binaries import binaries
from hack.localcluster.local.client import ApiError, Client
from hack.localcluster.local.control_plane import ControlPlane
from hack.localcluster.local.node import Node
from hack.localcluster.local.objects import documents
from hack.localcluster.local.processes import Process
from hack.localcluster.local.requirements import require
from hack.localcluster.local.settings import NODE_NAME, Settings
from hack.localcluster.local.volumes import make_folders
from hack.localcluster.progress import LocalClusterError, Progress, wait_until
from hack.localcluster.provider import ClusterStatus

_PROCESSES = (
    "etcd",
    "containerd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "coredns",
    "kubelet",
    "kube-proxy",
    "volume-recycler",
)
# Runs where its program could be had; `up` leaves its kubeconfig as the sign that it does.
_OPTIONAL = metrics.NAME


class LocalProvider:
    """A whole cluster of one node in one folder."""

    name = "local"
    loads_images = True

    def __init__(self, folder: Path, progress: Progress) -> None:
        self._folder = folder
        self._progress = progress

    def exists(self) -> bool:
        """Whether an `up` began here and no `down` ended it."""
        return (self._folder / "baseline.json").exists() or (self._folder / "cluster.json").exists()

    def kubeconfig(self) -> Path:
        return self._folder / "kubeconfig"

    def up(self) -> None:
        require(self._progress)
        other = host.other_cluster(self._folder)
        if other is not None:
            raise LocalClusterError(
                f"another local cluster runs from {other}, and a machine holds one at a time; use it "
                f"(export TIDEMILL_STATE={other}) or remove it (TIDEMILL_STATE={other} make cluster-down)"
            )
        with self._lock():
            if self._healthy():
                self._progress.step(f"the local cluster is up already; KUBECONFIG={self.kubeconfig()}")
                return
            settings = local_settings.load(self._folder)
            if settings is None:
                if self.exists():
                    self._progress.step("the state folder is unfinished or of another version: beginning anew")
                    self._remove()
                settings = local_settings.decide(self._folder)
            binaries(self._progress)
            self._start(settings, with_metrics=metrics.binary(self._progress) is not None)
            self._progress.step(f"the local cluster is up; KUBECONFIG={self.kubeconfig()}")

    def down(self) -> None:
        if not self.exists() and not self._folder.exists():
            self._progress.step("there is no local cluster")
            return
        if os.geteuid() != 0:
            raise LocalClusterError("removing the local cluster needs root: sudo make cluster-down")
        with self._lock():
            self._remove()
        shutil.rmtree(self._folder)
        self._progress.step("the local cluster is gone")

    def load_images(self, archives: Sequence[Path]) -> None:
        settings = self._settings()
        images.load(settings, archives)

    def load_stream(self, reference: str, stream: IO[bytes]) -> None:
        images.load_stream(self._settings(), reference, stream)

    def status(self) -> ClusterStatus:
        components = {}
        for process in self._processes_by_pid_file():
            pid = process.pid()
            components[process.name] = f"running (pid {pid})" if pid else "not running"
        return ClusterStatus(self.name, self._healthy(), self.kubeconfig(), components)

    def _settings(self) -> Settings:
        settings = local_settings.load(self._folder)
        if settings is None:
            raise LocalClusterError("there is no local cluster; run: make cluster")
        return settings

    def _processes_by_pid_file(self) -> list[Process]:
        """Processes by pid file alone, for asking and stopping: needs no binaries and no settings."""
        optional = (self._folder / "config" / f"{_OPTIONAL}.kubeconfig").exists()
        names = [*_PROCESSES, *([_OPTIONAL] if optional else [])]
        return [Process(name, [], self._folder) for name in names]

    def _healthy(self) -> bool:
        if local_settings.load(self._folder) is None:
            return False
        if not all(process.running() for process in self._processes_by_pid_file()):
            return False
        client = Client(self.kubeconfig())
        return client.answers() and _node_ready(client) and dns_answers(self._settings())

    @contextlib.contextmanager
    def _lock(self) -> Iterator[None]:
        """One `up` or `down` at a time."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _start(self, s: Settings, *, with_metrics: bool) -> None:
        plane = ControlPlane(s)
        node = Node(s, plane)
        self._progress.step("bridge, certificates, configuration")
        host.prepare(s)
        s.save()
        plane.write_certificates()
        node.write_configuration()
        make_folders(s)
        self._progress.step("etcd, containerd, kube-apiserver")
        node.containerd().start()
        client = plane.start()
        self._progress.step("kube-controller-manager, kube-scheduler, CoreDNS, kubelet, kube-proxy")
        self._start_rest(s, plane, node)
        _apply(client, s)
        node.volume_recycler().start()
        self._wait(client, s, node)
        if with_metrics:
            self._start_metrics(client, s, plane)
        for process in self._processes_by_pid_file():
            wait_until(process.name, process.running, seconds=1, log=process.log)

    def _start_rest(self, s: Settings, plane: ControlPlane, node: Node) -> None:
        containerd = node.containerd()
        wait_until(
            "containerd",
            lambda: images.ctr(s, "version").returncode == 0,
            seconds=30,
            log=containerd.log,
            alive=containerd.running,
        )
        images.ensure_pause(s)
        for process in (
            plane.controller_manager(),
            plane.scheduler(),
            node.coredns(),
            node.kubelet(),
            node.kube_proxy(),
        ):
            process.start()

    def _wait(self, client: Client, s: Settings, node: Node) -> None:
        kubelet, coredns = node.kubelet(), node.coredns()
        wait_until("node", lambda: _node_ready(client), seconds=90, log=kubelet.log, alive=kubelet.running, every=0.2)
        self._progress.step("node Ready")
        wait_until("DNS", lambda: dns_answers(s), seconds=60, log=coredns.log, alive=coredns.running, every=0.2)
        account = "/api/v1/namespaces/default/serviceaccounts/default"
        wait_until("ServiceAccount default", lambda: client.answers(account), seconds=60)
        self._progress.step("DNS answers")

    def _start_metrics(self, client: Client, s: Settings, plane: ControlPlane) -> None:
        plane.identity(metrics.NAME, metrics.USER)
        plane.pki.issue("metrics-server-serving", common_name=metrics.NAME, hosts=metrics.HOSTS)
        process = metrics.process(s)
        process.start()
        for path, document in metrics.documents(s):
            client.apply(path, document)
        try:
            wait_until(
                metrics.NAME,
                lambda: client.answers("/apis/metrics.k8s.io/v1beta1"),
                seconds=60,
                log=process.log,
                alive=process.running,
            )
        except LocalClusterError as error:
            # Metrics are optional, and a registered API that does not answer holds up the deletion of every namespace.
            client.request("DELETE", metrics.REGISTRATION)
            process.stop()
            (s.config / f"{metrics.NAME}.kubeconfig").unlink()
            self._progress.step(f"no metrics for autoscaling: {error}")
            return
        self._progress.step("metrics API answers")

    def _remove(self) -> None:
        self._progress.step("stopping the processes of the local cluster")
        by_name = {process.name: process for process in self._processes_by_pid_file()}
        for name in reversed(by_name):
            if name != "containerd":
                by_name[name].stop_seconds = 3
                by_name[name].stop()
        settings = local_settings.load(self._folder)
        if settings is None:
            settings = local_settings.Settings(self._folder, "", "127.0.0.1/32", "127.0.0.1/32", "", 0, 0, 0, 0, 0)
        by_name["containerd"].stop()
        host.kill_containers(settings)
        self._progress.step("removing mounts, network devices, firewall rules")
        host.remove(self._folder)
        if settings.layout:
            host.flush_connections(settings)
        for entry in self._folder.iterdir():
            if entry.name == "lock":
                continue
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()


def _apply(client: Client, settings: Settings) -> None:
    for path, document in documents(settings):
        if document["kind"] == "PersistentVolume":
            # Made once: a later `up` must not take a claim's reference away.
            with contextlib.suppress(ApiError):
                client.request("POST", path, document)
        else:
            client.apply(path, document)


def _node_ready(client: Client) -> bool:
    try:
        node = client.request("GET", f"/api/v1/nodes/{NODE_NAME}")
    except (OSError, ApiError):
        return False
    tainted = any(taint["key"].startswith("node.kubernetes.io/") for taint in node["spec"].get("taints", []))
    conditions = {item["type"]: item["status"] for item in node["status"].get("conditions", [])}
    # The recorded condition may be from before a crash: the kubelet must answer now.
    answers = client.answers(f"/api/v1/nodes/{NODE_NAME}/proxy/healthz")
    return conditions.get("Ready") == "True" and not tainted and answers


def dns_answers(settings: Settings) -> bool:
    """Whether the cluster's DNS Service resolves `kubernetes.default` over UDP, as a pod would ask."""
    name = "kubernetes.default.svc.cluster.local"
    question = b"".join(bytes([len(part)]) + part.encode() for part in name.split(".")) + b"\0\0\1\0\1"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        asked.settimeout(1)
        try:
            asked.sendto(struct.pack(">6H", 7, 0x0100, 1, 0, 0, 0) + question, (settings.dns_address, 53))
            answer = asked.recv(512)
        except OSError:
            return False
    _, flags, _, answers, _, _ = struct.unpack(">6H", answer[:12])
    return flags & 0xF == 0 and answers > 0 and socket.inet_aton(settings.service_address) in answer
