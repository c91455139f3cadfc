"""Addresses, ports and folders of one local cluster: decided once at the first `up` and kept in `cluster.json`.

Everything listens on the bridge's own address or on loopback: a developer's cluster is not offered to the network.
"""

from __future__ import annotations

import ipaddress
import json
import os
import socket
from dataclasses import asdict, dataclass
from pathlib import Path

from hack.localcluster.progress import LocalClusterError

KUBERNETES_VERSION = "v1.34.4"
NODE_NAME = "tidemill"
BRIDGE = "tidemill0"
CLUSTER_DOMAIN = "cluster.local"
# Raised when what `up` makes changes so much that an older state folder cannot be continued.
LAYOUT = "1"
# A socket path of the kernel holds 107 bytes; containerd appends `.ttrpc` and the kubelet has longer names below.
LONGEST_STATE_PATH = 60


@dataclass(frozen=True)
class Settings:
    """What the parts of the cluster have to agree on. `folder` is absolute."""

    folder: Path
    layout: str
    pod_subnet: str
    service_subnet: str
    address: str
    """The bridge's address: node address, API server, kubelet and DNS."""
    api_port: int
    etcd_port: int
    etcd_peer_port: int
    kubelet_port: int
    dns_port: int

    @property
    def pki(self) -> Path:
        return self.folder / "pki"

    @property
    def config(self) -> Path:
        return self.folder / "config"

    @property
    def admin_kubeconfig(self) -> Path:
        return self.folder / "kubeconfig"

    @property
    def server(self) -> str:
        return f"https://{self.address}:{self.api_port}"

    @property
    def containerd_socket(self) -> Path:
        return self.folder / "containerd.sock"

    @property
    def service_address(self) -> str:
        """The `kubernetes` Service: the first address of the Service network."""
        return str(next(ipaddress.ip_network(self.service_subnet).hosts()))

    @property
    def dns_address(self) -> str:
        """The `kube-dns` Service: the tenth address, as kubeadm has it."""
        return str(ipaddress.ip_network(self.service_subnet)[10])

    def save(self) -> None:
        document = {**asdict(self), "folder": str(self.folder)}
        unfinished = self.folder / "cluster.json.new"
        unfinished.write_text(json.dumps(document, indent=1) + "\n")
        unfinished.rename(self.folder / "cluster.json")


def load(folder: Path) -> Settings | None:
    """The settings of a cluster that was started in `folder`; None when there is none or it has another layout."""
    try:
        document = json.loads((folder / "cluster.json").read_text())
        settings = Settings(**{**document, "folder": folder})
    except (OSError, ValueError, TypeError):
        return None
    return settings if settings.layout == LAYOUT else None


def decide(folder: Path, *, address: str | None = None) -> Settings:
    """New settings. `address` replaces the bridge's address for a control plane without a node (loopback).

    Raises LocalClusterError when a network would hide one that the machine already reaches.
    """
    pods = _network("TIDEMILL_POD_SUBNET", "10.244.0.0/24")
    services = _network("TIDEMILL_SERVICE_SUBNET", "10.96.0.0/16")
    bridge = address or str(next(pods.hosts()))
    if address is None:
        _refuse_overlap(pods, "TIDEMILL_POD_SUBNET")
        _refuse_overlap(services, "TIDEMILL_SERVICE_SUBNET")
        if len(str(folder)) > LONGEST_STATE_PATH:
            raise LocalClusterError(
                f"the state folder {folder} is too long for socket paths ({len(str(folder))} characters, at most "
                f"{LONGEST_STATE_PATH}); choose another: export TIDEMILL_STATE=/var/tmp/tidemill"
            )
    ports = _free_ports(4)
    return Settings(
        folder=folder,
        layout=LAYOUT,
        pod_subnet=str(pods),
        service_subnet=str(services),
        address=bridge,
        # The bridge's address is ours alone: its ports are free. On loopback nothing is known to be free.
        api_port=6443 if address is None else ports[0],
        etcd_port=ports[1],
        etcd_peer_port=ports[2],
        kubelet_port=10250,
        dns_port=1053,
    )


def _network(variable: str, default: str) -> ipaddress.IPv4Network:
    value = os.environ.get(variable, default)
    try:
        network = ipaddress.IPv4Network(value)
    except ValueError as error:
        raise LocalClusterError(f"{variable}={value!r}: want an IPv4 network such as {default}: {error}") from error
    if network.prefixlen > 24:
        raise LocalClusterError(f"{variable}={value!r}: want a prefix length of at most 24, such as {default}")
    return network


def _refuse_overlap(network: ipaddress.IPv4Network, variable: str) -> None:
    for device, route in host_routes():
        if device != BRIDGE and route.prefixlen > 0 and route.overlaps(network):
            raise LocalClusterError(
                f"{variable}: {network} overlaps {route} which this machine reaches over {device}; "
                f"choose a free network, for example: export {variable}=10.213.0.0/{network.prefixlen}"
            )


def host_routes() -> list[tuple[str, ipaddress.IPv4Network]]:
    """(device, destination) of the main IPv4 routing table."""
    routes = []
    for line in Path("/proc/net/route").read_text().splitlines()[1:]:
        fields = line.split()
        destination, mask = (bytes.fromhex(fields[i])[::-1] for i in (1, 7))
        prefix = bin(int.from_bytes(mask, "big")).count("1")
        routes.append((fields[0], ipaddress.IPv4Network((destination, prefix))))
    return routes


def _free_ports(count: int) -> list[int]:
    """Ports of loopback that nobody listens on now; all are held open until all are chosen, so they differ."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for item in sockets:
            item.bind(("127.0.0.1", 0))
        return [int(item.getsockname()[1]) for item in sockets]
    finally:
        for item in sockets:
            item.close()
