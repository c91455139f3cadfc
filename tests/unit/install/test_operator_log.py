"""What the end-to-end tests look for in the operator's log, they would find: in the pods of the shipped Deployment."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.e2e import conftest, test_deletion

from tidemill_contracts.logs import JsonFormatter

DEPLOYMENT = Path(__file__).resolve().parents[3] / "manifests" / "base" / "deployment.yaml"


def failed_pass() -> str:
    """A line as the operator writes it when a pass fails unexpectedly."""
    try:
        raise ZeroDivisionError
    except ZeroDivisionError as error:
        info = (type(error), error, error.__traceback__)
    return JsonFormatter().format(logging.LogRecord("engine", logging.ERROR, "", 1, "unexpected", (), info))


@dataclass
class Cluster:
    """kubectl of a cluster with pods of the shipped Deployment, or none."""

    pods: int
    line: str

    def list(self, kind: str, selector: str) -> list[dict[str, Any]]:
        labels = yaml.safe_load(DEPLOYMENT.read_text())["spec"]["template"]["metadata"]["labels"]
        asked = dict(part.split("=") for part in selector.split(","))
        status: dict[str, Any] = {"containerStatuses": [{"state": {"running": {}}}]}
        pod = {"metadata": {"name": "operator-0", "labels": labels}, "status": status}
        return [pod] * self.pods if kind == "pod" and asked.items() <= labels.items() else []

    def logs(self, target: str, *options: str) -> str:
        assert (target, options[0]) == ("pod/operator-0", "--tail=-1")
        return f"{json.dumps({'message': 'started'})}\n{self.line}\n"


def has(monkeypatch: pytest.MonkeyPatch, pods: int, line: str = "") -> None:
    for module in (conftest, test_deletion):
        monkeypatch.setattr(module, "Kubectl", lambda namespace: Cluster(pods, line))


def test_a_traceback_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    has(monkeypatch, 2)
    assert test_deletion.tracebacks(datetime.now(UTC)) == []
    has(monkeypatch, 1, failed_pass())
    assert len(test_deletion.tracebacks(datetime.now(UTC))) == 1


def test_a_refusal_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    has(monkeypatch, 2)
    conftest.check_rights()
    has(monkeypatch, 1, 'pods is forbidden: User "system:serviceaccount:tidemill-system:tidemill-operator" cannot')
    with pytest.raises(AssertionError, match="refused 1 times"):
        conftest.check_rights()


def test_no_log_is_not_a_clean_log(monkeypatch: pytest.MonkeyPatch) -> None:
    has(monkeypatch, 0)
    for look in (lambda: test_deletion.tracebacks(datetime.now(UTC)), conftest.check_rights):
        with pytest.raises(AssertionError, match="no operator whose log could be read"):
            look()
