"""The node: containerd, kubelet, kube-proxy and CoreDNS, with every path of theirs inside the state folder.

Configuration files are written anew at each `up`; they are functions of the settings alone.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from hack.localcluster.local.binaries import program
from hack.localcluster.local.control_plane import ControlPlane
from hack.localcluster.local.processes import Process
from hack.localcluster.local.settings import BRIDGE, CLUSTER_DOMAIN, NODE_NAME, Settings
from hack.tools.paths import REPOSITORY

PAUSE_IMAGE = "tidemill.io/pause:1"
_CNI_FOLDERS = ("/usr/lib/cni", "/opt/cni/bin", "/usr/libexec/cni")
_CAP_SYS_RESOURCE = 24


class Node:
    """The processes of the one node."""

    def __init__(self, settings: Settings, plane: ControlPlane) -> None:
        self.settings = settings
        self._plane = plane

    def write_configuration(self) -> None:
        """Certificates, kubeconfigs and configuration files of every process of the node."""
        s, plane = self.settings, self._plane
        plane.identity("kubelet", f"system:node:{NODE_NAME}", "system:nodes")
        plane.identity("kube-proxy", "system:kube-proxy")
        plane.identity("coredns", "system:coredns")
        plane.identity("volume-recycler", "tidemill:volume-recycler")
        plane.pki.issue("kubelet-server", common_name=f"system:node:{NODE_NAME}", hosts=[NODE_NAME, s.address])
        s.config.mkdir(parents=True, exist_ok=True)
        (s.config / "containerd.toml").write_text(_containerd(s))
        _write_json(s.folder / "cni" / "net.d" / "10-tidemill.conflist", _cni(s))
        _write_json(s.config / "kubelet.json", _kubelet(s))
        _write_json(s.config / "kube-proxy.json", _kube_proxy(s))
        (s.config / "Corefile").write_text(_corefile(s))

    def containerd(self) -> Process:
        s = self.settings
        return Process("containerd", ["containerd", "--config", str(s.config / "containerd.toml")], s.folder)

    def kubelet(self) -> Process:
        s = self.settings
        flags = [
            f"--config={s.config / 'kubelet.json'}",
            f"--kubeconfig={s.config / 'kubelet.kubeconfig'}",
            f"--root-dir={s.folder / 'kubelet'}",
            f"--cert-dir={s.folder / 'kubelet-pki'}",
            f"--hostname-override={NODE_NAME}",
            f"--node-ip={s.address}",
            "--v=1",
        ]
        return Process("kubelet", [*program("kubelet"), *flags], s.folder)

    def kube_proxy(self) -> Process:
        s = self.settings
        command = [
            *program("kube-proxy"),
            f"--config={s.config / 'kube-proxy.json'}",
            f"--hostname-override={NODE_NAME}",
        ]
        return Process("kube-proxy", command, s.folder)

    def coredns(self) -> Process:
        s = self.settings
        return Process("coredns", [*program("coredns"), "-conf", str(s.config / "Corefile")], s.folder)

    def volume_recycler(self) -> Process:
        s = self.settings
        arguments = [str(s.config / "volume-recycler.kubeconfig"), str(s.folder / "volumes")]
        command = [sys.executable, "-m", "hack.localcluster.local.volumes", *arguments]
        return Process("volume-recycler", command, s.folder, {"PYTHONPATH": str(REPOSITORY)})


def cni_folder() -> Path | None:
    """Where the CNI plugins are; None when they are not installed."""
    return next((Path(name) for name in _CNI_FOLDERS if Path(name, "bridge").exists()), None)


def _write_json(path: Path, document: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1) + "\n")


def _may_lower_oom_score() -> bool:
    """Without CAP_SYS_RESOURCE runc cannot set the scores the kubelet asks for and fails to start any container."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            return bool(int(line.split()[1], 16) >> _CAP_SYS_RESOURCE & 1)
    return True


def _snapshotter(folder: Path) -> str:
    """overlayfs unless the state folder is itself on an overlay (a container's root)."""
    best, kind = "", ""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields = line.split()
        point, fstype = fields[4], fields[fields.index("-") + 1]
        if Path(point) in (folder, *folder.parents) and len(point) >= len(best):
            best, kind = point, fstype
    return "native" if kind == "overlay" else "overlayfs"


