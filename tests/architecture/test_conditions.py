"""Conditions and events: every reason that the operator can set is documented, and no other is.

What tests of the slices see is held against the same pages when they build a status (`tests.support.documented`).
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.documented import DOCS, PAGES, REFUSALS, everywhere, of_kind, section, tables

from tidemill.core import parsing, staged_updates
from tidemill.monitoring import status as monitoring
from tidemill.serving import runtime_status
from tidemill.serving import status as serving
from tidemill.training import constants

OPERATOR = Path(__file__).resolve().parents[2] / "operator/tidemill"
SLICES = {
    "training": "conditions-training.md",
    "serving": "conditions-serving.md",
    "monitoring": "conditions-monitoring.md",
}
DEFAULT = {"Pending"}
"""What an object has before the operator's first look, from its CRD."""
OF_EVERY_KIND = {reason for _, _, reason in everywhere()}
NAME = re.compile(r"[A-Z][a-z]+([A-Z][A-Za-z0-9]*)*")
NO_REASON = {
    "APPROVE", "REJECT", "DECISION_COMMENT", "SPEC", "SCHEDULED", "PROBE", "KUEUE_QUEUE", "JOB_NAME", "GROUP",
    "SUCCEEDED", "APPROVED", "TRIGGERS_SLOWED", "SOURCES_READABLE", "APPROVAL_PENDING", "TAKEN_BACK",
    "MISSED_SCHEDULE",
}  # fmt: skip
"""Constants of training that are annotations, labels, types of conditions or events."""


def trees(slice_: str) -> Iterator[tuple[Path, ast.Module]]:
    for path in (OPERATOR / slice_).rglob("*.py"):
        yield path, ast.parse(path.read_text())


def texts(slice_: str) -> set[str]:
    """Every text in the code of a slice, without the lists of reasons themselves and without types."""
    found: set[str] = set()
    for _, tree in trees(slice_):
        skipped: set[int] = set()
        for node in ast.walk(tree):
            is_list = isinstance(node, ast.Assign) and any(getattr(t, "id", "") == "REASONS" for t in node.targets)
            is_type = isinstance(node, ast.Subscript) and getattr(node.value, "id", "") == "Literal"
            if is_list or is_type:
                skipped |= {id(inner) for inner in ast.walk(node)}
        constants_ = (n for n in ast.walk(tree) if isinstance(n, ast.Constant) and id(n) not in skipped)
        found |= {n.value for n in constants_ if isinstance(n.value, str)}
    return found


def choices(node: ast.expr) -> Iterator[ast.expr]:
    """The values that an expression may have: both of `a if x else b`."""
    if isinstance(node, ast.IfExp):
        yield from choices(node.body)
        yield from choices(node.orelse)
    else:
        yield node


def reasons_given(slice_: str, calls: tuple[str, ...], position: int) -> set[str]:
    """Names that stand in this argument of calls: as they are, in a choice of two, or as a constant of training."""
    found: set[str] = set()
    for _, tree in trees(slice_):
        for node in ast.walk(tree):
            name = getattr(node.func, "id", getattr(node.func, "attr", "")) if isinstance(node, ast.Call) else ""
            if name not in calls or not isinstance(node, ast.Call) or len(node.args) <= position:
                continue
            for part in choices(node.args[position]):
                if isinstance(part, ast.Constant) and isinstance(part.value, str) and NAME.fullmatch(part.value):
                    found.add(part.value)
                if isinstance(part, ast.Attribute) and getattr(part.value, "id", "") == "constants":
                    found.add(str(getattr(constants, part.attr)))
    return found


def documented(*kinds: str) -> set[str]:
    return {reason for kind in kinds for _, _, reason in of_kind(kind) - everywhere()}


def training_reasons() -> set[str]:
    return {value for name, value in vars(constants).items() if name.isupper() and name not in NO_REASON}


def test_the_reasons_of_training_are_those_of_its_page() -> None:
    rolled_back = {reason for kind, _, reason in of_kind("ModelVersion") if kind == constants.TAKEN_BACK}
    assert (
        documented("TrainingPipeline", "TrainingRun", "ModelVersion") - rolled_back == training_reasons() - rolled_back
    )
    assert rolled_back <= serving.REASONS, "a rolled back version has the reason of its deployment"


def test_the_reasons_of_serving_are_those_of_its_page() -> None:
    ours = serving.REASONS | staged_updates.REASONS
    assert documented("ModelDeployment") - DEFAULT - set(REFUSALS) | OF_EVERY_KIND == ours | OF_EVERY_KIND


def test_the_reasons_of_monitoring_are_those_of_its_page() -> None:
    ours = monitoring.REASONS | staged_updates.REASONS
    assert documented("ModelMonitor") - DEFAULT | OF_EVERY_KIND == ours | OF_EVERY_KIND


@pytest.mark.parametrize(("slice_", "declared"), [("serving", serving.REASONS), ("monitoring", monitoring.REASONS)])
def test_every_reason_of_a_list_is_set(slice_: str, declared: frozenset[str]) -> None:
    assert declared - texts(slice_) == {parsing.INVALID_SPEC}, "that one is set for every kind"


def test_every_constant_of_training_is_used() -> None:
    used = {
        node.attr
        for _, tree in trees("training")
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and getattr(node.value, "id", "") == "constants"
    }
    assert {name for name in vars(constants) if name.isupper()} - used <= {"GROUP"}


@pytest.mark.parametrize("slice_", SLICES)
def test_what_the_code_gives_a_condition_as_its_reason_is_documented(slice_: str) -> None:
    kinds = [kind for kind, page in PAGES.items() if page == SLICES[slice_]]
    known = {reason for kind in kinds for _, _, reason in of_kind(kind)}
    given = reasons_given(slice_, ("Condition",), 2) | reasons_given(slice_, ("Stalled", "Waiting"), 0)
    assert given
    assert given <= known


def events(page: str) -> set[str]:
    """The names of events that a page lists: in the sentences on events, and in tables of them."""
    text = (DOCS / page).read_text()
    sentences = re.findall(
        r"(?:Events?(?: of type \w+)?: .*?|There is also a Warning event)(?:\n\n|\|)", text, re.DOTALL
    )
    named = {name for sentence in sentences for name in re.findall(r"`([A-Z][A-Za-z]+)`", sentence)}
    rows = (row for table in tables(text) for row in table if "event" in row)
    return named | {name for row in rows for name in re.findall(r"`(\w+)`", row["event"])}


def test_the_events_of_serving_are_those_of_its_page() -> None:
    given = reasons_given("serving", ("Event",), 1) | {runtime_status.OUTDATED, "PickleNotAllowed", staged_updates.LATE}
    assert given == events("conditions-serving.md")


def test_the_events_of_training_and_monitoring_are_on_their_pages() -> None:
    assert reasons_given("training", ("Event",), 1) <= events("conditions-training.md") | {constants.DIGEST_MISMATCH}
    assert {"Rebased", "RetrainRequested", "RollbackRequested"} <= events("conditions-monitoring.md")
    assert "DigestMismatch` | An annotation" in section("conditions-training.md", "ModelVersion")
