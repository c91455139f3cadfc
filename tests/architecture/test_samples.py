"""Every sample says what it shows and how to see it, is in the index, and runs on a cluster in one test."""

from __future__ import annotations

import re

import pytest
import yaml
from tests.support import pages, samples
from tests.support.samples import ELSEWHERE, FOLDER, NEEDS, ROOT, Sample

ALL = samples.samples()
NAMES = [sample.name for sample in ALL]


def test_there_are_samples() -> None:
    assert len(NAMES) > 15
    assert NAMES[0] == "own-model"


def test_every_file_belongs_to_a_sample() -> None:
    folders = {sample.file.parent for sample in ALL if sample.is_folder}
    files = {file for file in FOLDER.rglob("*") if file.is_file()} - {FOLDER / "README.md"}

    assert files - {sample.file for sample in ALL} == {f for f in files if f.parent in folders} - {
        folder / "kustomization.yaml" for folder in folders
    }


@pytest.mark.parametrize("sample", ALL, ids=str)
def test_a_sample_says_what_it_shows_and_how_to_see_it(sample: Sample) -> None:
    sentence, commands = sample.header[0], sample.commands

    assert sentence.startswith(" ") and not sentence.startswith("   ")
    assert sample.place in commands, "the commands apply it"
    if sample.name not in ELSEWHERE:
        assert "kubectl wait" in commands or "kubectl get" in commands, "and wait for what is to be seen"


def test_the_index_has_each_sample_once() -> None:
    listed = re.findall(r"^\| \[([\w-]+)\]\(([\w./-]+)\) \|", (FOLDER / "README.md").read_text(), re.MULTILINE)

    assert sorted(name for name, _ in listed) == sorted(NAMES)
    assert {name: FOLDER / place for name, place in listed} == {sample.name: sample.file for sample in ALL}


def test_tables_name_samples_that_exist() -> None:
    named = {*ELSEWHERE, *NEEDS, *samples.ALONE, *(need for needs in NEEDS.values() for need in needs)}

    assert named - set(NAMES) == set()
    for name, where in ELSEWHERE.items():
        assert name in (ROOT / where.split(",")[0]).read_text() or name == "quickstart"


def test_samples_that_others_need_come_first() -> None:
    assert [s.name for s in ALL if any(NAMES.index(need) > NAMES.index(s.name) for need in s.needs)] == []


def test_readme_shows_the_files_of_own_model() -> None:
    """The example that readers copy is the one that is applied."""
    folder = FOLDER / "own-model"
    shown = {block.language: block.text for block in pages.blocks() if block.page == "README.md"}

    assert shown["python"] == (folder / "train.py").read_text()
    assert shown["yaml"] == (folder / "models.yaml").read_text()


def test_the_rows_of_own_model_have_the_columns_that_its_code_names() -> None:
    folder = FOLDER / "own-model"
    columns = (folder / "customers.csv").read_text().splitlines()[0].split(",")
    documents = list(yaml.safe_load_all((folder / "models.yaml").read_text()))
    code = (folder / "train.py").read_text()

    assert documents[0]["spec"]["target"] in columns
    assert {"tenure", "plan"} <= {column for column in columns if f'"{column}"' in code}
