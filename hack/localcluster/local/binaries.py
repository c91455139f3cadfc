"""The server programs of Kubernetes, etcd and CoreDNS: from the user's cache, else downloaded, else built.

What is built is `hack/kube`. One build serves all clones of one machine: the cache is keyed by the content of the
module, the Kubernetes version and the architecture.
"""

from __future__ import annotations

import fcntl
import functools
import hashlib
import os
import platform
import subprocess
from pathlib import Path

from hack.localcluster.local.downloads import download, machine_architecture, reachable, releases
from hack.localcluster.local.settings import KUBERNETES_VERSION
from hack.localcluster.progress import LocalClusterError, Progress, last_lines
from hack.tools.go import NEWEST, go_toolchain
from hack.tools.paths import REPOSITORY, cache_folder

_MODULE = REPOSITORY / "hack" / "kube"
_COMPLETE = "complete"


def cache_key() -> str:
    """Changes whenever the built programs would."""
    digest = hashlib.sha256(f"{KUBERNETES_VERSION} {platform.machine()} {NEWEST}".encode())
    for path in sorted(p for p in _MODULE.rglob("*") if p.is_file()):
        digest.update(path.relative_to(_MODULE).as_posix().encode() + b"\0" + path.read_bytes())
    return f"{KUBERNETES_VERSION}-{digest.hexdigest()[:12]}"


@functools.cache
def binaries(progress: Progress | None = None) -> Path:
    """The folder with the programs and `pause`, filled when it is not there. Raises LocalClusterError."""
    progress = progress or Progress()
    folder = cache_folder() / "kube" / cache_key()
    if (folder / _COMPLETE).exists():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        # Two runs of the tests may want it at once; the second finds it filled.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / _COMPLETE).exists():
            _fill(folder, progress)
            (folder / _COMPLETE).touch()
    return folder


def program(name: str) -> list[str]:
    """The command that starts a server program, without flags: a release binary, or its part of the one we built."""
    folder = binaries()
    own = folder / name
    return [str(own)] if own.exists() else [str(folder / "kube"), name]


def _fill(folder: Path, progress: Progress) -> None:
    go = go_toolchain()
    _build(go, folder, "./pause", "pause", "-s -w")
    wanted = releases(machine_architecture())
    if not (folder / "kube").exists() and reachable(wanted):
        try:
            download(wanted, folder, progress)
        except OSError as error:
            progress.step(f"download failed ({error}), building instead")
        else:
            return
    major, minor = KUBERNETES_VERSION.lstrip("v").split(".")[:2]
    stamp = {"gitVersion": KUBERNETES_VERSION, "gitMajor": major, "gitMinor": minor, "gitTreeState": "clean"}
    flags = " ".join(["-s -w", *(f"-X k8s.io/component-base/version.{key}={value}" for key, value in stamp.items())])
    progress.step(f"building Kubernetes {KUBERNETES_VERSION} from its Go modules (once; about 7 minutes on 2 cores)")
    _build(go, folder, ".", "kube", flags)
    progress.step("built")


def _build(go: Path, folder: Path, package: str, target: str, flags: str) -> None:
    if (folder / target).exists():
        return
    environment = {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly -buildvcs=false", "GOWORK": "off"}
    log, unfinished = folder / "build.log", folder / f"{target}.new"
    command = [str(go), "build", "-trimpath", "-ldflags", flags, "-o", str(unfinished), package]
    with log.open("wb") as output:
        done = subprocess.run(command, cwd=_MODULE, env=environment, stdout=output, stderr=output, check=False)
    if done.returncode != 0:
        raise LocalClusterError(f"`go build {package}` in {_MODULE} failed{last_lines(log)}")
    unfinished.rename(folder / target)
