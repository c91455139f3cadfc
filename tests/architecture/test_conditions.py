"""Conditions and events: every reason that the operator can set is documented, and no other is.

What tests of the slices see is held against the same pages when they build a status (`tests.support.documented`).
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from tests.support.documented import DOCS, PAGES, REFUSALS, everywhere, of_kind, section, tables

from tidemill.core import parsing, pod_settings, staged_updates
from tidemill.monitoring import state
from tidemill.monitoring import status as monitoring
from tidemill.serving import readiness, runtime_status
from tidemill.serving import status as serving
from tidemill.serving.policy import proposals, signature, slo
from tidemill.training import constants
from tidemill_contracts import burn_rates

OPERATOR = Path(__file__).resolve().parents[2] / "operator/tidemill"
SLICES = {
    "training": "conditions-training.md",
    "serving": "conditions-serving.md",
    "monitoring": "conditions-monitoring.md",
}
DEFAULT = {"Pending"}
"""What an object has before the operator's first look, from its CRD."""
OF_EVERY_KIND = {reason for _, _, reason in everywhere()}
TYPES = {
    "TrainingPipeline": {
        constants.SOURCES_READABLE, constants.TRIGGERS_SLOWED, constants.APPROVAL_PENDING, constants.VERSIONS_RECORDED,
        pod_settings.POD_SETTINGS_APPLIED, constants.RETRAIN_HELD,
    },
    "TrainingRun": {constants.SUCCEEDED},
    "ModelImport": {constants.APPROVAL_PENDING, constants.VERSIONS_RECORDED, pod_settings.POD_SETTINGS_APPLIED},
    "ModelVersion": {constants.APPROVED, constants.TAKEN_BACK},
    "ModelDeployment": {
        serving.AVAILABLE, serving.PROGRESSING, serving.ROLLED_BACK, proposals.ROLLBACK_PROPOSED, slo.SLO_BREACHED,
        staged_updates.PODS_CURRENT, pod_settings.POD_SETTINGS_APPLIED,
    },
    "ModelMonitor": {
        *state.CONDITION_OF.values(), state.DATA_ARRIVING, state.LABELS_ARRIVING, state.PROFILE_TOO_OLD,
        state.COLUMNS_NOTED, state.FAIRNESS, state.RETENTION, state.GAMING, state.ACTIONS_HELD, state.PAYLOADS,
        state.ALERTS_DELIVERED,
        monitoring.PROMETHEUS_READY,
        staged_updates.PODS_CURRENT, pod_settings.POD_SETTINGS_APPLIED,
    },
}  # fmt: skip
"""Types of conditions beside Ready, Reconciling and Stalled."""
NAME = re.compile(r"[A-Z][a-z]+([A-Z][A-Za-z0-9]*)*")
NO_REASON = {
    "APPROVE", "REJECT", "DECISION_COMMENT", "SPEC", "SCHEDULED", "PROBE", "KUEUE_QUEUE", "JOB_NAME", "GROUP",
    "SUCCEEDED", "APPROVED", "TRIGGERS_SLOWED", "SOURCES_READABLE", "APPROVAL_PENDING", "TAKEN_BACK",
    "MISSED_SCHEDULE", "RECORDS", "RECORD", "VERSIONS_RECORDED", "RETRAIN_HELD",
}  # fmt: skip
"""Constants of training that are annotations, labels, types of conditions or events."""


@cache
def nodes(slice_: str) -> tuple[ast.AST, ...]:
    """Every node of the syntax trees of a slice."""
    paths = (OPERATOR / slice_).rglob("*.py")
    return tuple(node for path in paths for node in ast.walk(ast.parse(path.read_text())))


@cache
def texts(slice_: str) -> frozenset[str]:
    """Every text in the code of a slice, without the lists of reasons themselves and without types."""
    skipped: set[int] = set()
    for node in nodes(slice_):
        is_list = isinstance(node, ast.Assign) and any(getattr(t, "id", "") == "REASONS" for t in node.targets)
        is_type = isinstance(node, ast.Subscript) and getattr(node.value, "id", "") == "Literal"
        if is_list or is_type:
            skipped |= {id(inner) for inner in ast.walk(node)}
    constants_ = (n for n in nodes(slice_) if isinstance(n, ast.Constant) and id(n) not in skipped)
    return frozenset(n.value for n in constants_ if isinstance(n.value, str))


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
    for node in nodes(slice_):
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


@pytest.mark.parametrize("kind", TYPES)
def test_the_types_of_conditions_are_those_of_the_page(kind: str) -> None:
    assert {type_ for type_, _, _ in of_kind(kind)} == TYPES[kind] | {"Ready", "Reconciling", "Stalled"}


def test_the_page_of_the_operator_explains_the_condition_of_replaced_pods() -> None:
    text = (DOCS / "operator.md").read_text()
    assert {name for name in (staged_updates.PODS_CURRENT, *staged_updates.REASONS) if f"`{name}`" not in text} == set()


def test_the_reasons_of_training_are_those_of_its_page() -> None:
    rolled_back = {reason for kind, _, reason in of_kind("ModelVersion") if kind == constants.TAKEN_BACK}
    found = documented("TrainingPipeline", "TrainingRun", "ModelImport", "ModelVersion")
    assert found - rolled_back == training_reasons() - rolled_back | pod_settings.REASONS
    assert rolled_back <= serving.REASONS, "a rolled back version has the reason of its deployment"


def test_the_reasons_of_serving_are_those_of_its_page() -> None:
    ours = serving.REASONS | staged_updates.REASONS | pod_settings.REASONS
    assert documented("ModelDeployment") - DEFAULT - set(REFUSALS) | OF_EVERY_KIND == ours | OF_EVERY_KIND


def test_the_reasons_of_monitoring_are_those_of_its_page() -> None:
    ours = monitoring.REASONS | staged_updates.REASONS | pod_settings.REASONS
    assert documented("ModelMonitor") - DEFAULT | OF_EVERY_KIND == ours | OF_EVERY_KIND


@pytest.mark.parametrize(("slice_", "declared"), [("serving", serving.REASONS), ("monitoring", monitoring.REASONS)])
def test_every_reason_of_a_list_is_set(slice_: str, declared: frozenset[str]) -> None:
    of_table = {burn_rates.BUDGET_SPENT, *(rule.reason for rule in burn_rates.RULES)}
    assert declared - texts(slice_) - of_table == {parsing.INVALID_SPEC}, "that one is set for every kind"


def test_every_constant_of_training_is_used() -> None:
    attributes = (node for node in nodes("training") if isinstance(node, ast.Attribute))
    used = {node.attr for node in attributes if getattr(node.value, "id", "") == "constants"}
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
    named = {runtime_status.OUTDATED, "PickleNotAllowed", "CodeNotAllowed", staged_updates.LATE}
    named |= {signature.CHANGED, signature.UNKNOWN, readiness.PODS_REFUSED}
    given = reasons_given("serving", ("Event",), 1) | named
    assert given == events("conditions-serving.md")


def test_the_events_of_training_and_monitoring_are_on_their_pages() -> None:
    assert reasons_given("training", ("Event",), 1) <= events("conditions-training.md") | {
        constants.DIGEST_MISMATCH,
        constants.NOT_REGISTERED,
    }
    assert {"Rebased", "RetrainRequested", "RollbackRequested"} <= events("conditions-monitoring.md")
    of_versions = section("conditions-training.md", "ModelVersion")
    assert "DigestMismatch` | An annotation" in of_versions
    assert "registered the object. There is also a Warning event" in of_versions
