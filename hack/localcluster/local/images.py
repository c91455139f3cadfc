"""Images of the local node: the pause image, and loading archives into containerd's `k8s.io` namespace."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from hack.localcluster.local.binaries import binaries
from hack.localcluster.local.downloads import machine_architecture
from hack.localcluster.local.node import PAUSE_IMAGE
from hack.localcluster.local.settings import Settings
from hack.localcluster.progress import LocalClusterError


def load(settings: Settings, archives: Sequence[Path]) -> None:
    """Import docker-archive or OCI archives. Raises LocalClusterError with what `ctr` said."""
    for archive in archives:
        done = ctr(settings, "images", "import", str(archive))
        if done.returncode != 0:
            raise LocalClusterError(f"{archive} could not be loaded: {(done.stderr or done.stdout).strip()}")


def load_stream(settings: Settings, reference: str, stream: IO[bytes]) -> None:
    """Import one image from a docker-archive stream, taking only layers that the node does not have.

    Layers of such archives are named after the digest of their content, which is also their name in containerd's store
    when they are uncompressed. Raises LocalClusterError.
    """
    known = set(ctr(settings, "content", "list", "--quiet").stdout.split())
    with tempfile.TemporaryDirectory(prefix="load-", dir=settings.folder) as folder:
        archive = Path(folder) / "image.tar"
        write_oci_archive(stream, reference, known, archive)
        load(settings, [archive])


def write_oci_archive(stream: IO[bytes], reference: str, known: set[str], archive: Path) -> None:
    """An OCI archive at `archive` of the docker-archive in `stream`, without the layers whose digests are `known`."""
    sizes: dict[str, int] = {}
    small: dict[str, bytes] = {}
    with tarfile.open(archive, "w") as out:
        with tarfile.open(fileobj=stream, mode="r|", bufsize=1 << 20) as source:
            for member in source:
                content = source.extractfile(member) if member.isreg() else None
                if content is None:
                    continue
                if member.name.endswith(".json"):
                    small[member.name] = content.read()
                    continue
                digest = f"sha256:{Path(member.name).stem}"
                sizes[digest] = member.size
                if digest not in known:
                    entry = tarfile.TarInfo(f"blobs/{digest.replace(':', '/')}")
                    entry.size = member.size
                    out.addfile(entry, content)
        manifest = json.loads(small["manifest.json"])[0]
        configuration = small[manifest["Config"]]
        layers = [(digest, sizes[digest]) for digest in (f"sha256:{Path(n).stem}" for n in manifest["Layers"])]
        _add_oci_index(out, reference, configuration, layers)


def _add_oci_index(out: tarfile.TarFile, reference: str, configuration: bytes, layers: list[tuple[str, int]]) -> None:
    def blob(content: bytes, media_type: str) -> dict[str, Any]:
        digest = hashlib.sha256(content).hexdigest()
        _add(out, f"blobs/sha256/{digest}", content)
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(content)}

    kind = "application/vnd.oci.image"
    document = {
        "schemaVersion": 2,
        "mediaType": f"{kind}.manifest.v1+json",
        "config": blob(configuration, f"{kind}.config.v1+json"),
        "layers": [{"mediaType": f"{kind}.layer.v1.tar", "digest": d, "size": n} for d, n in layers],
    }
    entry = blob(json.dumps(document).encode(), f"{kind}.manifest.v1+json")
    entry["annotations"] = {"io.containerd.image.name": reference}
    _add(out, "index.json", json.dumps({"schemaVersion": 2, "manifests": [entry]}).encode())
    _add(out, "oci-layout", b'{"imageLayoutVersion": "1.0.0"}')


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
        "architecture": machine_architecture(),
        "os": "linux",
        "config": {"Entrypoint": ["/pause"], "User": "65535:65535"},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(content).hexdigest()}"]},
    }
    manifest = [{"Config": "config.json", "RepoTags": [PAUSE_IMAGE], "Layers": ["layer.tar"]}]
    with tarfile.open(path, "w") as tar:
        _add(tar, "config.json", json.dumps(configuration).encode())
        _add(tar, "layer.tar", content)
        _add(tar, "manifest.json", json.dumps(manifest).encode())


def _add(tar: tarfile.TarFile, name: str, content: bytes, mode: int = 0o644) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), mode
    tar.addfile(entry, io.BytesIO(content))
