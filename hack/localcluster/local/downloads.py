"""Release binaries from the projects' own sites, each checked against the checksum that is published beside it.

Quicker than building, where those sites are reachable. Nothing here decides what is done when they are not: it says so.
"""

from __future__ import annotations

import hashlib
import io
import platform
import tarfile
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from hack.localcluster.local.settings import KUBERNETES_VERSION
from hack.localcluster.progress import LocalClusterError, Progress

ETCD_VERSION = "v3.6.4"
COREDNS_VERSION = "1.12.4"
_KUBERNETES = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy")
# A site behind a firewall that drops packets must not hold `up` for minutes.
_PROBE_SECONDS = 5


@dataclass(frozen=True)
class Download:
    """One file of a release. `member` is the program's path when the file is an archive."""

    program: str
    url: str
    checksum_url: str
    member: str = ""


def releases(architecture: str) -> list[Download]:
    """Every program for `architecture` (amd64 or arm64)."""
    kubernetes = f"https://dl.k8s.io/release/{KUBERNETES_VERSION}/bin/linux/{architecture}"
    etcd = f"https://github.com/etcd-io/etcd/releases/download/{ETCD_VERSION}"
    etcd_name = f"etcd-{ETCD_VERSION}-linux-{architecture}"
    coredns = f"https://github.com/coredns/coredns/releases/download/v{COREDNS_VERSION}"
    coredns_file = f"{coredns}/coredns_{COREDNS_VERSION}_linux_{architecture}.tgz"
    found = [Download(name, f"{kubernetes}/{name}", f"{kubernetes}/{name}.sha256") for name in _KUBERNETES]
    found.append(Download("etcd", f"{etcd}/{etcd_name}.tar.gz", f"{etcd}/SHA256SUMS", f"{etcd_name}/etcd"))
    found.append(Download("coredns", coredns_file, f"{coredns_file}.sha256", "coredns"))
    return found


def machine_architecture() -> str:
    """This machine's architecture as releases name it."""
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())


def reachable(downloads: list[Download]) -> bool:
    """Whether every site answers within seconds: one small checksum file of each is requested."""
    try:
        for url in {item.url.split("/")[2]: item.checksum_url for item in downloads}.values():
            _read(url, _PROBE_SECONDS)
    except OSError:
        return False
    return True


def download(downloads: list[Download], folder: Path, progress: Progress) -> None:
    """Fetch, check and store each program in `folder`. Raises LocalClusterError (checksum) and OSError (network)."""
    for item in downloads:
        target = folder / item.program
        if target.exists():
            continue
        progress.step(f"downloading {item.url}")
        content = _read(item.url, 300)
        wanted = published_checksum(_read(item.checksum_url, 60).decode(), item.url.rsplit("/", 1)[1])
        found = hashlib.sha256(content).hexdigest()
        if found != wanted:
            raise LocalClusterError(f"{item.url}: sha256 is {found}, {item.checksum_url} says {wanted}; not used")
        unfinished = folder / f"{item.program}.new"
        unfinished.write_bytes(_member(content, item.member) if item.member else content)
        unfinished.chmod(0o755)
        unfinished.rename(target)


def published_checksum(text: str, name: str) -> str:
    """The sha256 of file `name` in a checksum file: a bare digest, or lines of `digest  name`."""
    for line in text.splitlines():
        words = line.split()
        if len(words) == 1 or (len(words) == 2 and words[1].lstrip("*").rsplit("/", 1)[-1] == name):
            return words[0].lower()
    raise LocalClusterError(f"no checksum of {name} is published")


def _member(archive: bytes, name: str) -> bytes:
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        for member in tar:
            content = tar.extractfile(member) if member.name.removeprefix("./") == name else None
            if content is not None:
                return content.read()
    raise LocalClusterError(f"the release archive does not hold {name}")


def _read(url: str, seconds: float) -> bytes:
    """The content behind `url`. Raises OSError (urllib's errors are OSErrors)."""
    with urllib.request.urlopen(url, timeout=seconds) as response:
        content: bytes = response.read()
    return content
