"""Functions and classes of the training code inside a model: stored with it, and loaded only where that is allowed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from tests.runtime.conftest import Trained, Trainer
from tests.runtime.test_trainer_columns import ask, config, table
from tests.support import scored, serverprocess, training_code

from tidemill_contracts.artifact import CODE_FILE, ModelCode
from tidemill_contracts.training import Champion

RATIO = """
from sklearn.base import BaseEstimator, TransformerMixin


class AddRatio(TransformerMixin, BaseEstimator):
    \"\"\"Adds a column, as a first own transformer does; notes nothing in fit.\"\"\"

    def fit(self, data, target=None):
        return self

    def transform(self, data):
        data = data.copy()
        data["ratio"] = data["income"] / data["age"]
        return data
"""
FITTED = """
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler


def train(data, target):
    columns = ColumnTransformer([("numbers", StandardScaler(), ["age", "income", "ratio"])])
    return make_pipeline(AddRatio(), columns, LogisticRegression()).fit(data, target)
"""
OWN_CLASS = RATIO + FITTED
ELSEWHERE = "from ratios import AddRatio\n" + FITTED
OWN_FUNCTION = """
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer


def clipped(data):
    return data[["age", "income"]].clip(-50, 50)


def train(data, target):
    return make_pipeline(FunctionTransformer(clipped), LogisticRegression()).fit(data, target)
"""
PARTIAL = OWN_FUNCTION.replace(
    "FunctionTransformer(clipped)", "FunctionTransformer(functools.partial(clipped))"
).replace("import numpy as np", "import functools")
LAMBDA = OWN_FUNCTION.replace("FunctionTransformer(clipped)", 'FunctionTransformer(lambda data: data[["age"]])')
NESTED = OWN_FUNCTION.replace(
    "    return make", "    def inner(data):\n        return clipped(data)\n\n    return make"
).replace("FunctionTransformer(clipped)", "FunctionTransformer(inner)")
UNREADABLE = OWN_FUNCTION.replace(
    "import numpy as np", "from pathlib import Path\n\nWHERE = Path(__file__).read_text()"
)
SELECTOR = """
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler


def numbers(data):
    return ["age", "income"]


def train(data, target):
    return make_pipeline(ColumnTransformer([("n", StandardScaler(), numbers)]), LogisticRegression()).fit(data, target)