def _containerd(s: Settings) -> str:
    folder = json.dumps(str(s.folder))[1:-1]
    # Everything that may be named is inside the state folder, network namespaces and runc's own state included.
    return f"""version = 2
root = "{folder}/containerd/root"
state = "{folder}/containerd/state"
disabled_plugins = ["io.containerd.internal.v1.tracing", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.aufs"]

[grpc]
address = "{folder}/containerd.sock"

[plugins."io.containerd.internal.v1.opt"]
path = "{folder}/containerd/opt"

[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{PAUSE_IMAGE}"
restrict_oom_score_adj = {str(not _may_lower_oom_score()).lower()}
netns_mounts_under_state_dir = true
stream_server_address = "127.0.0.1"
stream_server_port = "0"

[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "{_snapshotter(s.folder)}"
default_runtime_name = "runc"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
Root = "{folder}/containerd/runc"
SystemdCgroup = false

[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{cni_folder()}"
conf_dir = "{folder}/cni/net.d"
"""


def _cni(s: Settings) -> dict[str, Any]:
    gateway = {"subnet": s.pod_subnet, "gateway": s.address}
    ipam = {
        "type": "host-local",
        "dataDir": str(s.folder / "cni" / "addresses"),
        "ranges": [[gateway]],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    bridge = {"type": "bridge", "bridge": BRIDGE, "isGateway": True, "ipMasq": True, "hairpinMode": True}
    plugins = [
        {**bridge, "ipam": ipam},
        {"type": "portmap", "capabilities": {"portMappings": True}},
        # Lets pods' packets through a FORWARD chain that drops by default, as a stopped Docker leaves it.
        {"type": "firewall"},
    ]
    # containerd 1.6 knows no later version of the format.
    return {"cniVersion": "0.4.0", "name": "tidemill", "plugins": plugins}


def _resolv_conf() -> str:
    """The resolvers that pods may use: systemd-resolved's stub on loopback cannot be reached from a pod."""
    real = Path("/run/systemd/resolve/resolv.conf")
    return str(real) if real.exists() else "/etc/resolv.conf"


def _kubelet(s: Settings) -> dict[str, Any]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": s.address,
        "port": s.kubelet_port,
        "healthzPort": 0,
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(s.pki / "ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": str(s.pki / "kubelet-server.crt"),
        "tlsPrivateKeyFile": str(s.pki / "kubelet-server.key"),
        "containerRuntimeEndpoint": f"unix://{s.containerd_socket}",
        "cgroupDriver": "cgroupfs",
        "failCgroupV1": False,
        "failSwapOn": False,
        "clusterDNS": [s.dns_address],
        "clusterDomain": CLUSTER_DOMAIN,
        "resolvConf": _resolv_conf(),
        "podLogsDir": str(s.folder / "pod-logs"),
        "volumePluginDir": str(s.folder / "volume-plugins"),
        "maxPods": 240,
        "serializeImagePulls": False,
        "registryPullQPS": 0,
        "kubeAPIQPS": 100,
        "kubeAPIBurst": 200,
        "eventRecordQPS": 100,
        "eventBurst": 200,
        # A developer's disk is often nearly full; images that were loaded cannot be pulled again.
        "evictionHard": {
            "memory.available": "100Mi",
            "nodefs.available": "0%",
            "nodefs.inodesFree": "0%",
            "imagefs.available": "0%",
            "imagefs.inodesFree": "0%",
        },
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "imageMinimumGCAge": "24h",
        "enableControllerAttachDetach": True,
        "logging": {"format": "text"},
    }


def _kube_proxy(s: Settings) -> dict[str, Any]:
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "clientConnection": {"kubeconfig": str(s.config / "kube-proxy.kubeconfig")},
        "mode": "iptables",
        "clusterCIDR": s.pod_subnet,
        # Zero everywhere: the machine's own connection tracking is not ours to tune.
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
        "iptables": {"localhostNodePorts": False, "minSyncPeriod": "100ms"},
        "nodePortAddresses": ["primary"],
        "healthzBindAddress": f"{s.address}:10256",
        "metricsBindAddress": f"{s.address}:10249",
    }


def _corefile(s: Settings) -> str:
    return f""". {{
    bind {s.address}
    errors
    health {s.address}:8080
    ready {s.address}:8181
    kubernetes {CLUSTER_DOMAIN} in-addr.arpa ip6.arpa {{
        kubeconfig {s.config / "coredns.kubeconfig"}
        pods insecure
        fallthrough in-addr.arpa ip6.arpa
        ttl 5
    }}
    cache 5
    forward . {_resolv_conf()}
}}
""".replace(". {", f".:{s.dns_port} {{", 1)
