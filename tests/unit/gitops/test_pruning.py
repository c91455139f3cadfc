"""What a GitOps tool may delete with the installation: nothing in which others keep their models."""

from __future__ import annotations

import pytest
import yaml
from hack import install

pytestmark = pytest.mark.slow

KEPT = {"Namespace", "CustomResourceDefinition"}


@pytest.mark.parametrize("overlay", ["cluster-wide", "one-namespace"])
def test_namespace_and_kinds_are_pruned_by_no_tool(overlay: str) -> None:
    documents = list(yaml.safe_load_all(install.render(install.DEFAULT_OVERLAY.parent / overlay)))
    found = [d["kind"] for d in documents if d["kind"] in KEPT]
    assert (found.count("Namespace"), found.count("CustomResourceDefinition")) == (1, len(install.PLURALS))
    for document in documents:
        annotations = document["metadata"].get("annotations") or {}
        kept = (
            annotations.get("argocd.argoproj.io/sync-options") == "Prune=false,Delete=false",
            annotations.get("kustomize.toolkit.fluxcd.io/prune") == "disabled",
        )
        assert kept == (document["kind"] in KEPT,) * 2, document["metadata"]["name"]
