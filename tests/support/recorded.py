"""Recorded objects of every kind in every state, and what Argo CD and Flux are expected to make of each.

They live beside the health script, in the layout that Argo CD's own tests read.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support import manifests

ROOT = Path(__file__).resolve().parents[2]
ARGOCD = ROOT / "manifests" / "gitops" / "argocd" / "resource_customizations" / "tidemill.io" / "_"
FLUX = ROOT / "manifests" / "gitops" / "flux"


@dataclass(frozen=True)
class Recorded:
    """One object in one state."""

    name: str  # file name without suffix, for example model-deployment-rolled-back
    document: dict[str, Any]
    argocd: dict[str, str]  # status and message
    flux: str  # Current, InProgress, Failed or Terminating


def load() -> list[Recorded]:
    """Return all of them; KeyError when one of the two expectations is missing for a state."""
    argocd = {Path(t["inputPath"]).stem: t["healthStatus"] for t in _tests(ARGOCD / "health_test.yaml")}
    flux = {Path(t["inputPath"]).stem: t["status"] for t in _tests(FLUX / "health_test.yaml")}
    files = sorted((ARGOCD / "testdata").glob("*.yaml"))
    assert {f.stem for f in files} == argocd.keys() == flux.keys(), (
        "a recorded state has no expectation, or the reverse"
    )
    return [Recorded(f.stem, manifests.read(f), argocd[f.stem], flux[f.stem]) for f in files]


def _tests(file: Path) -> list[dict[str, Any]]:
    return list(manifests.read(file)["tests"])


RECORDED = load()
