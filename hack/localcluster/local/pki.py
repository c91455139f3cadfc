"""Certificates and keys of a local cluster, made with the openssl program.

P-256 keys, valid for ten years: the folder is thrown away long before. No certificate of the host is used or changed.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

from hack.localcluster.progress import LocalClusterError

_AUTHORITY_EXTENSIONS = [
    "-addext",
    "basicConstraints=critical,CA:TRUE",
    "-addext",
    "keyUsage=critical,digitalSignature,keyCertSign,cRLSign",
]


class Pki:
    """A folder with certificate authorities and the certificates they signed. Files that exist are kept."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def authority(self, name: str) -> Path:
        """A self-signed authority; returns its certificate."""
        certificate = self.folder / f"{name}.crt"
        if not certificate.exists():
            self._request(name, f"/CN=tidemill-{name}", _AUTHORITY_EXTENSIONS)
        return certificate

    def issue(
        self,
        name: str,
        *,
        common_name: str,
        groups: Iterable[str] = (),
        hosts: Iterable[str] = (),
        authority: str = "ca",
    ) -> tuple[Path, Path]:
        """A certificate for client use, and for server use when `hosts` (DNS names or IP addresses) are given.

        Returns (certificate, key).
        """
        certificate, key = self.folder / f"{name}.crt", self.folder / f"{name}.key"
        if certificate.exists():
            return certificate, key
        subject = "".join(f"/O={group}" for group in groups) + f"/CN={common_name}"
        names = list(hosts)
        usage = "clientAuth,serverAuth" if names else "clientAuth"
        extra = ["-CA", str(self.folder / f"{authority}.crt"), "-CAkey", str(self.folder / f"{authority}.key")]
        extra += ["-addext", "basicConstraints=critical,CA:FALSE", "-addext", f"extendedKeyUsage={usage}"]
        if names:
            entries = ",".join(("IP:" if _is_address(name) else "DNS:") + name for name in names)
            extra += ["-addext", f"subjectAltName={entries}"]
        self._request(name, subject, extra)
        return certificate, key

    def key_pair(self, name: str) -> tuple[Path, Path]:
        """A bare P-256 key pair (for ServiceAccount tokens): (public, private)."""
        public, private = self.folder / f"{name}.pub", self.folder / f"{name}.key"
        if not public.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            _openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", str(private))
            _openssl("pkey", "-in", str(private), "-pubout", "-out", str(public))
        return public, private

    def _request(self, name: str, subject: str, extra: list[str]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o700)
        unfinished = self.folder / f"{name}.crt.new"
        command = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-sha256"]
        command += ["-days", "3650", "-subj", subject, "-keyout", str(self.folder / f"{name}.key")]
        _openssl(*command, *extra, "-out", str(unfinished))
        # The certificate is what `exists` looks at: it appears last and whole.
        unfinished.rename(self.folder / f"{name}.crt")


def write_kubeconfig(path: Path, server: str, authority: Path, certificate: Path, key: Path) -> None:
    """A kubeconfig in JSON (which is YAML) that refers to the certificate files by absolute path."""
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "tidemill", "cluster": {"server": server, "certificate-authority": str(authority)}}],
        "users": [
            {"name": "tidemill", "user": {"client-certificate": str(certificate), "client-key": str(key)}},
        ],
        "contexts": [{"name": "tidemill", "context": {"cluster": "tidemill", "user": "tidemill"}}],
        "current-context": "tidemill",
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    path.write_text(json.dumps(document, indent=1) + "\n")


def _is_address(host: str) -> bool:
    return host.replace(".", "").isdigit() or ":" in host


def _openssl(*arguments: str) -> None:
    program = shutil.which("openssl")
    if program is None:
        raise LocalClusterError("openssl is missing; on Debian or Ubuntu: sudo apt-get install -y openssl")
    # An empty configuration: a host's openssl.cnf may add extensions of its own.
    done = subprocess.run(
        [program, *arguments], capture_output=True, text=True, check=False, env={"OPENSSL_CONF": "/dev/null"}
    )
    if done.returncode != 0:
        raise LocalClusterError(f"openssl {arguments[0]} failed: {done.stderr.strip()}")
