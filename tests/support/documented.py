"""What the pages of conditions say: which reasons each condition of a kind may have.

Read from the tables of docs/conditions-*.md and docs/operator.md, so that a status that any test sees is held against
what users are told.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from tidemill_contracts.failures import START_REASONS

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGES = {
    "TrainingPipeline": "conditions-training.md",
    "TrainingRun": "conditions-training.md",
    "ModelImport": "conditions-training.md",
    "ModelVersion": "conditions-training.md",
    "ModelDeployment": "conditions-serving.md",
    "ModelMonitor": "conditions-monitoring.md",
}
REFUSALS = ("ArtifactUnavailable", "StartRefused", *(r.name for r in START_REASONS if not r.is_retried))
_NAME = re.compile(r"`([A-Z][A-Za-z0-9]+)`")
_STATUS = ("True", "False", "Unknown")
_ALL = ("Ready", "Reconciling", "Stalled")

Tables = list[list[dict[str, str]]]


def tables(text: str) -> Tables:
    """The tables of a page, each as its rows by the name of the column; `|` in a cell is not read."""
    found: Tables = []
    head: list[str] = []
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")] if line.startswith("|") else []
        if not cells:
            head = []
        elif not head:
            head = cells
            found.append([])
        elif not set(line) <= set("|- "):
            found[-1].append(dict(zip(head, cells, strict=False)))
    return found


def section(page: str, heading: str) -> str:
    """The text below a heading of level 2, up to the next one."""
    text = (DOCS / page).read_text()
    return re.split(r"^## ", text.split(f"\n## {heading}\n")[1], flags=re.MULTILINE)[0]


def _expanded(cell: str) -> Iterator[str]:
    """The reasons of a cell; `DigestMismatch`, … stands for all that a server that refuses to start may have."""
    yield from _NAME.findall(cell)
    if "…" in cell:
        yield from REFUSALS


def _by_status(cell: str) -> Iterator[tuple[str, str]]:
    """(status, reason) of a cell as "True `Probed`, False `ProbeFailed`"."""
    for status, rest in re.findall(r"(True|False|Unknown)\b((?:(?!\b(?:True|False|Unknown)\b).)*)", cell):
        yield from ((status, reason) for reason in _NAME.findall(rest))


def _of_row(row: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    """(condition, status, reason) of a row of one of the tables of conditions."""
    summary = next((name for name in ("Ready", "Succeeded", "Approved") if name in row), None)
    if summary is not None:
        also = re.findall(r"`(\w+)` has the same reason", row.get("meaning", ""))
        also += ["Ready"] if summary == "Succeeded" else []
        named = row.get("also True", row.get("also", ""))
        for reason in _expanded(row["reason"]):
            for status in (s for s in _STATUS if s in row[summary]):
                yield from ((kind, status, reason) for kind in (summary, *also))
            yield from ((kind, "True", reason) for kind in ("Reconciling", "Stalled") if kind in named)
    elif "status, reason" in row:
        for status, reason in _by_status(row["status, reason"]):
            yield _NAME.findall(row["condition"])[0], status, reason
    elif "Unknown" in row:
        for status in _STATUS:
            for reason in _NAME.findall(row[status]):
                yield _NAME.findall(row["condition"])[0], status, reason


@cache
def of_kind(kind: str) -> frozenset[tuple[str, str, str]]:
    """(condition, status, reason) that the page of a kind documents."""
    text = section(PAGES[kind], kind)
    found = {entry for table in tables(text) for row in table for entry in _of_row(row)}
    if kind == "ModelDeployment":
        failed = next(t for t in tables(text) if list(t[0]) == ["reason", "meaning"])
        found |= {("RolledBack", "True", reason) for row in failed for reason in _expanded(row["reason"])}
    if kind == "ModelMonitor":
        (also,) = re.findall(r"The first nine conditions are also Unknown with the reasons(.*?)\n\n", text, re.DOTALL)
        findings = next(t for t in tables(text) if "Unknown" in t[0])[:9]
        found |= {(_NAME.findall(row["condition"])[0], "Unknown", r) for row in findings for r in _NAME.findall(also)}
    return frozenset(found) | everywhere()


@cache
def everywhere() -> frozenset[tuple[str, str, str]]:
    """What every kind may have."""
    table = next(t for t in tables((DOCS / "operator.md").read_text()) if "Condition" in t[0])
    reasons = {reason for row in table for reason in _NAME.findall(row["Reason"])}
    found = {(kind, status, reason) for kind in _ALL for status in _STATUS for reason in reasons}
    return frozenset(found | {(kind, status, "InvalidSpec") for kind in _ALL for status in ("False", "True")})


def explained(kind: str, build: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """`build` of a slice's status; AssertionError when what it gives is not explained."""

    def checked(*arguments: Any, **options: Any) -> dict[str, Any]:
        found = build(*arguments, **options)
        check_reasons({"kind": kind, "status": found})
        return found

    return checked


def check_reasons(obj: Mapping[str, Any]) -> None:
    """AssertionError when a condition of one of our kinds has a status and reason that its page does not explain."""
    conditions = (obj.get("status") or {}).get("conditions") or ()
    seen = {(c["type"], c["status"], c["reason"]) for c in conditions}
    missing = seen - of_kind(obj["kind"]) if obj.get("kind") in PAGES else set()
    assert not missing, f"{PAGES[obj['kind']]} does not explain {sorted(missing)}"
