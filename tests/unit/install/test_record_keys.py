"""The key that signs records of versions is made once: with another one, none in any store would be believed."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hack import install

from tidemill.config import OperatorConfig

Obj = dict[str, Any]
RENDERED = yaml.safe_dump_all(
    [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "system"}},
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "operator", "namespace": "system"}},
    ]
)


class Cluster:
    """Kubectl on a cluster that has some objects."""

    def __init__(self) -> None:
        self.has: dict[tuple[str, str], Obj] = {}
        self.verbs: list[str] = []

    def get(self, kind: str, name: str) -> Obj | None:
        return self.has.get((kind, name))

    def run(self, verb: str, *arguments: str, stdin: str) -> str:
        del arguments
        self.verbs.append(verb)
        obj = yaml.safe_load(stdin)
        self.has[obj["kind"].lower(), obj["metadata"]["name"]] = obj
        return f"{obj['kind']} {verb}\n"


def test_the_first_install_makes_a_key_and_no_other_one_changes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Cluster()
    monkeypatch.setattr(install, "Kubectl", lambda *_: cluster)
    install.ensure_record_keys(RENDERED)
    secret = cluster.has["secret", "tidemill-record-keys"]
    assert secret["metadata"]["namespace"] == "system"
    OperatorConfig.from_env({"TIDEMILL_RECORD_KEYS": secret["stringData"]["keys"]})
    assert cluster.verbs == ["apply", "create"]

    assert install.ensure_record_keys(RENDERED) == ""
    assert cluster.has["secret", "tidemill-record-keys"] == secret


def test_the_key_is_another_one_for_each_cluster_and_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = set()
    for _ in range(2):
        cluster = Cluster()
        monkeypatch.setattr(install, "Kubectl", lambda *_, cluster=cluster: cluster)
        said = install.ensure_record_keys(RENDERED)
        keys.add(cluster.has["secret", "tidemill-record-keys"]["stringData"]["keys"])
        assert not any(key in said for key in keys)
    assert len(keys) == 2
    assert not any(key in repr(OperatorConfig(record_keys=(key,))) for key in keys)


def test_a_short_key_is_refused_without_being_quoted() -> None:
    with pytest.raises(ValueError, match="TIDEMILL_RECORD_KEYS: every key must have at least 32 characters") as caught:
        OperatorConfig.from_env({"TIDEMILL_RECORD_KEYS": "short-secret"})
    assert "short-secret" not in str(caught.value)
