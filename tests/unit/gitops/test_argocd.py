"""The health script on Lua 5.1 with the libraries that Argo CD gives a script: base and table, nothing else."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from hack.tools.kubectl import Kubectl
from lupa.lua51 import LuaRuntime
from tests.support.recorded import ARGOCD, RECORDED, ROOT, Recorded

from tidemill.api.v1alpha1 import KINDS

SCRIPT = (ARGOCD / "health.lua").read_text()
PATCH = yaml.safe_load((ROOT / "manifests" / "gitops" / "argocd" / "argocd-cm-patch.yaml").read_text())

_SANDBOX = """
function(source, object)
  getmetatable("").__index = nil
  local base = { "ipairs", "next", "pairs", "select", "tonumber", "tostring", "type", "unpack", "error", "pcall" }
  local environment = { obj = object, table = table }
  for _, name in ipairs(base) do environment[name] = _G[name] end
  local chunk = assert(loadstring(source))
  return setfenv(chunk, environment)()
end
"""


def health(document: dict[str, Any], script: str = SCRIPT) -> dict[str, Any]:
    """Run a health script as Argo CD does: the object is the global `obj`, the returned table is the verdict."""
    lua = LuaRuntime(unpack_returned_tuples=True, register_eval=False)
    verdict = lua.eval(_SANDBOX)(script, lua.table_from(document, recursive=True))
    return dict(verdict.items())


@pytest.mark.parametrize("recorded", RECORDED, ids=[r.name for r in RECORDED])
def test_recorded_state(recorded: Recorded) -> None:
    assert health(recorded.document) == recorded.argocd


@pytest.mark.parametrize(
    "status",
    [None, {}, {"observedGeneration": -1}, {"observedGeneration": 1}, {"observedGeneration": 1, "conditions": []}],
)
def test_a_status_with_nothing_in_it_is_progressing(status: dict[str, Any] | None) -> None:
    document = {"metadata": {"generation": 1}, "spec": {}} | ({} if status is None else {"status": status})

    assert health(document)["status"] == "Progressing"


def test_the_sandbox_has_no_other_library() -> None:
    for name in ("string", "os", "io", "require", "math"):
        assert health({}, f"return {{ there = {name} ~= nil }}") == {"there": False}
    with pytest.raises(Exception, match="attempt to index"):
        health({}, 'return ("a"):upper()')


@pytest.mark.parametrize("kind", [k.INFO.kind for k in KINDS])
def test_the_patch_carries_the_script_for_every_kind(kind: str) -> None:
    assert PATCH["data"][f"resource.customizations.health.tidemill.io_{kind}"] == SCRIPT


@pytest.mark.slow
def test_the_component_adds_the_settings_and_keeps_those_that_are_there(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "manifests" / "gitops" / "argocd", tmp_path / "tidemill")
    own = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "argocd-cm"}, "data": {"url": "https://cd"}}
    (tmp_path / "cm.yaml").write_text(yaml.safe_dump(own))
    (tmp_path / "kustomization.yaml").write_text("resources: [cm.yaml]\ncomponents: [tidemill]\n")

    text = Kubectl().run("kustomize", str(tmp_path))

    assert yaml.safe_load(text)["data"] == {"url": "https://cd", **PATCH["data"]}
