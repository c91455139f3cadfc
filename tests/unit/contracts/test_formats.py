"""The table of formats: complete, free of contradictions, and what registers and serves follows it."""

from typing import get_args

import pytest

from tidemill.api.v1alpha1.model_version import ModelVersionSpec
from tidemill_contracts.formats import FORMATS, Format, Runtime, loadable, pickles


def test_every_format_has_a_row() -> None:
    assert tuple(FORMATS) == get_args(Format)


def test_files_tell_formats_apart() -> None:
    files = [row.file for row in FORMATS.values() if row.file]
    assert len(set(files)) == len(files)
    assert all(file.startswith("model.") for file in files), "a program leaves its model as model.*"


def test_what_has_no_file_of_its_own_is_not_served() -> None:
    assert all((row.runtime is None) == (not row.file) for row in FORMATS.values())


@pytest.mark.parametrize(
    ("runtime", "formats", "allow_pickle", "want"),
    [
        ("ONNX", ("joblib", "skops", "onnx"), False, ("onnx",)),
        ("Native", ("joblib", "skops", "onnx"), False, ("skops",)),
        ("Native", ("joblib", "skops"), True, ("skops", "joblib")),
        ("Native", ("joblib", "onnx", "a later one"), False, ()),
    ],
)
def test_what_a_runtime_loads(
    runtime: Runtime, formats: tuple[str, ...], allow_pickle: bool, want: tuple[Format, ...]
) -> None:
    assert loadable(runtime, formats, allow_pickle=allow_pickle) == want


def test_without_formats_all_that_a_runtime_loads() -> None:
    both = {*loadable("ONNX", allow_pickle=True), *loadable("Native", allow_pickle=True)}
    assert both == {name for name, row in FORMATS.items() if row.runtime is not None}


def test_pickles() -> None:
    assert pickles(("onnx", "joblib", "a later one")) == ("joblib",)
    assert pickles(("skops",)) == ()


def test_the_api_names_every_format() -> None:
    description = ModelVersionSpec.model_fields["formats"].description or ""
    assert all(name in description for name in FORMATS)