"""


def run(trainer: Trainer, code: str, **more: Any) -> Trained:
    return trainer(code, trainer.table(table().to_csv(index=False)), "churned", **more)


def files_of(trained: Trained) -> list[str]:
    assert trained.exit_code == 0, trained.result.failure
    return list(ModelCode.from_json(trained.open().path(CODE_FILE).read_bytes()).files)


@pytest.mark.parametrize("code", [OWN_CLASS, OWN_FUNCTION, PARTIAL], ids=["class", "function", "partial"])
def test_the_codes_own_module_becomes_part_of_the_version(trainer: Trainer, code: str) -> None:
    trained = run(trainer, code)
    assert files_of(trained) == ["train.py"]
    assert trained.result.formats == ("skops-code",)
    assert CODE_FILE in trained.open().manifest.files, "its digest is in the manifest"


def test_only_what_the_model_needs_goes_along(trainer: Trainer) -> None:
    files = {"ratios.py": RATIO, "secret_query.py": "QUERY = 'select * from customers'\n"}
    assert files_of(run(trainer, ELSEWHERE, files=files)) == ["ratios.py"]


def test_a_model_without_code_has_none(trainer: Trainer) -> None:
    trained = trainer(training_code.TREE)
    assert trained.result.formats[0] == "skops"
    assert CODE_FILE not in trained.open().manifest.files


def test_equal_runs_give_equal_versions(trainer: Trainer) -> None:
    assert run(trainer, OWN_CLASS).result.digest == run(trainer, OWN_CLASS).result.digest


def test_a_function_that_only_selects_columns_is_not_needed_by_the_onnx_form(trainer: Trainer) -> None:
    trained = run(trainer, SELECTOR)
    assert trained.result.formats == ("skops-code", "onnx"), trained.result.onnx


@pytest.mark.parametrize("code", [OWN_CLASS, OWN_FUNCTION], ids=["class", "function"])
def test_a_server_that_may_load_it_answers(trainer: Trainer, tmp_path: Path, code: str) -> None:
    """A class that adds a column gets the DataFrame that it got in training."""
    trained = run(trainer, code)
    sample = trained.open().sample()
    rows = [dict(zip(sample.columns, values, strict=True)) for values in zip(*sample.columns.values(), strict=True)]
    with serverprocess.running(tmp_path / "server", config(trained, allow_code=True)) as server:
        server.wait_ready()
        body = {"instances": rows}
        assert ask(server, "/v1/models/churn:predict", body) == (200, {"predictions": sample.predictions})


@pytest.mark.parametrize("more", [{}, {"allow_pickle": True}], ids=["by default", "with pickles allowed"])
def test_a_server_that_may_not_says_which_field_allows_it(trainer: Trainer, tmp_path: Path, more: Any) -> None:
    with serverprocess.running(tmp_path / "server", config(run(trainer, OWN_CLASS), **more)) as server:
        assert server.wait() == 42
        said = server.termination_log.read_text()
    assert said.startswith("FormatUnsupported: ")
    assert "its model has functions or classes of its training code: spec.server.allowCode" in said


def test_a_changed_code_file_does_not_load(trainer: Trainer, tmp_path: Path) -> None:
    trained = run(trainer, OWN_CLASS)
    store = trainer.root / "mnt" / "pvc" / "store" / "churn" / (trained.result.digest or "").removeprefix("sha256:")
    (store / CODE_FILE).write_text((store / CODE_FILE).read_text().replace("income", "outcome"))
    with serverprocess.running(tmp_path / "server", config(trained, allow_code=True)) as server:
        assert server.wait() == 42
        assert server.termination_log.read_text().startswith("DigestMismatch: ")


def test_what_the_servers_image_lacks_is_named(trainer: Trainer, tmp_path: Path) -> None:
    """The trainer's image has more packages; the advice is in the docs: a file of its own for what a model needs."""
    trained = run(trainer, "import pyarrow\n" + OWN_CLASS)
    with serverprocess.running(tmp_path / "server", config(trained, allow_code=True)) as server:
        assert server.wait() == 42
        said = server.termination_log.read_text()
    assert said.startswith("ModelLoadFailed: ")
    assert "No module named 'pyarrow'" in said


def test_a_batch_needs_the_same_leave(trainer: Trainer, tmp_path: Path) -> None:
    trained = run(trainer, OWN_CLASS)
    source = scored.write(tmp_path / "rows.parquet", pa.Table.from_pandas(table(), preserve_index=False))
    model = ["--uri", trained.result.uri or "", "--digest", trained.result.digest or ""]
    target = ["--input", source, "--output", str(tmp_path / "scored.parquet")]
    refused = scored.command(tmp_path / "refused", None, *target, *model)
    assert (refused.code, "spec.server.allowCode" in refused.message) == (42, True)
    assert scored.command(tmp_path / "allowed", None, *target, *model, "--allow-code").code == 0


@pytest.mark.parametrize(
    ("code", "says"),
    [
        (LAMBDA, "the model holds train.<lambda>, which no file has under a name at its top level"),
        (NESTED, "the model holds train.inner, which no file has under a name at its top level"),
    ],
    ids=["lambda", "inner function"],
)
@pytest.mark.parametrize("allow_pickle", [False, True])
def test_what_has_no_name_to_find_it_by_is_refused_with_what_would_help(
    trainer: Trainer, code: str, says: str, allow_pickle: bool
) -> None:
    """A pickle could not hold it either, so nobody is sent there."""
    failure = run(trainer, code, allow_pickle=allow_pickle).failure
    assert says in failure.message
    assert "functions and classes at the top level of a file of the training code" in failure.message
    assert "spec.allowPickle" not in failure.message
    assert failure.reason == ("Unservable" if allow_pickle else "UntrustedType")


