"""What no user has asked for changes no pod: the templates of specs without a `pod` section are the recorded ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.support import podtemplates

RECORDED = json.loads((Path(__file__).resolve().parents[2] / "golden" / "pods" / "templates.json").read_text())
KINDS = {"server", "router", "monitor", "trainer", "probe", "records", "importer"}


@pytest.fixture(scope="module")
def made() -> dict[str, podtemplates.Obj]:
    return podtemplates.templates()


@pytest.mark.parametrize("name", sorted(RECORDED))
def test_an_upgrade_replaces_no_pod(name: str, made: dict[str, podtemplates.Obj]) -> None:
    assert made[name] == RECORDED[name], "see tests/golden/pods/README.md"


def test_every_kind_of_pod_is_recorded(made: dict[str, podtemplates.Obj]) -> None:
    assert made.keys() == RECORDED.keys()
    assert {name.partition(",")[0] for name in RECORDED} == KINDS
    components = {t["metadata"]["labels"]["app.kubernetes.io/component"] for t in RECORDED.values()}
    assert components == KINDS
