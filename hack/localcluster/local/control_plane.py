"""etcd, kube-apiserver, kube-controller-manager and kube-scheduler: their flags, certificates and order of start.

Used twice: by the whole local cluster (on the bridge's address) and by integration tests (`control_plane`, on loopback,
no node, no root). It knows nothing of nodes, volumes or DNS.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from hack.localcluster.local import settings as local_settings
from hack.localcluster.local import watchdog as watchdog_module
from hack.localcluster.local.binaries import program
from hack.localcluster.local.client import Client
from hack.localcluster.local.pki import NO_GROUP, Pki, write_kubeconfig
from hack.localcluster.local.processes import Process, start_time
from hack.localcluster.local.settings import CLUSTER_DOMAIN, Settings
from hack.localcluster.progress import Progress, wait_until
from hack.tools.paths import REPOSITORY

_USERS = {"controller-manager": "system:kube-controller-manager", "scheduler": "system:kube-scheduler"}


class ControlPlane:
    """The four processes of a control plane in one state folder."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.pki = Pki(settings.pki)

    def write_certificates(self) -> None:
        """All authorities, keys and kubeconfigs of the control plane; those that exist are kept."""
        settings, pki = self.settings, self.pki
        for authority in ("ca", "front-proxy-ca", "etcd-ca"):
            pki.authority(authority)
        pki.key_pair("service-account")
        service = ["kubernetes", "kubernetes.default", "kubernetes.default.svc"]
        service.append(f"kubernetes.default.svc.{CLUSTER_DOMAIN}")
        hosts = [*service, "localhost", "127.0.0.1", settings.service_address]
        hosts += [] if settings.address == "127.0.0.1" else [settings.address]
        pki.issue("apiserver", common_name="kube-apiserver", hosts=hosts)
        pki.issue("apiserver-kubelet", common_name="kube-apiserver-kubelet-client")
        pki.issue("front-proxy", common_name="front-proxy-client", authority="front-proxy-ca")
        pki.issue("etcd", common_name="etcd", hosts=["localhost", "127.0.0.1"], authority="etcd-ca")
        pki.issue("apiserver-etcd", common_name="kube-apiserver", authority="etcd-ca")
        for name, user in _USERS.items():
            self.identity(name, user)
        certificate, key = pki.issue("admin", common_name="kubernetes-admin", group="system:masters")
        write_kubeconfig(settings.admin_kubeconfig, settings.server, pki.authority("ca"), certificate, key)

    def identity(self, name: str, user: str, group: str = NO_GROUP) -> Path:
        """A client certificate for `user` and the kubeconfig `config/NAME.kubeconfig` that uses it."""
        certificate, key = self.pki.issue(name, common_name=user, group=group)
        path = self.settings.config / f"{name}.kubeconfig"
        write_kubeconfig(path, self.settings.server, self.pki.authority("ca"), certificate, key)
        return path

    def etcd(self) -> Process:
        s, pki = self.settings, self.settings.pki
        client, peer = f"https://127.0.0.1:{s.etcd_port}", f"http://127.0.0.1:{s.etcd_peer_port}"
        flags = [
            "--name=tidemill",
            f"--data-dir={s.folder / 'etcd'}",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=tidemill={peer}",
            f"--cert-file={pki / 'etcd.crt'}",
            f"--key-file={pki / 'etcd.key'}",
            f"--trusted-ca-file={pki / 'etcd-ca.crt'}",
            "--client-cert-auth",
            # A lost machine costs a test cluster nothing; a lost process loses nothing either way.
            "--unsafe-no-fsync",
            "--auto-compaction-retention=5m",
            "--quota-backend-bytes=4294967296",
            "--log-level=warn",
        ]
        return Process("etcd", [*program("etcd"), *flags], s.folder)

    def apiserver(self) -> Process:
        s, pki = self.settings, self.settings.pki
        flags = [
            f"--bind-address={s.address}",
            f"--advertise-address={s.address}",
            f"--secure-port={s.api_port}",
            f"--etcd-servers=https://127.0.0.1:{s.etcd_port}",
            f"--etcd-cafile={pki / 'etcd-ca.crt'}",
            f"--etcd-certfile={pki / 'apiserver-etcd.crt'}",
            f"--etcd-keyfile={pki / 'apiserver-etcd.key'}",
            f"--client-ca-file={pki / 'ca.crt'}",
            f"--tls-cert-file={pki / 'apiserver.crt'}",
            f"--tls-private-key-file={pki / 'apiserver.key'}",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            f"--service-account-issuer=https://kubernetes.default.svc.{CLUSTER_DOMAIN}",
            f"--service-account-key-file={pki / 'service-account.pub'}",
            f"--service-account-signing-key-file={pki / 'service-account.key'}",
            f"--service-cluster-ip-range={s.service_subnet}",
            f"--kubelet-certificate-authority={pki / 'ca.crt'}",
            f"--kubelet-client-certificate={pki / 'apiserver-kubelet.crt'}",
            f"--kubelet-client-key={pki / 'apiserver-kubelet.key'}",
            # The kubelet's certificate holds its address, so no name has to be put into /etc/hosts.
            "--kubelet-preferred-address-types=InternalIP",
            f"--requestheader-client-ca-file={pki / 'front-proxy-ca.crt'}",
            "--requestheader-allowed-names=front-proxy-client",
            "--requestheader-extra-headers-prefix=X-Remote-Extra-",
            "--requestheader-group-headers=X-Remote-Group",
            "--requestheader-username-headers=X-Remote-User",
            f"--proxy-client-cert-file={pki / 'front-proxy.crt'}",
            f"--proxy-client-key-file={pki / 'front-proxy.key'}",
            "--allow-privileged=true",
            "--profiling=false",
            "--shutdown-delay-duration=0s",
            "--v=1",
        ]
        if s.address == "127.0.0.1":
            # Endpoints may not hold loopback addresses; without nodes nobody reads them.
            flags.append("--endpoint-reconciler-type=none")
        return Process("kube-apiserver", [*program("kube-apiserver"), *flags], s.folder, stop_seconds=20)

    def controller_manager(self) -> Process:
        s, pki = self.settings, self.settings.pki
        flags = [
            f"--kubeconfig={s.config / 'controller-manager.kubeconfig'}",
            "--bind-address=127.0.0.1",
            "--secure-port=0",
            "--leader-elect=false",
            "--use-service-account-credentials=true",
            f"--root-ca-file={pki / 'ca.crt'}",
            f"--service-account-private-key-file={pki / 'service-account.key'}",
            f"--cluster-signing-cert-file={pki / 'ca.crt'}",
            f"--cluster-signing-key-file={pki / 'ca.key'}",
            f"--cluster-cidr={s.pod_subnet}",
            "--allocate-node-cidrs=false",
            # The stock 20/30 requests a second would be what a benchmark of bursts measures.
            "--kube-api-qps=200",
            "--kube-api-burst=400",
            "--concurrent-job-syncs=20",
            "--profiling=false",
        ]
        return Process("kube-controller-manager", [*program("kube-controller-manager"), *flags], s.folder)

    def scheduler(self) -> Process:
        s = self.settings
        flags = [
            f"--kubeconfig={s.config / 'scheduler.kubeconfig'}",
            "--secure-port=0",
            "--leader-elect=false",
            "--kube-api-qps=200",
            "--kube-api-burst=400",
            "--profiling=false",
        ]
        return Process("kube-scheduler", [*program("kube-scheduler"), *flags], s.folder)

    def start(self) -> Client:
        """etcd and the API server, until /readyz answers; returns an administrator's client."""
        self.write_certificates()
        etcd, apiserver = self.etcd(), self.apiserver()
        etcd.start()
        apiserver.start()
        client = Client(self.settings.admin_kubeconfig)
        wait_until(
            "kube-apiserver",
            client.answers,
            seconds=90,
            log=apiserver.log if etcd.running() else etcd.log,
            alive=lambda: etcd.running() and apiserver.running(),
        )
        return client


