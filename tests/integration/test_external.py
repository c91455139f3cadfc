"""A context names somebody's cluster: used as it is, images get there by a registry, nothing is removed."""

import sys
from pathlib import Path

import pytest
from hack.images import __main__ as images
from hack.images.engines import Engine
from hack.localcluster import LocalClusterError, Progress, choose_provider
from hack.tools.kubectl import CONTEXT, Kubectl

pytestmark = pytest.mark.integration


@pytest.fixture(autouse=True)
def theirs(kubeconfig: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An API server that no provider made, and an engine that builds at once."""
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
    monkeypatch.setenv(CONTEXT, "tidemill")
    monkeypatch.setenv("TIDEMILL_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("TIDEMILL_PROVIDER", raising=False)
    monkeypatch.setattr(images, "choose_engine", lambda progress: Engine("docker", ["echo"]))
    monkeypatch.setattr(images, "build", lambda *_: None)


def test_it_is_used_and_left_alone(kubeconfig: Path) -> None:
    provider = choose_provider(Progress(quiet=True))
    assert provider.name == "external"
    provider.up()
    status = provider.status()
    assert (status.running, status.kubeconfig) == (True, kubeconfig)
    provider.down()
    assert Kubectl().run("get", "--raw=/readyz") == "ok"
    with pytest.raises(LocalClusterError, match="push them to a registry"):
        provider.load_images([Path("server.tar")])


@pytest.mark.parametrize(
    ("options", "prefix", "code", "said"),
    [
        ([], "tidemill.io", 0, "make images PUSH=1 IMAGE_PREFIX=registry.example.com/tidemill"),
        (["--push"], "tidemill.io", 1, "IMAGE_PREFIX does not name a registry of yours"),
        (["--push"], "localhost:5000/me", 0, "localhost:5000/me/server:dev: pushing"),
    ],
)
def test_how_images_get_there_is_said(
    options: list[str],
    prefix: str,
    code: int,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["hack.images", "server", *options])
    monkeypatch.setenv("IMAGE_PREFIX", prefix)
    monkeypatch.delenv("IMAGE_TAG", raising=False)
    assert images.main() == code
    assert said in capsys.readouterr().err
