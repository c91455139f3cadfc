"""kubectl is started in one place: with the options that were asked for, and its own words when it fails."""

from pathlib import Path

import pytest
from hack.tools.kubectl import CONTEXT, Kubectl, KubectlError


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A kubectl that prints its arguments, and fails when one of them is `fail`."""
    path = tmp_path / "kubectl"
    path.write_text('#!/bin/sh\necho "$@"\ncase "$*" in *fail*) echo "no such thing" >&2; exit 3;; esac\n')
    path.chmod(0o755)
    monkeypatch.setenv("KUBECTL", str(path))
    return str(path)


def test_namespace_kubeconfig_and_time_limit_are_options(program: str) -> None:
    assert Kubectl().command("get", "pod") == [program, "get", "pod"]
    command = Kubectl("team", Path("/config"), 5).command("get", "pod")
    assert command == [program, "--kubeconfig=/config", "--request-timeout=5s", "--namespace=team", "get", "pod"]


def test_a_context_is_of_the_environments_kubeconfig(program: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CONTEXT, "prod")
    assert Kubectl("team").command("get") == [program, "--context=prod", "--namespace=team", "get"]
    command = Kubectl(kubeconfig=Path("/config")).command("get")
    assert command == [program, "--kubeconfig=/config", "get"], "another file has other contexts"


def test_run_returns_what_is_printed_and_raises_when_kubectl_fails(program: str) -> None:
    assert Kubectl("team").run("get", "pod") == "--namespace=team get pod\n"
    with pytest.raises(KubectlError, match="kubectl fail: no such thing"):
        Kubectl().run("fail")


def test_attempt_leaves_the_failure_to_the_caller(program: str) -> None:
    done = Kubectl().attempt("fail")
    assert (done.returncode, done.stderr) == (3, "no such thing\n")
