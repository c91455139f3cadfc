"""The Argo CD settings as a patch of its ConfigMap: the health script once a kind, because Argo CD reads exact keys.

Why generated: the script is written and tested by people once, in Argo CD's own layout below manifests/gitops/argocd.
"""

from __future__ import annotations

from pathlib import Path

import yaml

from hack.generate.crd import HEADER
from tidemill.api.base import GROUP
from tidemill.api.v1alpha1 import KINDS

FOLDER = Path("manifests") / "gitops" / "argocd"
SCRIPT = FOLDER / "resource_customizations" / GROUP / "_" / "health.lua"
PATCH = FOLDER / "argocd-cm-patch.yaml"

# Status fields that change while nothing happens that a person acts on: Argo CD need not refresh for them.
_QUIET = {
    "ModelMonitor": ("/status/lastEvaluationTime", "/status/lastRecordTime", "/status/rows"),
    "ModelDeployment": ("/status/candidate/lastAnalysis",),
    "TrainingPipeline": ("/status/lastProbeTime",),
}


class _Block(str):
    """Text that is written as a literal block."""


class _Dumper(yaml.SafeDumper):
    """Writes scripts readably."""


_Dumper.add_representer(_Block, lambda d, text: d.represent_scalar("tag:yaml.org,2002:str", str(text), style="|"))


def patch(root: Path) -> str:
    """Return the patch's text; reads the health script below `root`."""
    script = (root / SCRIPT).read_text()
    data: dict[str, str] = {}
    for info in (kind.INFO for kind in KINDS):
        data[f"resource.customizations.health.{GROUP}_{info.kind}"] = _Block(script)
        if info.kind in _QUIET:
            pointers = yaml.safe_dump({"jsonPointers": list(_QUIET[info.kind])})
            data[f"resource.customizations.ignoreResourceUpdates.{GROUP}_{info.kind}"] = _Block(pointers)
    document = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "argocd-cm"}, "data": data}
    source = f"# Health script: {SCRIPT.relative_to(FOLDER)}\n"
    return HEADER + source + yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=140)
