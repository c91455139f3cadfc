"""The table of formats: complete, free of contradictions, and what registers and serves follows it."""

from typing import get_args

import pytest

from tidemill.api.v1alpha1.model_version import ModelVersionSpec
from tidemill_contracts.formats import FORMATS, Format, Runtime, loadable, pickles, with_code


def test_every_format_has_a_row() -> None:
    assert tuple(FORMATS) == get_args(Format)


def test_files_tell_formats_apart() -> None:
    files = [row.file for row in FORMATS.values() if row.file and not row.has_code]
    assert len(set(files)) == len(files), "but for a model with code, whose file is the same kind without it"
    assert {row.file for row in FORMATS.values() if row.has_code} <= set(files)
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
    runtimes: tuple[Runtime, ...] = ("ONNX", "Native")
    both = {name for runtime in runtimes for name in loadable(runtime, allow_pickle=True, allow_code=True)}
    assert both == {name for name, row in FORMATS.items() if row.runtime is not None}


@pytest.mark.parametrize("allow_code", [False, True])
def test_code_of_a_version_is_loaded_where_that_is_allowed(allow_code: bool) -> None:
    formats = ("skops-code", "joblib", "onnx")
    assert loadable("Native", formats, allow_pickle=False, allow_code=allow_code) == ("skops-code",) * allow_code
    assert loadable("Native", formats, allow_pickle=True, allow_code=allow_code)[-1:] == ("joblib",)
    assert loadable("ONNX", formats, allow_pickle=False, allow_code=allow_code) == ("onnx",)


def test_formats_with_code() -> None:
    assert with_code(("skops-code", "onnx", "a later one")) == ("skops-code",)
    assert with_code(("skops", "joblib")) == ()


def test_pickles() -> None:
    assert pickles(("onnx", "joblib", "a later one")) == ("joblib",)
    assert pickles(("skops",)) == ()


def test_the_api_names_every_format() -> None:
    description = ModelVersionSpec.model_fields["formats"].description or ""
    assert all(name in description for name in FORMATS)
