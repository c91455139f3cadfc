"""Which provider is tried in which order, and the sentences for those who cannot use any."""

from pathlib import Path

import pytest
from hack.localcluster import LocalClusterError, Progress, choose_provider
from hack.localcluster.local import requirements


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No engine, no KUBECONFIG, an empty state folder."""
    for name in ("KUBECONFIG", "TIDEMILL_PROVIDER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TIDEMILL_STATE", str(tmp_path / "state"))
    monkeypatch.setattr("hack.localcluster.choice.container_engine", lambda: None)
    monkeypatch.setattr("hack.localcluster.kind.REPOSITORY", tmp_path)


def test_a_bare_machine_gets_the_local_provider(tmp_path: Path) -> None:
    provider = choose_provider(Progress(quiet=True))
    assert provider.name == "local"
    assert provider.kubeconfig() == tmp_path / "state" / "kubeconfig"
    assert provider.status().running is False


def test_an_engine_means_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hack.localcluster.choice.container_engine", lambda: "docker")
    assert choose_provider(Progress(quiet=True)).name == "kind"


def test_a_local_cluster_that_is_up_wins_over_an_engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "cluster.json").write_text("{}")
    monkeypatch.setattr("hack.localcluster.choice.container_engine", lambda: "docker")
    assert choose_provider(Progress(quiet=True)).name == "local"


def test_somebodys_kubeconfig_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", "/home/somebody/.kube/config")
    provider = choose_provider(Progress(quiet=True))
    assert provider.name == "external"
    with pytest.raises(LocalClusterError, match="IMAGE_PREFIX"):
        provider.load_images([Path("server.tar")])


def test_a_kubeconfig_that_is_not_there_is_said_before_anything_is_asked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "config"))
    provider = choose_provider(Progress(quiet=True))
    assert provider.status().running is False
    with pytest.raises(LocalClusterError, match="there is no such file; unset KUBECONFIG"):
        provider.up()


def test_a_kubeconfig_that_names_no_file_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", ":")
    provider = choose_provider(Progress(quiet=True))
    assert provider.name == "external"
    for act in (provider.up, provider.kubeconfig):
        with pytest.raises(LocalClusterError, match="KUBECONFIG=':' names no file; unset KUBECONFIG"):
            act()


def test_of_several_kubeconfigs_the_first_that_is_there_counts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "second").touch()
    monkeypatch.setenv("KUBECONFIG", f"{tmp_path / 'first'}:{tmp_path / 'second'}")
    provider = choose_provider(Progress(quiet=True))
    assert provider.kubeconfig() == tmp_path / "second"
    provider.down()
    assert (tmp_path / "second").exists()


def test_our_own_kubeconfig_in_the_environment_is_still_our_cluster(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "state" / "kubeconfig"))
    assert choose_provider(Progress(quiet=True)).name == "local"


def test_an_unknown_provider_is_refused_with_the_allowed_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIDEMILL_PROVIDER", "minikube")
    with pytest.raises(LocalClusterError, match="'minikube': allowed are external, kind, local"):
        choose_provider(Progress(quiet=True))


def test_without_root_the_sentence_holds_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requirements.os, "geteuid", lambda: 1000)
    with pytest.raises(LocalClusterError, match=r"sudo .*-m hack.localcluster up.*Docker.*KUBECONFIG"):
        requirements.require(Progress(quiet=True))


def test_elsewhere_than_linux_the_sentence_says_what_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requirements.sys, "platform", "darwin")
    with pytest.raises(LocalClusterError, match="Docker Desktop"):
        requirements.require(Progress(quiet=True))


def test_missing_packages_are_named_as_debian_names_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requirements.shutil, "which", lambda _program: None)
    monkeypatch.setattr(requirements, "cni_folder", lambda: None)
    assert {"containerd", "containernetworking-plugins", "iproute2"} <= set(requirements.missing_packages())
