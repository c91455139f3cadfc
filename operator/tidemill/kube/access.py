"""How to reach the API server and as whom: in-cluster service account or kubeconfig.

Why own code: the official package costs more memory than the whole operator may use (docs/decisions/0020). Supported:
the mounted service account (its token file is read again every 60 s, because the kubelet rotates it), and kubeconfig
with CA, client certificate, token or token file. Exec plugins and basic authentication are refused with a sentence.
"""

from __future__ import annotations

import base64
import os
import ssl
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tidemill.errors import TidemillError

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_TOKEN_TTL_SECONDS = 60.0


class AccessError(TidemillError):
    """No usable way to reach an API server; the message says where was looked."""


@dataclass(slots=True)
class Access:
    """Server address, TLS and bearer token."""

    server: str
    """Base URL without a slash at its end."""
    ssl_context: ssl.SSLContext | None = None
    """None for http://."""
    token_file: Path | None = None
    static_token: str | None = None
    _read_at: float = field(default=-_TOKEN_TTL_SECONDS, init=False)
    _token: str | None = field(default=None, init=False)

    @classmethod
    def from_kubeconfig(cls, path: str | os.PathLike[str]) -> Access:
        """The current context of a kubeconfig file; see `from_kubeconfig` of this module."""
        return from_kubeconfig(Path(path))

    def token(self, *, fresh: bool = False) -> str | None:
        """The bearer token, at most 60 s old; read again now when `fresh` (the server said 401)."""
        if self.token_file is None:
            return self.static_token
        if fresh or self._token is None or time.monotonic() - self._read_at > _TOKEN_TTL_SECONDS:
            self._token = self.token_file.read_text().strip()
            self._read_at = time.monotonic()
        return self._token


def load(kubeconfig: str | os.PathLike[str] | None = None, env: Mapping[str, str] | None = None) -> Access:
    """An explicit kubeconfig, else the in-cluster account, else $KUBECONFIG, else ~/.kube/config; or AccessError."""
    env = os.environ if env is None else env
    if kubeconfig:
        return from_kubeconfig(Path(kubeconfig))
    if env.get("KUBERNETES_SERVICE_HOST") and (SERVICE_ACCOUNT / "token").exists():
        return in_cluster(env)
    for name in env.get("KUBECONFIG", "").split(os.pathsep):
        if name and Path(name).exists():
            return from_kubeconfig(Path(name))
    default = Path.home() / ".kube" / "config"
    if default.exists():
        return from_kubeconfig(default)
    raise AccessError("no cluster: neither a service account is mounted nor does KUBECONFIG or ~/.kube/config exist")


def in_cluster(env: Mapping[str, str], root: Path = SERVICE_ACCOUNT) -> Access:
    """The mounted service account."""
    host, port = env["KUBERNETES_SERVICE_HOST"], env.get("KUBERNETES_SERVICE_PORT", "443")
    host = f"[{host}]" if ":" in host else host
    context = ssl.create_default_context(cafile=str(root / "ca.crt"))
    return Access(f"https://{host}:{port}", context, token_file=root / "token")


def from_kubeconfig(path: Path) -> Access:
    """The current context of a kubeconfig file; AccessError names what is missing or not supported."""
    raw = yaml.safe_load(path.read_text()) or {}
    context = _named(path, raw, "contexts", raw.get("current-context"))["context"]
    cluster = _named(path, raw, "clusters", context.get("cluster"))["cluster"]
    user = _named(path, raw, "users", context.get("user"))["user"] or {}
    for key in ("exec", "auth-provider", "username"):
        if key in user:
            raise AccessError(f"{path}: users[].user.{key} is not supported; use a token or a client certificate")
    token_file = user.get("tokenFile")
    return Access(
        cluster["server"].rstrip("/"),
        _ssl_context(path.parent, cluster, user) if cluster["server"].startswith("https") else None,
        token_file=path.parent / token_file if token_file else None,
        static_token=user.get("token"),
    )


def _named(path: Path, raw: Mapping[str, Any], section: str, name: str | None) -> dict[str, Any]:
    for entry in raw.get(section) or ():
        if entry.get("name") == name:
            found: dict[str, Any] = entry
            return found
    raise AccessError(f"{path}: {section} has no entry named {name!r}")


def _ssl_context(base: Path, cluster: Mapping[str, Any], user: Mapping[str, Any]) -> ssl.SSLContext:
    ca_data, ca_file = cluster.get("certificate-authority-data"), cluster.get("certificate-authority")
    context = ssl.create_default_context(
        cafile=str(base / ca_file) if ca_file and not ca_data else None,
        cadata=base64.b64decode(ca_data).decode() if ca_data else None,
    )
    if cluster.get("insecure-skip-tls-verify"):
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    certificate = _pem(base, user, "client-certificate")
    key = _pem(base, user, "client-key")
    if certificate and key:
        # The ssl module loads key pairs from files only; the directory is gone again when this returns.
        with tempfile.TemporaryDirectory() as folder:
            cert_path, key_path = Path(folder, "cert.pem"), Path(folder, "key.pem")
            cert_path.write_bytes(certificate)
            key_path.touch(mode=0o600)
            key_path.write_bytes(key)
            context.load_cert_chain(cert_path, key_path)
    return context


def _pem(base: Path, user: Mapping[str, Any], field_name: str) -> bytes | None:
    if data := user.get(f"{field_name}-data"):
        return base64.b64decode(str(data))
    if name := user.get(field_name):
        return (base / str(name)).read_bytes()
    return None
