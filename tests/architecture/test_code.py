"""Rules that hold for every module of the product, beside the import contracts of .importlinter."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted((ROOT / "operator").rglob("*.py")) + sorted((ROOT / "images" / "runtime").rglob("*.py"))
MODULES = [pytest.param(p, id=str(p.relative_to(ROOT))) for p in SOURCES if not p.name.endswith("_pb2.py")]


def test_the_source_root_is_no_package() -> None:
    """An operator/__init__.py would shadow the standard library's operator module."""
    assert not (ROOT / "operator" / "__init__.py").exists()


@pytest.mark.parametrize("path", MODULES)
def test_module_says_why_it_exists_and_stays_small(path: Path) -> None:
    text = path.read_text()
    tree = ast.parse(text)
    assert not tree.body or ast.get_docstring(tree), "a module starts with why it exists"
    assert text.count("\n") <= 400, "split it: about 300 lines, 400 at most"
    assert path.stem not in ("utils", "helpers", "common", "misc"), "name it after what it is about"


@pytest.mark.parametrize("path", MODULES)
def test_nothing_is_left_for_later(path: Path) -> None:
    left = re.findall(r"\bTODO\b|\bFIXME\b|\bXXX\b|NotImplementedError", path.read_text())
    assert not left, f"unfinished: {left}"


@pytest.mark.parametrize("path", MODULES)
def test_functions_stay_readable(path: Path) -> None:
    functions = (
        n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)
    )
    long = {f.name: (f.end_lineno or 0) - f.lineno + 1 for f in functions}
    long = {name: lines for name, lines in long.items() if lines > 60}
    assert not long, f"about 40 lines, 60 at most: {long}"


@pytest.mark.parametrize("path", MODULES)
def test_documents_of_other_processes_are_read_by_the_one_function_that_ignores_unknown_fields(path: Path) -> None:
    if path.relative_to(ROOT) != Path("operator/tidemill_contracts/base.py"):
        assert "model_validate_json" not in path.read_text(), "use Document.from_json"


@pytest.mark.parametrize("path", [pytest.param(p, id=str(p.relative_to(ROOT))) for p in (ROOT / "tests").rglob("*.py")])
def test_examples_are_drawn_by_the_one_profile(path: Path) -> None:
    """Hypothesis is set up in tests/conftest.py: a deadline of its own fails on a slow machine, a seed hides much."""
    if path in (ROOT / "tests" / "conftest.py", Path(__file__)):
        return
    own = {"deadline", "derandomize", "database", "print_blob"}
    calls = [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Call)]
    named = [n for n in calls if ast.unparse(n.func) in ("settings", "hypothesis.settings")]
    assert not [ast.unparse(n) for n in named if own & {k.arg for k in n.keywords}]
    assert not [n for n in calls if ast.unparse(n.func).endswith(("register_profile", "load_profile"))]
