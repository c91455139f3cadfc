"""Model families: one for every row of the table of formats, light until they are used, and asked by their formats."""

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression

from tidemill_contracts.formats import FORMATS, Format
from tidemill_runtime import frameworks
from tidemill_runtime.frameworks import FRAMEWORKS
from tidemill_runtime.frameworks.base import Framework, FrameworkError
from tidemill_runtime.model.errors import StartError
from tidemill_runtime.trainer.errors import RunError
from tidemill_runtime.trainer.model import inspection

ROWS = pd.DataFrame({"a": [1.0, 2.0, 3.0]})


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_has_a_family(form: Format) -> None:
    framework = frameworks.of_format(form)
    assert isinstance(framework, Framework)
    assert framework is FRAMEWORKS[FORMATS[form].framework]
    assert (type(framework) is Framework) == (FORMATS[form].runtime is None), "what is served is opened by its family"


def test_there_are_no_other_families() -> None:
    assert len(FRAMEWORKS) == len(list(FRAMEWORKS)) == len({row.framework for row in FORMATS.values()})
    with pytest.raises(KeyError):
        FRAMEWORKS["base"]


def test_looking_up_families_imports_no_library_of_theirs() -> None:
    """A server knows all families and loads one."""
    code = (
        "import sys\nfrom tidemill_runtime.frameworks import FRAMEWORKS\nlist(FRAMEWORKS.values())\n"
        "print(sorted({name.partition('.')[0] for name in sys.modules} & {'sklearn', 'skops', 'pandas', 'scipy', "
        "'joblib', 'onnxruntime', 'onnx', 'skl2onnx'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_trained_model_is_recognised_by_its_family() -> None:
    assert frameworks.recognised(LinearRegression()) is FRAMEWORKS["scikit_learn"]


@pytest.mark.parametrize(("trained", "what"), [(LinearRegression, "the class LinearRegression"), ({}, "dict")])
def test_a_model_of_no_family_is_refused_by_what_would_do(trained: object, what: str) -> None:
    with pytest.raises(
        FrameworkError, match=rf"train returned {what}, expected .*a fitted scikit-learn estimator"
    ) as found:
        frameworks.recognised(trained)
    assert found.value.reason == "NotAnEstimator"


def test_what_a_family_refuses_is_the_users_error() -> None:
    with pytest.raises(RunError, match="is not fitted") as found:
        inspection.inspect(LinearRegression(), ROWS, Path("/code"))
    assert (found.value.category, found.value.reason) == ("UserError", "NotFitted")


def test_of_a_programs_own_format_nothing_is_loaded(tmp_path: Path) -> None:
    framework = frameworks.of_format("program")
    assert not framework.recognises(LinearRegression())
    assert framework.canonical("program", b"bytes") == b"bytes"
    assert framework.refused_categories(ValueError("unknown categories ['x'] in column 0")) is None
    assert framework.known_categories(None) == set()
    assert [len(values) for values in framework.thresholds(None, ["a", "b"])] == [0, 0]
    with pytest.raises(FrameworkError, match="are not loaded"):
        framework.load("program", b"")
    with pytest.raises(FrameworkError, match="are not loaded"):
        framework.describe(None, ROWS)
    with pytest.raises(FrameworkError, match="are not stored"):
        framework.store(None, allow_pickle=True)
    with pytest.raises(StartError, match="FormatUnsupported"):
        framework.open("program", tmp_path, None, None, 1)  # type: ignore[arg-type]
    with pytest.raises(StartError, match="FormatUnsupported"):
        framework.serve(None, None, None)  # type: ignore[arg-type]
