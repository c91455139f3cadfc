"""The words that a server may give as its reason: one table for those who say them, read them and document them."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tidemill_contracts import failures

START_REASONS = {reason.name for reason in failures.START_REASONS}
ROOT = Path(__file__).resolve().parents[3]
RUNTIME = ROOT / "images/runtime/tidemill_runtime"
RAISED = {"StartError", "ArtifactError"}


def _said() -> set[str]:
    """The first argument of every error that ends a server, as the sources have it."""
    found = set()
    for path in RUNTIME.rglob("*.py"):
        if path.relative_to(RUNTIME).parts[0] == "batch":
            continue  # ends a batch prediction, no server
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in RAISED:
                first = node.args[0]
                if isinstance(first, ast.Constant):
                    found.add(str(first.value))
    return found


@pytest.mark.slow
def test_the_table_has_what_servers_say() -> None:
    assert _said() | {"InternalError"} == START_REASONS


def test_the_table_is_documented() -> None:
    text = (ROOT / "docs/serving-protocol.md").read_text()
    missing = {word for word in START_REASONS if f"`{word}`" not in text}
    assert not missing
