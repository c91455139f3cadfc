"""What the machine must have for the local provider: installed on Debian as root, else an error names the command."""

from __future__ import annotations

import os
import platform
import shutil
import sys

from hack.localcluster.local.node import cni_folder
from hack.localcluster.progress import LocalClusterError, Progress
from hack.tools.debian import install, missing_authorities

_PACKAGES = {
    "containerd": "containerd",
    "runc": "runc",
    "iptables": "iptables",
    "conntrack": "conntrack",
    "socat": "socat",
    "ip": "iproute2",
    "modprobe": "kmod",
    "mount": "mount",
}
_CNI_PACKAGE = "containernetworking-plugins"


def missing_packages() -> list[str]:
    """Debian's names of the packages that are not there."""
    found = [package for program, package in _PACKAGES.items() if shutil.which(program) is None]
    # Downloads and containerd's pulls verify whom they talk to.
    return found + ([] if cni_folder() else [_CNI_PACKAGE]) + missing_authorities()


def require(progress: Progress) -> None:
    """Raises LocalClusterError with the exact command unless the machine can run a node."""
    if sys.platform != "linux":
        raise LocalClusterError(
            f"the local provider needs Linux, this is {platform.system()}; start Docker Desktop (kind is used then) "
            "or name the context of a cluster, CONTEXT=name (a context of KUBECONFIG)"
        )
    if os.geteuid() != 0:
        raise LocalClusterError(
            "the local provider runs a node as processes of this machine and needs root; run "
            f"`sudo --preserve-env=TIDEMILL_CACHE,TIDEMILL_STATE {sys.executable} -m hack.localcluster up`, "
            "or start Docker (kind is used then), or name the context of a cluster: CONTEXT=name, of KUBECONFIG"
        )
    if missing := missing_packages():
        install(missing, progress.step)
