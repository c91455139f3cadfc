"""Numbers of things in sentences are right: no plural stands behind a number that may be one."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tidemill_contracts.counts import are, counted, does

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("operator/tidemill", "operator/tidemill_contracts", "images/runtime/tidemill_runtime")
PLURAL = re.compile(
    r" (pods|rows|runs|columns|versions|windows|files|bytes|labels|requests|attempts|values|times|errors|records|inputs"
    r"|workers|tries|measurements|categories|tensors|lines|replicas|checks|classes|features|keys|days)\b"
)
LIMITS = ("more than ", "larger than ", "longer than ", "at most ", "at least ")
"""Before a limit that is never one."""
NEVER_ONE = {
    ("prometheus.py", " values"),  # `too many values`: no number
    ("inputs.py", " bytes"),  # more than half a million
    ("prefork.py", " times"),  # the fourth death at the earliest
    ("binary_tensors.py", " runs"),  # a verb: element 1 runs past the end
    ("web.py", " bytes"),  # of a file that is longer than what came
    ("expectations.py", " values"),  # one has a sentence of its own
    ("progress.py", " rows"),  # a counter that moves
    ("graphs.py", " labels"),  # `1 of 200 labels differ`: as it is stored in versions
}


def plurals(path: Path) -> Iterator[tuple[str, str, str]]:
    """(what stands before, the number, the plural behind it) of every f-string of a module."""
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.JoinedStr):
            continue
        parts = node.values
        for i, part in enumerate(parts[:-1]):
            behind = parts[i + 1]
            if not isinstance(part, ast.FormattedValue) or not isinstance(behind, ast.Constant):
                continue
            found = PLURAL.match(str(behind.value))
            before = parts[i - 1] if i else None
            if found is not None:
                yield str(before.value) if isinstance(before, ast.Constant) else "", ast.unparse(part.value), found[0]


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_plural_stands_behind_a_number_that_may_be_one(folder: str) -> None:
    found = [
        f"{path.relative_to(ROOT)}: {{{number}}}{plural}"
        for path in (ROOT / folder).rglob("*.py")
        for before, number, plural in plurals(path)
        if not (before.endswith(LIMITS) or number.isupper() or (path.name, plural) in NEVER_ONE)
    ]
    assert found == [], "write it with tidemill_contracts.counts"


def test_numbers_of_things() -> None:
    assert [counted(n, "row") for n in (0, 1, 2, 1.0)] == ["0 rows", "1 row", "2 rows", "1 row"]
    assert counted(2, "query", "queries") == "2 queries"
    assert [does(n, "value", "reaches", "reach") for n in (1, 2)] == ["1 value reaches", "2 values reach"]
    assert does(2, "label or prediction", "is", "are", "labels or predictions") == "2 labels or predictions are"


@pytest.mark.parametrize(
    ("part", "whole", "sentence"),
    [
        (0, 1, "0 of 1 pod of churn-1 is"), (1, 1, "1 of 1 pod of churn-1 is"), (0, 2, "0 of 2 pods of churn-1 are"),
        (1, 2, "1 of 2 pods of churn-1 is"), (2, 2, "2 of 2 pods of churn-1 are"),
    ],
)  # fmt: skip
def test_a_part_of_things(part: int, whole: int, sentence: str) -> None:
    assert are(part, whole, "pod", "of churn-1") == sentence
