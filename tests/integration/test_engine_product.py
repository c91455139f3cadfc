"""The whole product under its shipped rights: each sample gets as far as a cluster without nodes lets it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.support.invariants import check_status
from tests.support.operators import InProcess, Installation, wait

pytestmark = pytest.mark.integration
SAMPLES = Path(__file__).resolve().parents[2] / "manifests" / "samples"
Obj = dict[str, Any]


@pytest.mark.usefixtures("operator")
def test_quickstart_gets_a_job_a_router_and_statuses(installation: Installation, namespace: str) -> None:
    """The fixture fails the module when the operator was answered 403 at any time."""
    installation.kubectl("apply", "-k", str(SAMPLES / "quickstart"), "-n", namespace)
    (job,) = wait(lambda: installation.get("jobs", "-n", namespace)["items"], 20, "the run has its Job")
    assert job["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "tidemill"
    assert job["metadata"]["ownerReferences"][0]["kind"] == "TrainingRun"
    wait(lambda: installation.get("deployments", "-n", namespace)["items"], 20, "the router is there")
    for kind in ("modeldeployment", "modelmonitor"):
        (obj,) = installation.get(kind, "-n", namespace)["items"]
        wait(lambda k=kind: looked_at(installation, k, namespace), 20, f"{kind} was looked at")
        check_status(obj)
    assert len(installation.get("trainingruns", "-n", namespace)["items"]) == 1


def looked_at(installation: Installation, kind: str, namespace: str) -> bool:
    (obj,) = installation.get(kind, "-n", namespace)["items"]
    check_status(obj)
    return bool(obj["status"]["observedGeneration"] != -1)


@pytest.mark.usefixtures("operator")
@pytest.mark.parametrize("path", sorted(SAMPLES.glob("*.yaml")), ids=lambda p: p.stem)
def test_every_sample_is_accepted_and_looked_at(installation: Installation, namespace: str, path: Path) -> None:
    documents = [d for d in yaml.safe_load_all(path.read_text()) if d]
    for document in documents:
        document["metadata"]["namespace"] = namespace
    installation.apply(*documents)
    ours = [d for d in documents if d["apiVersion"].startswith("tidemill.io/")]
    assert ours or path.stem.startswith("job-")  # a Job is Kubernetes' own: accepted is all that can be seen here
    for document in ours:
        kind, name = document["kind"].lower(), document["metadata"]["name"]
        wait(lambda k=kind, n=name: touched(installation, k, n, namespace), 40, f"{kind} {name} was looked at")


def touched(installation: Installation, kind: str, name: str, namespace: str) -> bool:
    obj = installation.get(kind, name, "-n", namespace)
    check_status(obj)
    return bool(obj["status"]["observedGeneration"] != -1)


def test_memory_of_foreign_config_maps_is_their_identity(
    installation: Installation, operator: InProcess, namespace: str
) -> None:
    installation.kubectl("create", "configmap", "big", "-n", namespace, f"--from-literal=k={'x' * 100_000}")
    found: Obj = wait(lambda: operator.operator.cache.get("ConfigMap", namespace, "big"), 10, "it is known")
    assert set(found) == {"apiVersion", "kind", "metadata"}
