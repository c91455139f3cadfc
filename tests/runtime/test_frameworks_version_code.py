"""The modules that a version brings: which of the training code they are, and how a server imports them."""

from __future__ import annotations

import importlib
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest

from tidemill_contracts.artifact import CODE_FILE, ModelCode
from tidemill_runtime.frameworks import version_code
from tidemill_runtime.model.errors import StartError

SOURCES = {
    "train": "import mine_features\n\n\ndef train(data, target):\n    return mine_features.Ratio()\n",
    "mine_features": "import math\nfrom mine_numbers import HALF\n\n\nclass Ratio:\n    half = HALF\n",
    "mine_numbers": "HALF = 0.5\n",
    "mine_late": "def late():\n    import mine_numbers\n\n    return mine_numbers.HALF\n",
    "mine_broken": "def broken(:\n",
}


@pytest.fixture(autouse=True)
def clean() -> Iterator[None]:
    """What a server does once in its life is undone."""
    finders, modules = list(sys.meta_path), set(sys.modules)
    yield
    sys.meta_path[:] = finders
    for name in set(sys.modules) - modules:
        del sys.modules[name]


@pytest.mark.parametrize(
    ("names", "files"),
    [
        (["mine_numbers"], ["mine_numbers.py"]),
        (["mine_features"], ["mine_features.py", "mine_numbers.py"]),
        (["mine_late"], ["mine_late.py", "mine_numbers.py"]),
        (["mine_broken"], ["mine_broken.py"]),
        (["train"], ["mine_features.py", "mine_numbers.py", "train.py"]),
        (["mine_late", "mine_features"], ["mine_features.py", "mine_late.py", "mine_numbers.py"]),
    ],
)
def test_what_a_module_imports_of_the_code_goes_along_and_nothing_else(names: list[str], files: list[str]) -> None:
    assert list(version_code.needed(names, SOURCES).files) == files


def test_two_modules_that_import_each_other_are_no_endless_loop() -> None:
    sources = {"mine_a": "import mine_b\n", "mine_b": "from mine_a import x\n"}
    assert list(version_code.needed(["mine_a"], sources).files) == ["mine_a.py", "mine_b.py"]


def test_modules_are_imported_by_their_names_also_later() -> None:
    version_code.install(version_code.needed(["mine_features", "mine_late"], SOURCES))
    assert importlib.import_module("mine_features").Ratio.half == 0.5
    assert importlib.import_module("mine_late").late() == 0.5
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("train")


def test_a_traceback_shows_the_line() -> None:
    version_code.install(ModelCode(files={"mine_raising.py": "def go():\n    raise KeyError('no such column')\n"}))
    with pytest.raises(KeyError) as caught:
        importlib.import_module("mine_raising").go()
    frame = traceback.extract_tb(caught.value.__traceback__)[-1]
    assert (frame.filename, frame.lineno) == (f"{CODE_FILE}/mine_raising.py", 2)
    assert frame.line == "raise KeyError('no such column')"


def test_another_version_takes_the_place_of_the_first() -> None:
    """One process may score with several versions: each keeps the classes that it was loaded with."""
    version_code.install(ModelCode(files={"mine_numbers.py": "def half():\n    return 0.5\n"}))
    first = importlib.import_module("mine_numbers").half
    version_code.install(ModelCode(files={"mine_numbers.py": "def half():\n    return 50\n"}))
    assert (first(), importlib.import_module("mine_numbers").half()) == (0.5, 50)


@pytest.mark.parametrize("name", ["json", "sys", "numpy"])
def test_a_name_that_is_in_use_is_refused_by_it(name: str) -> None:
    importlib.import_module(name)
    with pytest.raises(StartError, match=rf"code.json: {name}.py has the name of a module that is in use") as caught:
        version_code.install(ModelCode(files={f"{name}.py": "x = 1\n"}))
    assert caught.value.reason == "ModelLoadFailed"


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("wave", "the name of a module of Python or Tidemill"),
        ("tidemill_contracts", "the name of a module that is in use here"),
        ("tidemill_contracts.digests", "a name that is none of a module"),
        ("numpy.extra", "a name that is none of a module"),
        ("not-one", "a name that is none of a module"),
    ],
)
def test_no_module_of_a_version_stands_in_for_one_of_the_program(name: str, says: str) -> None:
    """Also where that is imported later: a parser that a server needs for its next request, for example."""
    sys.modules.pop("wave", None)
    with pytest.raises(StartError, match=rf"code.json: {name}.py has {says}: name it differently"):
        version_code.install(ModelCode(files={f"{name}.py": "raise SystemExit\n"}))


def test_nor_for_one_that_is_installed_and_not_imported_yet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine_installed.py").write_text("HALF = 1\n")
    (tmp_path / "mine_folder").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(StartError, match=r"mine_installed.py has the name of a module that is installed here"):
        version_code.install(ModelCode(files={"mine_installed.py": "HALF = 0.5\n"}))
    version_code.install(ModelCode(files={"mine_folder.py": "HALF = 0.5\n"}))
    assert importlib.import_module("mine_folder").HALF == 0.5


@pytest.mark.parametrize(
    ("content", "says"), [(None, "has no code.json"), (b"{}", "code.json: Field"), (b"[", "code.json: Invalid JSON")]
)
def test_a_version_without_its_code_does_not_load(tmp_path: Path, content: bytes | None, says: str) -> None:
    if content is not None:
        (tmp_path / CODE_FILE).write_bytes(content)
    with pytest.raises(StartError, match=says) as caught:
        version_code.read(tmp_path)
    assert caught.value.reason == "ModelLoadFailed"
