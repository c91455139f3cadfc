"""Images of the local node: the pause image, and loading archives into containerd's `k8s.io` namespace."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import tarfile
from collections.abc import Sequence
from pathlib import Path

from hack.localcluster.local.binaries import binaries
from hack.localcluster.local.node import PAUSE_IMAGE
from hack.localcluster.local.settings import Settings
from hack.localcluster.progress import LocalClusterError


def load(settings: Settings, archives: Sequence[Path]) -> None:
    """Import docker-archive or OCI archives. Raises LocalClusterError with what `ctr` said."""
    for archive in archives:
        done = ctr(settings, "images", "import", str(archive))
        if done.returncode != 0:
            raise LocalClusterError(f"{archive} could not be loaded: {(done.stderr or done.stdout).strip()}")


def names(settings: Settings) -> set[str]:
    """The references that the node knows; empty when containerd does not answer."""
    return set(ctr(settings, "images", "list", "--quiet").stdout.split())


def ctr(settings: Settings, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["ctr", "--address", str(settings.containerd_socket), "--namespace", "k8s.io", *arguments]
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)


def ensure_pause(settings: Settings) -> None:
    """The sandbox image: one static program, in an archive that is made here, byte for byte the same each time."""
    if PAUSE_IMAGE in names(settings):
        return
    archive = settings.folder / "pause.tar"
    write_pause_archive(archive, (binaries() / "pause").read_bytes())
    load(settings, [archive])
    archive.unlink()


def write_pause_archive(path: Path, program: bytes) -> None:
    """A docker-archive of one layer with `/pause`, run as user 65535."""
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        _add(tar, "pause", program, 0o755)
    content = layer.getvalue()
    configuration = {
        "architecture": _architecture(),
        "os": "linux",
        "config": {"Entrypoint": ["/pause"], "User": "65535:65535"},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(content).hexdigest()}"]},
    }
    manifest = [{"Config": "config.json", "RepoTags": [PAUSE_IMAGE], "Layers": ["layer.tar"]}]
    with tarfile.open(path, "w") as tar:
        _add(tar, "config.json", json.dumps(configuration).encode())
        _add(tar, "layer.tar", content)
        _add(tar, "manifest.json", json.dumps(manifest).encode())


def _architecture() -> str:
    import platform

    return {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())


def _add(tar: tarfile.TarFile, name: str, content: bytes, mode: int = 0o644) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), mode
    tar.addfile(entry, io.BytesIO(content))
