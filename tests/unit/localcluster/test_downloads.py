"""Release binaries: checked before use, whatever form the published checksum has."""

import hashlib
import io
import tarfile
from pathlib import Path

import pytest
from hack.localcluster import LocalClusterError, Progress
from hack.localcluster.local import downloads
from hack.localcluster.local.downloads import Download, download, published_checksum, releases


def site(monkeypatch: pytest.MonkeyPatch, files: dict[str, bytes]) -> None:
    """Replace the network by `files`."""

    def read(url: str, _seconds: float) -> bytes:
        if url not in files:
            raise ConnectionError(url)
        return files[url]

    monkeypatch.setattr(downloads, "_read", read)


def archive(name: str, content: bytes) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        entry = tarfile.TarInfo(name)
        entry.size = len(content)
        tar.addfile(entry, io.BytesIO(content))
    return out.getvalue()


def test_plain_files_and_archives_become_programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packed = archive("etcd-v1/etcd", b"ETCD")
    sums = f"{hashlib.sha256(b'other').hexdigest()}  other.tgz\n{hashlib.sha256(packed).hexdigest()}  etcd.tgz\n"
    kubelet = hashlib.sha256(b"KUBELET").hexdigest().encode()
    first = {"https://a/kubelet": b"KUBELET", "https://a/k.sha": kubelet}
    site(monkeypatch, {**first, "https://b/etcd.tgz": packed, "https://b/S": sums.encode()})
    wanted = [
        Download("kubelet", "https://a/kubelet", "https://a/k.sha"),
        Download("etcd", "https://b/etcd.tgz", "https://b/S", "etcd-v1/etcd"),
    ]
    assert downloads.reachable(wanted)
    download(wanted, tmp_path, Progress(quiet=True))
    assert (tmp_path / "kubelet").read_bytes() == b"KUBELET"
    assert (tmp_path / "etcd").read_bytes() == b"ETCD"
    assert (tmp_path / "etcd").stat().st_mode & 0o111


def test_a_wrong_checksum_is_never_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site(monkeypatch, {"https://a/kubelet": b"EVIL", "https://a/k.sha": hashlib.sha256(b"GOOD").hexdigest().encode()})
    with pytest.raises(LocalClusterError, match=r"https://a/kubelet: sha256 is .* says .*; not used"):
        download([Download("kubelet", "https://a/kubelet", "https://a/k.sha")], tmp_path, Progress(quiet=True))
    assert list(tmp_path.iterdir()) == []


def test_one_silent_site_means_building(monkeypatch: pytest.MonkeyPatch) -> None:
    site(monkeypatch, {"https://a/k.sha": b"x"})
    wanted = [Download("a", "https://a/k", "https://a/k.sha"), Download("b", "https://b/k", "https://b/k.sha")]
    assert not downloads.reachable(wanted)
    assert downloads.reachable(wanted[:1])


@pytest.mark.parametrize("text", ["ABC\n", "abc  etcd.tgz\n", "fff  other\nabc *dist/etcd.tgz\n"])
def test_forms_of_published_checksums(text: str) -> None:
    assert published_checksum(text, "etcd.tgz") == "abc"


def test_a_missing_checksum_is_an_error() -> None:
    with pytest.raises(LocalClusterError, match=r"no checksum of etcd\.tgz"):
        published_checksum("abc  other.tgz\n", "etcd.tgz")


def test_every_server_program_has_a_release() -> None:
    programs = {item.program for item in releases("arm64")}
    assert programs == {
        "kube-apiserver",
        "kube-controller-manager",
        "kube-scheduler",
        "kubelet",
        "kube-proxy",
        "etcd",
        "coredns",
    }
    assert all("arm64" in item.url for item in releases("arm64"))
