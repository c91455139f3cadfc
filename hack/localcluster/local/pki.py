"""Certificates and keys of a local cluster, made with trustme.

P-256 keys, valid until 2038: the folder is thrown away long before. No certificate of the host is used or changed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import trustme
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

NO_GROUP = "tidemill"


class Pki:
    """A folder with certificate authorities and the certificates they signed. Files that exist are kept."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def authority(self, name: str) -> Path:
        """A self-signed authority; returns its certificate."""
        certificate = self.folder / f"{name}.crt"
        if not certificate.exists():
            made = trustme.CA(organization_name="tidemill", organization_unit_name=name)
            self._store(name, made.private_key_pem.bytes(), made.cert_pem.bytes(), ".crt")
        return certificate

    def issue(
        self, name: str, *, common_name: str, group: str = NO_GROUP, hosts: Iterable[str] = (), authority: str = "ca"
    ) -> tuple[Path, Path]:
        """A certificate of a server at `hosts` (DNS names or IP addresses), or of a client when there are none.

        The API server takes `common_name` for the client's user and `group` for its group; nothing is bound to the
        default. Returns (certificate, key).
        """
        certificate, key = self.folder / f"{name}.crt", self.folder / f"{name}.key"
        if not certificate.exists():
            signer = trustme.CA.from_pem(
                (self.folder / f"{authority}.crt").read_bytes(), (self.folder / f"{authority}.key").read_bytes()
            )
            # A client has an alternative name, too: programs written in Go refuse a critical extension that is empty.
            names = list(hosts) or [f"{name}.client.invalid"]
            made = signer.issue_cert(
                *names, common_name=common_name, organization_name=group, organization_unit_name=name
            )
            self._store(name, made.private_key_pem.bytes(), made.cert_chain_pems[0].bytes(), ".crt")
        return certificate, key

    def key_pair(self, name: str) -> tuple[Path, Path]:
        """A bare P-256 key pair (for ServiceAccount tokens): (public, private)."""
        public, private = self.folder / f"{name}.pub", self.folder / f"{name}.key"
        if not public.exists():
            key = ec.generate_private_key(ec.SECP256R1())
            self._store(
                name,
                key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
                key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
                ".pub",
            )
        return public, private

    def _store(self, name: str, key: bytes, public: bytes, suffix: str) -> None:
        """Write both files. The public one is what `exists` looks at: it appears last and whole."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o700)
        private = self.folder / f"{name}.key"
        private.touch(mode=0o600)
        private.write_bytes(key)
        unfinished = self.folder / f"{name}{suffix}.new"
        unfinished.write_bytes(public)
        unfinished.rename(self.folder / f"{name}{suffix}")


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
