"""Which provider is tried in which order, and the sentences for those who cannot use any."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hack.localcluster import LocalClusterError, Progress, choose_provider
from hack.localcluster.choice import use_cluster
from hack.localcluster.local import requirements
from hack.tools.kubectl import CONTEXT


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No engine, no KUBECONFIG, an empty state folder."""
    for name in ("KUBECONFIG", "TIDEMILL_PROVIDER", CONTEXT):
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


CONFIG = {
    "clusters": [{"name": "c1", "cluster": {"server": "https://prod.example.com:6443"}}],
    "contexts": [{"name": "prod", "context": {"cluster": "c1"}}, {"name": "half", "context": {"cluster": "gone"}}],
}


@pytest.fixture
def theirs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A kubeconfig of somebody, and a kubectl that writes down what it is asked and knows nothing but that file."""
    path, asked = tmp_path / "config", tmp_path / "asked"
    path.write_text("{}")
    kubectl = tmp_path / "kubectl"
    answer = f"cat <<'END'\n{json.dumps(CONFIG)}\nEND"
    cases = f'*current-context*) echo prod;; *"config view"*) {answer}\n;; *) echo refused >&2; exit 1;;'
    kubectl.write_text(f'#!/bin/sh\necho "$@" >>{asked}\ncase "$*" in {cases} esac\n')
    kubectl.chmod(0o755)
    monkeypatch.setenv("KUBECTL", str(kubectl))
    monkeypatch.setenv("KUBECONFIG", str(path))
    return asked


@pytest.mark.parametrize("act", [lambda: choose_provider(Progress(quiet=True)).up(), use_cluster])
def test_a_kubeconfig_alone_touches_no_cluster(theirs: Path, act: Callable[[], None]) -> None:
    with pytest.raises(LocalClusterError, match=r"not started here \(its current context is prod\).*CONTEXT=name"):
        act()
    assert theirs.read_text().splitlines() == ["config current-context"], "the file is read, the cluster is not asked"


def test_a_context_that_is_named_is_told_back_with_its_cluster(
    theirs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(CONTEXT, "prod")
    use_cluster(Progress())
    assert "context prod: https://prod.example.com:6443, by " in capsys.readouterr().err
    assert theirs.read_text().splitlines() == ["--context=prod config view -o json"]
    with pytest.raises(LocalClusterError, match="context prod: the cluster does not answer: refused"):
        choose_provider(Progress(quiet=True)).up()


def test_a_context_that_is_not_there_is_refused_with_those_that_are(
    theirs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CONTEXT, "staging")
    with pytest.raises(LocalClusterError, match=r"CONTEXT=staging: .* has no such context; it has half, prod$"):
        use_cluster()


def test_a_context_without_kubeconfig_is_one_of_kubectls_own_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CONTEXT, "prod")
    provider = choose_provider(Progress(quiet=True))
    assert (provider.name, provider.kubeconfig()) == ("external", Path.home() / ".kube" / "config")


def test_a_context_and_another_provider_are_two_clusters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CONTEXT, "prod")
    monkeypatch.setenv("TIDEMILL_PROVIDER", "kind")
    with pytest.raises(LocalClusterError, match="TIDEMILL_PROVIDER=kind and CONTEXT=prod name two clusters"):
        choose_provider(Progress(quiet=True))


def test_where_no_cluster_was_started_none_is_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(LocalClusterError, match="no cluster was started here: run `make cluster`"):
        use_cluster()
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "kubeconfig").touch()
    monkeypatch.setenv("KUBECONFIG", "")
    use_cluster()
    assert os.environ["KUBECONFIG"] == str(tmp_path / "state" / "kubeconfig")


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