def _watchdog(folder: Path) -> Process:
    parent = os.getpid()
    command = [sys.executable, "-m", watchdog_module.__name__, str(parent), str(start_time(parent)), str(folder)]
    return Process(watchdog_module.NAME, command, folder, {"PYTHONPATH": str(REPOSITORY)})


@contextlib.contextmanager
def control_plane(
    state_dir: Path | None = None, *, controllers: bool = False, progress: Progress | None = None
) -> Iterator[Path]:
    """An API server with its etcd on free loopback ports, for integration tests; yields an administrator's kubeconfig.

    Needs no root and may run beside a whole cluster and beside other control planes. `state_dir` is a
    folder that this function fills and removes at the end (default: a temporary one); with `controllers` a
    kube-controller-manager runs as well (garbage collection, Jobs, ServiceAccounts, quota). Raises LocalClusterError
    with the end of the log when a process does not come up.
    """
    progress = progress or Progress(quiet=True)
    folder = Path(tempfile.mkdtemp(prefix="tidemill-")) if state_dir is None else state_dir.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    plane = ControlPlane(local_settings.decide(folder, address="127.0.0.1"))
    processes = [plane.controller_manager()] if controllers else []
    watchdog = _watchdog(folder)
    try:
        watchdog.start()
        progress.step("control plane: etcd, kube-apiserver" + (", kube-controller-manager" if controllers else ""))
        plane.start()
        for process in processes:
            process.start()
        yield plane.settings.admin_kubeconfig
    finally:
        for process in [watchdog, *processes, plane.apiserver(), plane.etcd()]:
            # Nothing in a test's control plane is worth an orderly end.
            process.stop_seconds = 2
            process.stop()
        shutil.rmtree(folder, ignore_errors=True)
