"""The index of decisions is complete, and whoever refers to a decision by its number refers to one that exists."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "docs" / "decisions"
DECISIONS = sorted(FOLDER.glob("[0-9]*.md"))
FOLDERS = ("operator", "images", "hack", "tests", "manifests", "crds", "docs", ".ci", ".github")
SUFFIXES = {".py", ".md", ".yaml", ".yml", ".toml", ".sh", ".go", ".proto", ".lua", ".cfg", ".txt", ""}
LINE = re.compile(r"^- \[(\d{4})\]\(([^)]+)\) (.+?)(?: \((superseded by [^)]+)\))?$", re.MULTILINE)
"""A line of the index: number, file, title, and by what it was superseded."""
CHAIN = re.compile(r"[Dd]ecisions?[ /\n]((?:\[?\d{1,4}(?![\d.]|-\d)\]?(?: ?\([^)]*\))?(?:, | and )?)+)")
"""The numbers after the word: `decision 41`, `decisions 74 (why) and [77](file)`, `docs/decisions/0077, 0094`."""


def number(path: Path) -> str:
    return path.name[:4]


def title(path: Path) -> str:
    return path.read_text().partition("\n")[0].removeprefix(f"# {number(path)} ")


def slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower().replace("'", "")).strip("-")


def sources() -> list[Path]:
    found = [p for folder in FOLDERS for p in (ROOT / folder).rglob("*") if p.is_file()]
    found += [p for p in ROOT.iterdir() if p.is_file()]
    return [p for p in found if p.suffix in SUFFIXES and "__pycache__" not in p.parts and p.name != "uv.lock"]


def named(text: str) -> set[str]:
    """Numbers of the decisions that a text names, in four digits."""
    chains = (re.sub(r"\([^)]*\)", "", chain) for chain in CHAIN.findall(text))
    return {digits.zfill(4) for chain in chains for digits in re.findall(r"\d+", chain)}


def test_numbers_are_unique() -> None:
    assert [n for n, times in Counter(map(number, DECISIONS)).items() if times > 1] == []


def test_a_file_is_named_after_its_title() -> None:
    texts = {path.name: path.read_text() for path in DECISIONS}
    assert [n for n, text in texts.items() if not text.startswith(f"# {n[:4]} ")] == [], "`# <number> <title>`"
    assert list(texts) == [f"{number(path)}-{slug(title(path))}.md" for path in DECISIONS]
    undated = [n for n, text in texts.items() if not re.search(r"\A[^\n]*\n\n20\d\d-\d\d-\d\d[ ,.]", text)]
    assert undated == [], "the date and the status follow the title"


def test_every_decision_is_in_the_index_once_under_its_title() -> None:
    lines = LINE.findall((FOLDER / "README.md").read_text())
    assert Counter((n, file, text) for n, file, text, _ in lines) == Counter(
        (number(path), path.name, title(path)) for path in DECISIONS
    )


def test_the_index_says_what_was_superseded_as_a_whole() -> None:
    listed = {
        n: set(re.findall(r"\d{4}", by)) for n, _, _, by in LINE.findall((FOLDER / "README.md").read_text()) if by
    }
    said = {}
    for path in DECISIONS:
        status = path.read_text().split("\n\n")[1].replace("\n", " ")
        if found := re.search(r"\. Superseded by ((?:\[\d{4}\]\([^)]*\)(?:, | and )?)+)(?! where)", status):
            said[number(path)] = set(re.findall(r"\[(\d{4})\]", found[1]))
    assert listed == said


def test_both_decisions_say_which_overtook_which() -> None:
    """`supersedes` or `amends` stands in the later one, `Superseded by` or `Amended by` in the earlier."""
    later, earlier = set(), set()
    for path in DECISIONS:
        status = re.sub(r"\]\([^)]*\)", "]", path.read_text().split("\n\n")[1].replace("\n", " "))
        for verb, numbers in re.findall(r"([Ss]upersede[sd]|[Aa]mend(?:s|ed))(?: by)? ([^:;.]*)", status):
            for other in re.findall(r"\[(\d{4})\]", numbers):
                pair = (other, number(path)) if verb.endswith("s") else (number(path), other)
                (later if verb.endswith("s") else earlier).add(pair)
    assert later == earlier


def test_references_lead_to_decisions() -> None:
    known = set(map(number, DECISIONS))
    unknown = {}
    for path in sources():
        text = path.read_text(errors="ignore")
        found = named(text)
        if path.parent == FOLDER:
            found |= set(re.findall(r"\[(\d{4})\]", text))
        if found - known:
            unknown[str(path.relative_to(ROOT))] = sorted(found - known)
    assert unknown == {}


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("(decision 41)", {"0041"}),
        ("in decisions 74 (who owns versions) and 77 (a run is tried once)", {"0074", "0077"}),
        ("(docs/decisions/0077, 0094). And", {"0077", "0094"}),
        ("decisions\n[151](decisions/0151-a.md) and [184](decisions/0184-b.md)", {"0151", "0184"}),
        ("[decision 150](decisions/0150-lists.md)", {"0150"}),
        ("its decision 3.5 times", set()),
        ("a decision of 2026", set()),
        ("(decision 190, 2026-11-30)", {"0190"}),
    ],
)
def test_references_are_found(text: str, numbers: set[str]) -> None:
    assert named(text) == numbers
