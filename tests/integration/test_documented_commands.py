"""YAML and commands of README, CONTRIBUTING and docs, on a real API server: objects are taken, kubectl's commands run.

The cluster is of this module alone, with the objects that the pages speak of: `churn`, its version and run 7, an
import, the namespaces. Commands change it as they would change a reader's.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from hack.localcluster import control_plane
from hack.tools.kubectl import Kubectl, kubectl
from tests.support import pages
from tests.support.apiserver import ApiServer, with_crds
from tests.support.objects import MINIMAL, make
from tests.support.pages import Block

pytestmark = pytest.mark.integration

NAMESPACES = ("argocd", "monitoring", "pages", "production", "team-a", "team-b", "tidemill-system")


@dataclass(frozen=True)
class World:
    """The API server, a folder that looks like a clone of the repository, and what stands for programs."""

    api: ApiServer
    kubeconfig: Path
    folder: Path

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        """Run kubectl and return what it prints."""
        return Kubectl(kubeconfig=self.kubeconfig).run(*arguments, stdin=stdin, timeout=60)

    def programs(self) -> dict[str, str]:
        """kubectl as it is, make as far as `-n` goes, and nothing of what the table of the pages excepts."""
        make_ = f'exec env -u MAKEFLAGS -u MAKELEVEL {shutil.which("make")} -n -C {pages.ROOT} "$@" >/dev/null'
        stand = {"kubectl": f'exec {kubectl()} "$@"', "make": make_}
        return {**dict.fromkeys(pages.PROGRAMS, ":"), **stand}


def churn_7(kind: str) -> dict[str, Any]:
    """Number 7 of a record."""
    found = make(kind, {"spec.number": 7} if kind == "ModelVersion" else {})
    found["metadata"]["name"] = "churn-7"
    return found


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("pages") / "clone"
    folder.mkdir()
    for name in ("manifests", "tests"):
        (folder / name).symlink_to(pages.ROOT / name)
    (folder.parent / "tidemill").symlink_to(pages.ROOT)
    (folder / "model.onnx").write_bytes(b"model")
    argocd = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "argocd-cm", "namespace": "argocd"}}
    (folder / "argocd-cm.yaml").write_text(yaml.safe_dump(argocd))
    python = folder / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/bash\ncd {pages.ROOT} && exec {sys.executable} "$@" --collect-only -q >/dev/null\n')
    python.chmod(0o755)
    with control_plane() as kubeconfig, with_crds(kubeconfig) as api:
        found = World(api, kubeconfig, folder)
        for name in NAMESPACES:
            found.kubectl("create", "namespace", name)
        found.kubectl("apply", "-f", str(folder / "argocd-cm.yaml"))
        objects = [make(kind) for kind in MINIMAL] + [churn_7("ModelVersion"), churn_7("TrainingRun")]
        staged = make("ModelImport")
        staged["metadata"]["name"] = "churn-from-staging"
        for document in [*objects, staged]:
            answer = api.create(document, dry_run=False)
            assert answer.ok, answer.message
        yield found


@pytest.mark.parametrize("block", pages.of(pages.INTEGRATION, "sh"), ids=str)
def test_commands_run(world: World, block: Block) -> None:
    text = block.text.replace("NAME", "churn") if block.page == "docs/what-to-do.md" else block.text

    done = pages.run(text, world.folder, world.programs(), KUBECONFIG=str(world.kubeconfig))

    assert done.returncode == 0, done.stderr


def is_kustomization(document: dict[str, Any]) -> bool:
    """Whether it is a kustomization.yaml, whose apiVersion and kind may be left out."""
    return document.get("kind") == "Kustomization" or "kind" not in document


@pytest.mark.parametrize("block", pages.of(pages.INTEGRATION, "yaml"), ids=str)
def test_objects_are_taken(world: World, block: Block) -> None:
    documents = [d for d in yaml.safe_load_all(block.text) if d]
    if is_kustomization(documents[0]):
        (world.folder / "kustomization.yaml").write_text(block.text)
        built = world.kubectl("kustomize", str(world.folder))
        documents = [d for d in yaml.safe_load_all(built) if d]
    for document in documents:
        document["metadata"].setdefault("namespace", "pages")
    items = json.dumps({"apiVersion": "v1", "kind": "List", "items": documents})

    made = world.kubectl("apply", "--server-side", "--dry-run=server", "--validate=strict", "-f", "-", stdin=items)

    assert documents
    assert made.count("(server dry run)") == len(documents), made
