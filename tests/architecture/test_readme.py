"""What README says of the price of Tidemill is what the code and the manifests do, and it stays short."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.support.documented import tables

from tidemill.api.v1alpha1.model_monitor import Storage
from tidemill.core import pod
from tidemill.monitoring.builders import workload
from tidemill.serving.builders import router

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
OVERLAY = ROOT / "manifests" / "overlays" / "cluster-wide"


def manifests() -> list[dict[str, Any]]:
    """Everything that the usual installation applies."""
    files = [file for folder in ("base", "admission") for file in (ROOT / "manifests" / folder).glob("*.yaml")]
    files += [*OVERLAY.glob("*.yaml"), *(ROOT / "crds").glob("tidemill.io_*.yaml")]
    found = [d for file in files if file.name != "kustomization.yaml" for d in yaml.safe_load_all(file.read_text())]
    return [document for document in found if document]


def of_kind(kind: str) -> list[dict[str, Any]]:
    return [document for document in manifests() if document["kind"] == kind]


def operator() -> dict[str, Any]:
    (deployment,) = of_kind("Deployment")
    spec: dict[str, Any] = deployment["spec"]
    return spec


def costs() -> dict[str, dict[str, str]]:
    """The table of pods, by its first column."""
    (table,) = [table for table in tables(README) if "memory limit" in table[0]]
    return {row["pod"]: row for row in table}


RESOURCES = {
    "operator": operator()["template"]["spec"]["containers"][0]["resources"],
    "server": pod.DEFAULT_RESOURCES,
    "router": router.RESOURCES,
    "monitor": workload.DEFAULT_RESOURCES,
    "trainer": pod.DEFAULT_RESOURCES,
}


def test_every_pod_has_a_row() -> None:
    assert costs().keys() == RESOURCES.keys()


@pytest.mark.parametrize("name", RESOURCES)
def test_a_row_has_the_defaults(name: str) -> None:
    requests, limits = RESOURCES[name]["requests"], RESOURCES[name]["limits"]

    assert costs()[name]["requests"] == f"{requests['cpu']} CPU, {requests['memory']}"
    assert costs()[name]["memory limit"] == limits["memory"]
    assert "cpu" not in limits, "README speaks of no CPU limit"


def test_the_numbers_of_pods_are_the_defaults() -> None:
    assert costs()["operator"]["how many"] == f"{operator()['replicas']} in the cluster"
    assert costs()["monitor"]["how many"].endswith(f"a claim of {Storage().size}")


def test_what_is_added_is_what_is_applied() -> None:
    words = {1: "one", 2: "two", 3: "three", 4: "four", 5: "five", 6: "six", 7: "seven"}
    people = [r["metadata"]["name"] for r in of_kind("ClusterRole") if r["metadata"]["name"] != "tidemill-operator"]
    sentence = re.search(r"\*\*What is added to the cluster\*\*.*?\n\n", README, re.DOTALL)

    assert sentence
    said = " ".join(sentence[0].split())
    assert f"{words[len(of_kind('CustomResourceDefinition'))]} CustomResourceDefinitions" in said
    assert f"{words[len(people)]} ClusterRoles that extend `view`, `edit` and `admin`" in said
    assert sorted(people) == ["tidemill-admin", "tidemill-edit", "tidemill-view"]
    assert f"{words[len(of_kind('ValidatingAdmissionPolicy'))]} ValidatingAdmissionPolicies" in said
    assert [d["metadata"]["name"] for d in of_kind("Namespace")] == ["tidemill-system"]
    assert not [d for d in manifests() if d["kind"].endswith("WebhookConfiguration")], "No webhook."


@pytest.mark.parametrize(
    ("page", "pattern"),
    [
        ("docs/serving-benchmark.md", r"\*\*Memory\*\*: (119) to \d+ MiB"),
        ("docs/benchmarks.md", r"and (185) MiB with one fitted on a frame"),
        ("docs/benchmarks.md", r"operator memory at \d+ objects \| (123) MiB"),
    ],
)
def test_measured_memory_is_that_of_the_benchmarks(page: str, pattern: str) -> None:
    found = re.search(pattern, (ROOT / page).read_text())

    assert found, f"{page} has another figure; README names it as well"
    assert found[1] in README


def test_the_licence_is_the_one_that_lies_there() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["license"]

    assert declared == "Apache-2.0"
    assert "Apache License 2.0 ([LICENSE](LICENSE))" in README
    assert "Apache License" in (ROOT / "LICENSE").read_text()


def test_readme_is_short() -> None:
    assert len(README.splitlines()) <= 150
