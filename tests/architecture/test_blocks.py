"""Every block of code of README, docs and samples runs in a test, or one table says why not."""

from __future__ import annotations

import re
from collections import Counter

import pytest
import yaml
from tests.support import pages


def test_every_block_names_its_language() -> None:
    assert {str(b): b.language for b in pages.blocks() if b.language not in pages.LANGUAGES} == {}


def test_no_fence_is_left_open() -> None:
    """A block that the reader of blocks does not see would not run, silently."""
    fences = {str(p.relative_to(pages.ROOT)): p.read_text().count("```") for p in pages.pages()}
    seen = Counter(b.page for b in pages.blocks())

    assert {page: number for page, number in fences.items() if number != 2 * seen[page]} == {}


def test_a_block_runs_or_is_in_the_table() -> None:
    left_out = {(b.page, b.first): str(b) for b in pages.blocks() if pages.runner(b) is None}

    assert sorted(left_out) == sorted(pages.EXCEPTED), "each block that does not run is in pages.EXCEPTED, once"
    assert all(len(reason) > 8 or reason == "a picture" for reason in pages.EXCEPTED.values())


def test_names_of_excepted_blocks_are_those_of_one_block() -> None:
    names = Counter((b.page, b.first) for b in pages.blocks())

    assert {name: names[name] for name in pages.EXCEPTED if names[name] != 1} == {}


@pytest.mark.parametrize("file", [pages.RUNTIME, pages.INTEGRATION, pages.E2E])
def test_a_runner_takes_its_blocks(file: str) -> None:
    assert [b for b in pages.blocks() if pages.runner(b) == file]
    assert "pages.of(pages." in (pages.ROOT / file).read_text()


def test_blocks_in_yaml_are_yaml() -> None:
    for block in pages.blocks():
        if block.language == "yaml":
            assert any(yaml.safe_load_all(block.text)), block


def test_commands_stand_in_fenced_blocks() -> None:
    """An indented block is none that a test would run; formulas may stand in one."""
    programs = re.compile(r"^ {4}(?:make|kubectl|python|curl|helm|git|export|eval)\b.*$", re.MULTILINE)
    prose = {
        str(page.relative_to(pages.ROOT)): re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
        for page in pages.pages()
    }

    assert {page: programs.findall(text) for page, text in prose.items() if programs.search(text)} == {}


def test_words_that_choose_tests_choose_some() -> None:
    """`make` is asked only whether the target is there, so what `-k` names is looked up here."""
    chosen = {(b.page, w) for b in pages.blocks() if b.language == "sh" for w in re.findall(r" -k (\w+)", b.text)}
    files = [*(pages.ROOT / "tests").rglob("test_*.py")]
    names = {file.stem for file in files} | {n for f in files for n in re.findall(r"def (test_\w+)", f.read_text())}

    assert chosen
    assert {(page, word) for page, word in chosen if not any(word in name for name in names)} == set()
