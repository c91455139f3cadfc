"""What do I do when: each reason of a condition has one row with a command, and the command is one that works."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hack.generate.crd import crd
from tests.support.documented import PAGES, everywhere, of_kind

from tidemill.api.v1alpha1 import KINDS
from tidemill.core import labels
from tidemill.training import constants
from tidemill_contracts import alerts, next_steps
from tidemill_contracts.failures import CATEGORIES, POD_REASONS, START_REASONS
from tidemill_contracts.next_steps import Step

ROOT = Path(__file__).resolve().parents[2]
OURS = {n: kind for kind in KINDS for n in (kind.INFO.plural, kind.INFO.singular, *kind.INFO.short_names)}
OF_KUBERNETES = {
    "pod", "pods", "job", "node", "nodes", "pvc", "svc", "events", "crd", "configmap", "configmaps", "resourcequota",
    "limitrange", "workloads.kueue.x-k8s.io", "servicemonitors", "prometheusrules", "deploy", "tidemill",
    "endpointslices",
}  # fmt: skip
VERBS = {"get", "describe", "logs", "annotate", "patch", "scale", "explain", "create", "edit"}
ANNOTATIONS = {
    constants.APPROVE, constants.REJECT, labels.RUN_REQUESTED_AT, labels.PROMOTE, labels.ABORT, labels.RETRY,
    labels.RECONCILE_REQUESTED_AT,
}  # fmt: skip
STEPS = [
    *((kind, step) for kind, steps in next_steps.CONDITIONS.items() for step in steps),
    *(("", step) for step in (*next_steps.PODS, *next_steps.STARTS)),
    *(("", Step(alert.name, "", alert.command)) for alert in alerts.ALL),
    *(("TrainingRun", Step(name, "", command)) for name, command in next_steps.CATEGORIES.items()),
]


def names(steps: tuple[Step, ...]) -> list[str]:
    return [step.reason for step in steps]


@pytest.mark.parametrize("kind", PAGES)
def test_every_reason_of_a_kind_has_one_row(kind: str) -> None:
    documented = {reason for _, _, reason in of_kind(kind) - everywhere()}
    rows = names(next_steps.CONDITIONS[kind])
    assert len(rows) == len(set(rows))
    assert documented - {reason.name for reason in START_REASONS} - {"StartRefused"} <= set(rows), "a row is missing"
    assert set(rows) <= {reason for _, _, reason in of_kind(kind)}, "a row of what no page has"


def test_every_other_reason_has_one_row() -> None:
    assert set(names(next_steps.CONDITIONS[""])) == {reason for _, _, reason in everywhere()}
    assert names(next_steps.PODS) == [reason.name for reason in POD_REASONS]
    assert names(next_steps.STARTS) == [reason.name for reason in START_REASONS]
    assert list(next_steps.CATEGORIES) == [category.name for category in CATEGORIES]


@pytest.mark.parametrize(("kind", "step"), STEPS, ids=lambda v: v if isinstance(v, str) else v.reason)
def test_a_command_is_of_kinds_annotations_and_fields_that_there_are(kind: str, step: Step) -> None:
    words = step.command.removeprefix("kubectl ").removeprefix("-n tidemill-system ").split()
    assert step.command.startswith("kubectl ")
    assert words[0] in VERBS
    if not words[1].startswith("-"):  # of logs and the like: a selector
        resources = [word.partition("/")[0].partition(".spec")[0] for word in words[1].split(",")]
        assert words[0] in ("logs", "edit") or set(resources) <= {*OURS, *OF_KUBERNETES}, resources
    used = set(re.findall(r"tidemill\.io/[a-z-]*[a-z]", step.command + step.todo))
    selectors = {labels.PIPELINE, labels.RUN, labels.IMPORT, labels.DEPLOYMENT, labels.MONITOR}
    assert used <= ANNOTATIONS | selectors, used
    for path in re.findall(r"jsonpath='\{(?:\.items\[-1:\])?\.((?:spec|status)[\w.]*)\}'", step.command):
        assert has_field(words[1], path), path
    for path in re.findall(r"explain \w+\.([\w.]+)", step.command):
        assert has_field(words[1].partition(".")[0], path), path
    for path in re.findall(r"\bspec\.[a-zA-Z.]+[a-zA-Z]", step.todo):
        assert any(has_field(resource.INFO.plural, path) for resource in KINDS), path


@pytest.mark.parametrize(("kind", "step"), STEPS, ids=lambda v: v if isinstance(v, str) else v.reason)
def test_an_annotation_is_set_also_where_it_has_another_value(kind: str, step: Step) -> None:
    del kind
    assert "annotate" not in step.command or " --overwrite " in step.command


def test_the_last_of_a_list_is_the_newest() -> None:
    """Without it kubectl sorts by name, and names of runs have no order."""
    last = [step.command for _, step in STEPS if "items[-1" in step.command]
    assert last and all("--sort-by=.metadata.creationTimestamp" in command for command in last)


@pytest.mark.parametrize("kind", [kind for kind in next_steps.CONDITIONS if kind])
def test_a_kinds_table_is_below_the_heading_of_the_kind(kind: str) -> None:
    before, _, _ = (ROOT / "docs/what-to-do.md").read_text().partition(f"<!-- next steps of {kind}: begin")
    assert re.findall(r"^## (.+)$", before, re.MULTILINE)[-1] == kind


def has_field(resource: str, path: str) -> bool:
    """Whether the schema of one of our kinds has a field."""
    found: Any = crd(OURS[resource])["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    for name in path.split("."):
        found = found.get("properties", {}).get(name)
        if found is None:
            return False
    return True


def test_a_documented_request_works_each_time_that_the_command_is_given() -> None:
    """A value counts once, and kubectl changes nothing where it is there already: so it has to be made anew."""
    texts = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "manifests").rglob("*.yaml")]
    commands = [
        (path.name, command)
        for path in texts
        if "decisions" not in path.parts
        for line in path.read_text().splitlines()
        for command in re.findall(r"kubectl [^`|]*?annotate [^`|]*", line)
    ]
    once = [labels.RUN_REQUESTED_AT, labels.PROMOTE, labels.ABORT, labels.RETRY, labels.RECONCILE_REQUESTED_AT]
    asked = [(page, c) for page, c in commands if any(f"{key}=" in c for key in once) or f"{constants.REJECT}-" in c]
    assert {key for key in once if any(f"{key}=" in c for _, c in asked)} == set(once), "each is documented"
    assert [found for found in asked if "$(date" not in found[1] or "--overwrite" not in found[1]] == []


def test_events_are_listed_in_the_order_of_their_time_wherever_they_are() -> None:
    texts = [*(ROOT / "docs").rglob("*.md"), *(ROOT / "manifests").rglob("*.yaml"), *(ROOT / "hack").rglob("*.py")]
    lines = [(p, line) for p in [ROOT / "README.md", *texts] for line in p.read_text().splitlines()]
    listed = [(p.name, c) for p, line in lines for c in re.findall(r"kubectl[^`|]*? get events[^`|\n]*", line)]
    assert listed, "the page of next steps lists them"
    assert [found for found in listed if "--sort-by=.lastTimestamp" not in found[1]] == []
