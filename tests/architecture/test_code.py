"""Rules that hold for every module of the product, beside the import contracts of .importlinter."""

from __future__ import annotations

import ast
import re
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted((ROOT / "operator").rglob("*.py")) + sorted((ROOT / "images" / "runtime").rglob("*.py"))
MODULES = {str(p.relative_to(ROOT)): p for p in SOURCES if not p.name.endswith("_pb2.py")}
"""By their paths. Each rule is one test that names all modules that break it: a test for each would take a second."""


@cache
def text(path: Path) -> str:
    return path.read_text()


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(text(path))


def test_the_source_root_is_no_package() -> None:
    """An operator/__init__.py would shadow the standard library's operator module."""
    assert not (ROOT / "operator" / "__init__.py").exists()


def test_modules_are_found() -> None:
    assert "operator/tidemill/app.py" in MODULES
    assert any(name.startswith("images/runtime/tidemill_runtime/") for name in MODULES)


def test_every_module_says_why_it_exists() -> None:
    silent = [name for name, path in MODULES.items() if text(path).strip() and not text(path).startswith('"""')]
    assert not silent, "a module starts with why it exists"


def test_modules_stay_small() -> None:
    large = {name: lines for name, path in MODULES.items() if (lines := text(path).count("\n")) > 400}
    assert not large, "split it: about 300 lines, 400 at most"


def test_modules_are_named_after_what_they_are_about() -> None:
    assert not [name for name, path in MODULES.items() if path.stem in ("utils", "helpers", "common", "misc")]


def test_nothing_is_left_for_later() -> None:
    words = re.compile(r"\bTODO\b|\bFIXME\b|\bXXX\b|NotImplementedError")
    left = {name: found for name, path in MODULES.items() if (found := words.findall(text(path)))}
    assert not left, "unfinished"


@pytest.mark.slow
def test_functions_stay_readable() -> None:
    long = {}
    for name, path in MODULES.items():
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or 0) - node.lineno + 1
                if lines > 60:
                    long[f"{name} {node.name}"] = lines
    assert not long, "about 40 lines, 60 at most"


def test_documents_of_other_processes_are_read_by_the_one_function_that_ignores_unknown_fields() -> None:
    own = "operator/tidemill_contracts/base.py"
    others = [name for name, path in MODULES.items() if name != own and "model_validate_json" in text(path)]
    assert not others, "use Document.from_json"


def test_no_two_classes_of_the_api_have_one_name() -> None:
    """They are imported across kinds: the artifact store of a spec was called like the folder of one run in it."""
    api = [p for name, p in MODULES.items() if name.startswith("operator/tidemill/api/")]
    found = Counter(node.name for path in api for node in tree(path).body if isinstance(node, ast.ClassDef))
    assert not {name: count for name, count in found.items() if count > 1}


def test_examples_are_drawn_by_the_one_profile() -> None:
    """Hypothesis is set up in tests/conftest.py: a deadline of its own fails on a slow machine, a seed hides much."""
    own = {"deadline", "derandomize", "database", "print_blob"}
    wrong = []
    for path in (ROOT / "tests").rglob("*.py"):
        if path in (ROOT / "tests" / "conftest.py", Path(__file__)):
            continue
        if not re.search(r"\bsettings\(|register_profile|load_profile", text(path)):
            continue
        calls = [n for n in ast.walk(tree(path)) if isinstance(n, ast.Call)]
        named = [n for n in calls if ast.unparse(n.func) in ("settings", "hypothesis.settings")]
        wrong += [f"{path}: {ast.unparse(n)}" for n in named if own & {k.arg for k in n.keywords}]
        profiles = ("register_profile", "load_profile")
        wrong += [f"{path}: {ast.unparse(n)}" for n in calls if ast.unparse(n.func).endswith(profiles)]
    assert not wrong


def test_pods_are_put_together_in_one_place() -> None:
    """So that no builder can forget the security context, or that a pod has no token."""
    fields = re.compile(
        r"[\"'](securityContext|automountServiceAccountToken|imagePullPolicy|terminationMessagePolicy|restartPolicy)[\"']"
    )
    found = [n for n, p in MODULES.items() if n.startswith("operator/tidemill/") and fields.search(text(p))]
    assert found == ["operator/tidemill/core/pod.py"]
