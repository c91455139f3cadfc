"""Two runs of one key give the same bytes, whatever process made them; and what is stored can be loaded."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_diabetes, load_iris
from sklearn.ensemble import (
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import SVC
from skops import io as skops_io
from tests.runtime.conftest import Trainer
from tests.support import training_code

from tidemill_contracts.training import TrainingResult
from tidemill_runtime.frameworks.onnx import graphs
from tidemill_runtime.frameworks.scikit_learn import canonical_skops
from tidemill_runtime.frameworks.scikit_learn.onnx_form import convert
from tidemill_runtime.trainer.model import inspection
from tidemill_runtime.trainer.package import native

CODE = Path("/code")


def mixed() -> tuple[pd.DataFrame, pd.Series]:
    frame = load_iris(as_frame=True).frame
    frame["kind"] = np.where(frame["petal length (cm)"] > 3, "größer", "b")
    return frame.drop(columns="target"), frame["target"]


def models() -> dict[str, object]:
    """Fit one of each family that must have stable bytes."""
    features, target = mixed()
    numbers = features.drop(columns="kind")
    columns = ColumnTransformer(
        [
            ("numbers", make_pipeline(SimpleImputer(), StandardScaler()), list(numbers)),
            ("text", OneHotEncoder(), ["kind"]),
        ]
    )
    return {
        "pipeline": make_pipeline(columns, LogisticRegression(max_iter=500)).fit(features, target),
        "logistic": LogisticRegression(max_iter=500).fit(numbers, target),
        "forest": RandomForestClassifier(8, random_state=0).fit(numbers, target),
        "regression-trees": RandomForestRegressor(4, random_state=0).fit(numbers, target),
        "boosting": GradientBoostingClassifier(n_estimators=4, random_state=0).fit(numbers, target),
        "histograms": HistGradientBoostingClassifier(max_iter=4, random_state=0).fit(numbers, target),
        "support-vectors": SVC(random_state=0).fit(numbers, target),
        "neighbours": KNeighborsClassifier().fit(numbers, target),
        "forest-of-the-global-generator": RandomForestClassifier(4).fit(numbers, target),
    }


def fingerprints() -> dict[str, list[str]]:
    """Return digests of the native and the ONNX form of every model."""
    np.random.seed(0)
    features, _ = mixed()
    found = {}
    for name, estimator in models().items():
        model = inspection.inspect(estimator, features[list(estimator.feature_names_in_)], CODE)  # type: ignore[attr-defined]
        converted = convert.convert(model, features).content or b""
        content = native.dump(estimator, allow_pickle=False).content
        found[name] = [hashlib.sha256(part).hexdigest() for part in (content, converted)]
    return found


@pytest.fixture(scope="module")
def fitted() -> dict[str, object]:
    return models()


def test_the_bytes_are_the_same_in_every_process() -> None:
    def in_a_process(memory: str) -> dict[str, list[str]]:
        # Blocks of another size move every later allocation, and with it every id and every byte that nobody wrote.
        code = (
            f"import json; keep = [bytearray(i * {memory} % 7919) for i in range(20000)]; "
            "from tests.runtime import test_trainer_digests as t; print(json.dumps(t.fingerprints()))"
        )
        env = {**os.environ, "PYTHONHASHSEED": "0", "MALLOC_PERTURB_": memory}
        done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return dict(json.loads(done.stdout))

    first, second = in_a_process("17"), in_a_process("211")
    assert first == second
    assert len(first) == 9
    assert all(first[name][1] != hashlib.sha256(b"").hexdigest() for name in first if name != "neighbours")


@pytest.mark.parametrize(
    "name",
    [
        "pipeline",
        "logistic",
        "forest",
        "regression-trees",
        "boosting",
        "histograms",
        "support-vectors",
        "neighbours",
        "forest-of-the-global-generator",
    ],
)
def test_what_is_stored_loads_and_answers_the_same(fitted: dict[str, object], name: str) -> None:
    features, _ = mixed()
    estimator = fitted[name]
    form = native.dump(estimator, allow_pickle=False)
    rows = features[list(estimator.feature_names_in_)]  # type: ignore[attr-defined]
    loaded = native.load(form)
    assert loaded.predict(rows).tolist() == estimator.predict(rows).tolist()  # type: ignore[attr-defined]
    unknown = skops_io.get_untrusted_types(data=form.content)
    assert skops_io.loads(form.content, trusted=unknown).predict(rows).tolist() == loaded.predict(rows).tolist()


def test_two_dumps_differ_without_the_canonical_form(fitted: dict[str, object]) -> None:
    """The reason for the canonical form: without it this very test would be wrong."""
    first, second = skops_io.dumps(fitted["logistic"]), skops_io.dumps(models()["logistic"])
    assert first != second
    assert canonical_skops.canonical(first) == canonical_skops.canonical(second)


def test_a_model_that_differs_has_other_bytes() -> None:
    features, target = mixed()
    numbers = features.drop(columns="kind")
    weak = LogisticRegression(C=0.5, max_iter=500).fit(numbers, target)
    strong = LogisticRegression(C=0.6, max_iter=500).fit(numbers, target)
    assert native.dump(weak, allow_pickle=False).content != native.dump(strong, allow_pickle=False).content


def test_sets_are_written_in_one_order() -> None:
    words = {f"w{i}" for i in range(50)}
    grown = words | {f"x{i}" for i in range(500)}
    grown -= {f"x{i}" for i in range(500)}  # a set remembers the room that it once needed, and iterates otherwise
    assert list(grown) != list(words)
    first = canonical_skops.canonical(skops_io.dumps({"words": words}))
    assert first == canonical_skops.canonical(skops_io.dumps({"words": grown}))
    assert skops_io.loads(first) == {"words": words}


def test_shared_arrays_stay_shared() -> None:
    array = np.arange(3.0)
    loaded = skops_io.loads(canonical_skops.canonical(skops_io.dumps({"a": array, "b": array, "c": array.copy()})))
    assert loaded["a"] is loaded["b"]
    assert loaded["a"] is not loaded["c"]


def test_a_run_in_another_process_has_the_same_digest(trainer: Trainer) -> None:
    table = load_iris(as_frame=True).frame.to_csv(index=False)
    config = trainer.config(training_code.TREE, trainer.table(table), parameters={"max_depth": "2"}, seed=7)
    here = trainer.run(config).result
    message = trainer.root / "message"
    renamed = config.model_copy(update={"run": "churn-another", "store": "pvc://store/another"})
    env = {**os.environ, "TIDEMILL_TRAINER_CONFIG": renamed.to_json(), "TIDEMILL_TERMINATION_LOG": str(message)}
    done = subprocess.run([sys.executable, "-m", "tidemill_runtime.trainer"], env=env, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout
    there = TrainingResult.model_validate_json(message.read_bytes())
    assert there.digest == here.digest
    assert there.model_digest == here.model_digest
    assert there.formats == ("skops", "onnx")
    assert there.uri != here.uri


class TestOnnx:
    """The ONNX form is published only when it answers as the native one does."""

    def test_one_input_per_column_where_there_is_text(self, fitted: dict[str, object]) -> None:
        features, _ = mixed()
        model = inspection.inspect(fitted["pipeline"], features, CODE)
        converted = convert.convert(model, features)
        assert converted.content is not None, converted.report
        session = graphs.session(converted.content)
        kinds = {node.name: (node.type, node.shape[1]) for node in session.get_inputs()}
        assert len(kinds) == 5
        assert kinds["kind"] == ("tensor(string)", 1)
        assert [node.name for node in session.get_outputs()] == ["label", "probabilities"]
        fed = graphs.feed(model.columns, features, session.get_inputs())
        assert session.run(["label"], fed)[0].tolist() == model.predict(features).tolist()

    def test_a_regressor_has_one_output(self) -> None:
        data = load_diabetes(as_frame=True)
        estimator = HistGradientBoostingRegressor(max_iter=5, random_state=0).fit(data.data, data.target)
        converted = convert.convert(inspection.inspect(estimator, data.data, CODE), data.data)
        assert converted.report.passed, converted.report
        assert converted.content is not None
        assert [node.name for node in graphs.session(converted.content).get_outputs()] == ["value"]

    def test_a_difference_keeps_it_out_and_is_reported(self, fitted: dict[str, object]) -> None:
        features, _ = mixed()
        estimator = fitted["neighbours"]  # ties between neighbours fall otherwise in single precision
        numbers = features.drop(columns="kind")
        converted = convert.convert(inspection.inspect(estimator, numbers, CODE), numbers)
        assert converted.content is None
        assert not converted.report.passed
        assert "probabilities differ by up to 0.2" in converted.report.reason

    def test_what_has_no_converter_is_no_failure(self, trainer: Trainer) -> None:
        trained = trainer(training_code.NO_CONVERTER)
        assert (trained.exit_code, trained.result.formats) == (0, ("skops",))
        assert "MissingShapeCalculator" in (trained.result.onnx or "")
        report = trained.open().manifest.onnx_parity
        assert report is not None
        assert not report.passed
