"""How the demo ends: with commands for a model of one's own, which work as printed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hack.demo.scenario import OWN_MODEL, QUICKSTART, Scenario
from hack.tools.kubectl import CONTEXT, Kubectl
from tests.support import pages

ROOT = pages.ROOT


def end(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    """What the end of the demo prints."""
    monkeypatch.setattr(Kubectl, "run", lambda *_, **__: "")
    Scenario(namespace="demo").end()
    return capsys.readouterr().out


def test_it_ends_with_the_way_to_an_own_model(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv(CONTEXT, raising=False)
    said = end(monkeypatch, capsys)

    *_, last = said.split("== ")
    assert [line.strip() for line in last.splitlines()[1:4]] == list(OWN_MODEL)
    assert 'eval "$(make -s kubeconfig)"' in said
    named = set(re.findall(r"(?<![\w~/])((?:docs|manifests)/[\w./-]*\w)", said))
    assert len(named) >= 3
    assert {path for path in named if not (ROOT / path).exists()} == set()


def test_on_a_cluster_of_ones_own_it_names_the_context(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(CONTEXT, "laptop")

    assert "kubectl config use-context laptop" in end(monkeypatch, capsys)


@pytest.mark.slow
def test_its_commands_work_as_printed(tmp_path: Path) -> None:
    """With an editor that wants its files to be there, and a kubectl that says what it was asked."""
    (tmp_path / "manifests").symlink_to(ROOT / "manifests")
    stand = {"kubectl": 'printf "%s\\n" "$*" >>"$HOME/asked"'}

    done = pages.run("\n".join(OWN_MODEL), tmp_path, stand, HOME=str(tmp_path), EDITOR="ls")

    assert done.returncode == 0, done.stderr
    asked = (tmp_path / "asked").read_text().splitlines()
    assert asked == ["create namespace team-a", f"-n team-a apply -k {tmp_path}/churn"]
    assert (tmp_path / "churn" / "kustomization.yaml").exists()


def test_readme_and_the_quickstart_lead_there_as_well() -> None:
    copy = OWN_MODEL[0]

    assert copy in (ROOT / "README.md").read_text()
    assert "manifests/samples/own-model" in (QUICKSTART / "kustomization.yaml").read_text()
