import base64
from pathlib import Path
from typing import Any

import pytest
import yaml

from tidemill.kube import access


def write(folder: Path, user: dict[str, Any], server: str = "http://api:1/") -> Path:
    path = folder / "config"
    config = {
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
        "clusters": [{"name": "k", "cluster": {"server": server}}],
        "users": [{"name": "u", "user": user}],
    }
    path.write_text(yaml.safe_dump(config))
    return path


def test_token_and_server(tmp_path: Path) -> None:
    found = access.load(write(tmp_path, {"token": "t"}))
    assert (found.server, found.token(), found.ssl_context) == ("http://api:1", "t", None)


def test_token_file_is_relative_to_the_kubeconfig(tmp_path: Path) -> None:
    (tmp_path / "tok").write_text("t\n")
    assert access.load(write(tmp_path, {"tokenFile": "tok"})).token() == "t"


def test_environment_is_asked_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, {"token": "t"})
    monkeypatch.setenv("HOME", str(tmp_path / "nobody"))
    assert access.load(env={"KUBECONFIG": f"/not/there:{path}"}).token() == "t"
    with pytest.raises(access.AccessError, match="no cluster"):
        access.load(env={})


@pytest.mark.parametrize("key", ["exec", "auth-provider", "username"])
def test_what_is_not_supported_is_said(tmp_path: Path, key: str) -> None:
    with pytest.raises(access.AccessError, match=f"{key} is not supported; use a token or a client certificate"):
        access.load(write(tmp_path, {key: {}}))


def test_missing_entries_are_named(tmp_path: Path) -> None:
    path = tmp_path / "empty"
    path.write_text("{}")
    with pytest.raises(access.AccessError, match="contexts has no entry named None"):
        access.load(path)


def test_in_cluster_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access.ssl, "create_default_context", lambda cafile: cafile)
    (tmp_path / "token").write_text("t")
    env = {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "6443"}
    found = access.in_cluster(env, tmp_path)
    assert (found.server, found.token()) == ("https://[fd00::1]:6443", "t")
    (tmp_path / "token").write_text("rotated")
    assert found.token() == "t", "read again after a minute"
    assert found.token(fresh=True) == "rotated"


def test_inline_certificates_must_be_a_pair_that_loads(tmp_path: Path) -> None:
    junk = base64.b64encode(b"junk").decode()
    path = write(tmp_path, {"client-certificate-data": junk, "client-key-data": junk}, "https://api:1")
    with pytest.raises(access.ssl.SSLError):
        access.load(path)
