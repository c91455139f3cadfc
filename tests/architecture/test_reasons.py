"""The tables of failures: each reason is found by the code that is said to find it and documented, and no other is."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

from tidemill.core import podfailure
from tidemill.engine import apply
from tidemill.training import job_status, report_validation
from tidemill_contracts import failures
from tidemill_contracts.failures import FAILURES, POD_REASONS, START_REASONS
from tidemill_runtime.storage import base
from tidemill_runtime.trainer import errors

ROOT = Path(__file__).resolve().parents[2]
RUNTIME = ROOT / "images/runtime/tidemill_runtime"
ROOMS = ("trainer", "datasets", "storage", "frameworks", "model")
"""Folders of the data plane whose errors can end a run."""
OF_KUBERNETES = {"BackoffLimitExceeded", "PodFailurePolicy"}
"""Reasons of a Job that the operator passes on."""


def calls(folder: Path) -> Iterator[tuple[str, list[ast.expr], dict[str, ast.expr]]]:
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
                yield name, node.args, {k.arg: k.value for k in node.keywords if k.arg}


def literal(node: ast.expr | None) -> str | None:
    """The text that an expression is, also by the name of a constant; None when it is only known when it runs."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.Name) and node.id.isupper():
        return getattr(base, node.id, None)
    return None


def of_storage(reason: str, retriable: ast.expr) -> set[tuple[str, str]]:
    known = [bool(retriable.value)] if isinstance(retriable, ast.Constant) else [True, False]
    found = (errors.classify(base.StorageError(reason, "x", retriable=value))[0] for value in known)
    return {(failure.reason, failure.category) for failure in found}


def ends_of_a_run() -> set[tuple[str, str]]:
    """Reason and category of every error of the trainer, as the sources have them."""
    found: set[tuple[str, str]] = set()
    for room in ROOMS:
        for name, arguments, options in calls(RUNTIME / room):
            first, second = ([literal(a) for a in arguments] + [None, None])[:2]
            if name == "RunError" and first and second:
                found.add((second, first))
            elif name in ("DataError", "FrameworkError") and first:
                found.add((first, "DataInvalid" if name == "DataError" else "UserError"))
            elif name == "StorageError" and first:
                found |= of_storage(first, options["retriable"])
            elif name == "Failure" and (reason := literal(options.get("reason"))):
                found.add((reason, str(literal(options["category"]))))
    return found


def generated(page: str, name: str) -> list[str]:
    text = (ROOT / page).read_text().split(f"<!-- {name}: begin;")[1].split(f"<!-- {name}: end -->")[0]
    return re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)


def test_every_category_has_a_row() -> None:
    assert tuple(category.name for category in failures.CATEGORIES) == get_args(failures.FailureCategory)


def test_a_reason_stands_in_a_category_once_for_each_who_finds_it() -> None:
    assert len({(f.reason, f.category, f.by) for f in FAILURES}) == len(FAILURES)
    assert len({r.name for r in POD_REASONS}) == len(POD_REASONS)
    assert len({r.name for r in START_REASONS}) == len(START_REASONS)


@pytest.mark.slow
def test_the_trainer_reports_what_the_table_has_and_nothing_else() -> None:
    assert ends_of_a_run() == {(f.reason, f.category) for f in FAILURES if f.by == "trainer"}


def test_the_operator_finds_what_the_table_has_and_nothing_else() -> None:
    found = {literal(arguments[0]) for name, arguments, _ in calls(ROOT / "operator/tidemill/training")
             if name == "found" and isinstance(arguments[0], ast.Constant)}  # fmt: skip
    found |= {report_validation.REASON, "JobFailed", "ExitCode", *OF_KUBERNETES}
    found |= {f"Job{reason}" for reason in (apply.NOT_OWNED, apply.REJECTED)}
    assert found == set(failures.BY_OPERATOR)


def test_only_what_is_retried_at_all_can_be_final() -> None:
    assert all(f.category in failures.RETRIED for f in FAILURES if f.is_final or f.is_final_for_job)


@pytest.mark.parametrize("reason", [r for r in POD_REASONS if r.of == "waiting"], ids=lambda r: r.name)
def test_what_a_container_waits_for_is_shown_of_every_pod_and_ends_a_run_as_its_row_says(
    reason: failures.PodReason,
) -> None:
    waits = {"state": {"waiting": {"reason": reason.name, "message": "x"}}, "name": "train", "ready": False}
    pod = {"status": {"containerStatuses": [waits]}}
    shown = podfailure.pod_failure(pod, "train")
    assert shown is not None
    assert shown.reason == reason.name
    found = job_status.start_failure(pod)
    assert (found and found.category) == reason.category
    if found is not None:
        assert (found.reason, found.permanent) == (reason.run_reason or reason.name, reason.is_permanent)


@pytest.mark.slow
def test_a_server_ends_with_the_exit_code_of_its_reason() -> None:
    said: dict[str, set[bool]] = {}
    for room in ("server", "loading", "frameworks"):
        for name, arguments, options in calls(RUNTIME / room):
            if name == "StartError" and (reason := literal(arguments[0])):
                retryable = options.get("retryable")
                is_retried = bool(getattr(retryable, "value", False)) if retryable is not None else False
                said.setdefault(reason, set()).add(is_retried or not isinstance(retryable, (ast.Constant, type(None))))
    rows = {r.name: r.is_retried for r in START_REASONS}
    assert {reason: rows[reason] for reason in said} == {reason: values.pop() for reason, values in said.items()}


def test_every_reason_is_documented_and_no_other() -> None:
    page = "docs/conditions-training.md"
    assert generated(page, "categories of failures") == [c.name for c in failures.CATEGORIES]
    assert generated(page, "reasons of failures") == [f.reason for f in FAILURES]
    assert generated("docs/conditions-serving.md", "reasons of pods") == [r.name for r in POD_REASONS]
    assert generated("docs/serving-protocol.md", "reasons of a server's start") == [r.name for r in START_REASONS]