def test_a_module_that_needs_more_than_its_source_is_found_at_training(trainer: Trainer) -> None:
    failure = run(trainer, UNREADABLE).failure
    assert failure.reason == "Unservable"
    assert "does not load with train.py alone, as in a server: " in failure.message
    assert "__file__" in failure.message


def test_a_type_of_a_package_is_no_code_of_ones_own(trainer: Trainer) -> None:
    """What an image has installed is not in the version: a pickle names it, where that is allowed."""
    code = (
        OWN_FUNCTION.replace("FunctionTransformer(clipped)", "FunctionTransformer(operator.neg)")
        .replace("import numpy as np", "import operator")
        .replace(".fit(data,", ".fit(data[['age', 'income']],")
    )
    failure = run(trainer, code).failure
    assert failure.reason == "UntrustedType"
    assert "operator.neg" in failure.message
    assert "or allow pickles with spec.allowPickle: true" in failure.message


def champion_of(trained: Trained) -> Champion:
    uri, digest = trained.result.uri or "", trained.result.digest or ""
    return Champion(version="churn-1", uri=uri, digest=digest, metrics={"accuracy": 0.5})


def test_a_champion_of_the_same_code_is_scored(trainer: Trainer) -> None:
    first = run(trainer, OWN_CLASS)
    second = run(trainer, OWN_CLASS, champion=champion_of(first), seed=1)
    assert second.result.champion_note is None


def test_a_champion_of_changed_code_stands_with_its_recorded_metrics(trainer: Trainer) -> None:
    """Its class would be this run's; and code of a version, which may come from elsewhere, is not run by a run."""
    files = {"ratios.py": RATIO}
    first = run(trainer, ELSEWHERE, files=files)
    other_function = run(trainer, ELSEWHERE + "\n# another run\n", files=files, champion=champion_of(first))
    assert other_function.result.champion_note is None
    changed = {"ratios.py": RATIO.replace('/ data["age"]', '* data["age"]')}
    other_class = run(trainer, ELSEWHERE, files=changed, champion=champion_of(first))
    assert other_class.result.champion_metrics == {"accuracy": 0.5}
    assert "its model needs code that changed since: ratios.py" in (other_class.result.champion_note or "")


SWITCH = """
import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin


class {name}(ClassifierMixin, BaseEstimator):
    def fit(self, data, target):
        self.classes_ = np.array([0, 1])
        return self

    def predict(self, data):
        {body}


def train(data, target):
    return {name}().fit({given}, target)
"""


@pytest.mark.parametrize(
    ("body", "given", "frame"),
    [
        ("return (data['age'] > 40).astype(int)", "data", True),
        ("return (data[:, 2] > 40).astype(int)", "data.to_numpy()", False),
        ("return [int(len(data) > 9)] * len(data)", "data", True),
    ],
    ids=["by name", "by place", "by neither"],
)
def test_a_class_that_noted_nothing_gets_what_it_answers_for(
    trainer: Trainer, body: str, given: str, frame: bool
) -> None:
    trained = run(trainer, SWITCH.format(name="Switch", body=body, given=given))
    assert trained.exit_code == 0, trained.result.failure
    assert trained.open().manifest.signature.frame is frame


def test_a_mistake_of_the_users_own_is_still_shown_by_its_line(trainer: Trainer) -> None:
    failure = run(trainer, SWITCH.format(name="Switch", body="return data['no such column']", given="data")).failure
    assert failure.reason == "CodeFailed"
    assert "KeyError: 'no such column'\n  train.py:" in failure.message
