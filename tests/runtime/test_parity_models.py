"""Verified means: the ONNX form answers as the native one does, where converters are known to lie and in between."""

import itertools
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_breast_cancer, load_iris
from sklearn.decomposition import PCA
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    IsolationForest,
    RandomForestClassifier,
)
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import BernoulliNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    Binarizer,
    OneHotEncoder,
    OrdinalEncoder,
    PolynomialFeatures,
    PowerTransformer,
    StandardScaler,
    TargetEncoder,
)
from sklearn.svm import SVC

from tidemill_contracts.artifact import ParityReport
from tidemill_runtime.frameworks.onnx.served_model import OnnxModel
from tidemill_runtime.frameworks.scikit_learn.native_model import NativeModel
from tidemill_runtime.model.frame import Frame, Schema
from tidemill_runtime.parity.compare import Refused, difference, outcome
from tidemill_runtime.trainer.model import inspection
from tidemill_runtime.trainer.package import native, verification

RANDOM = np.random.default_rng(7)


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Converters and small data warn."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Checks ask every model as few rows as a large one: what these tests need is found among 4,000 as well."""
    monkeypatch.setattr(verification, "_LARGE", 1)


class Forms:
    """Both forms of a fitted model, as the trainer makes and a server loads them."""

    def __init__(self, estimator: Any, rows: pd.DataFrame, folder: Path) -> None:
        model = inspection.inspect(estimator, rows, Path("/code"))
        held_out = rows.head(20)
        form = native.dump(estimator, allow_pickle=False)
        verified = verification.verify(form, model, inspection.signature(model, rows), rows, held_out)
        assert verified.converted is not None
        self.batching = verified.batching
        self.content = verified.converted.content
        self.schema = Schema(verified.signature)
        self.report: ParityReport = verified.converted.report
        self.estimator = estimator
        manifest = verification.manifest(model, verified.signature)
        self.native = NativeModel(native.load(form), self.schema, manifest)
        self.onnx: OnnxModel | None = None
        if self.content is not None:
            path = folder / "model.onnx"
            path.write_bytes(self.content)
            self.onnx = OnnxModel(path, self.schema, manifest, threads=1)

    def differ(self, columns: list[Any]) -> str | None:
        """Return how the forms differ on rows, each of them alone and all together."""
        assert self.onnx is not None
        whole = Frame(self.schema, len(columns[0]), arrays=columns)
        for frame in (whole, *(whole.part(i, i + 1) for i in range(min(20, whole.rows)))):
            wanted, given = outcome(self.native, frame), outcome(self.onnx, frame)
            if isinstance(wanted, Refused) and frame is whole and isinstance(given, Refused):
                continue
            found = difference(wanted, given, [1.0], ("natively", "by ONNX"))
            if found is not None:
                return found[1]
        return None


def with_nulls(rows: int, share: float) -> pd.DataFrame:
    values = RANDOM.normal(size=(rows, 4))
    values[RANDOM.random(values.shape) < share] = np.nan
    return pd.DataFrame(values, columns=list("abcd"))


@pytest.mark.parametrize("settings", [{}, {"max_features": 0.5, "contamination": 0.05}])
def test_isolation_forests_answer_nulls_in_onnx_as_they_do_natively(settings: dict[str, Any], tmp_path: Path) -> None:
    rows = with_nulls(201, 0.2 if settings else 0.0)
    forms = Forms(_forest(settings).fit(rows), rows, tmp_path)
    assert forms.report.passed, forms.report
    asked = with_nulls(400, 0.4).to_numpy()
    assert forms.differ(list(asked.T)) is None
    assert forms.onnx is not None
    found = forms.onnx.predict(Frame(forms.schema, 400, matrix=asked))
    assert found.prediction.tolist() == forms.estimator.predict(pd.DataFrame(asked, columns=list("abcd"))).tolist()


def _forest(settings: dict[str, Any]) -> Any:
    return IsolationForest(n_estimators=10, random_state=0, **settings)


IRIS = load_iris(as_frame=True)
CANCER = load_breast_cancer(as_frame=True)
BOOSTING = HistGradientBoostingClassifier(max_iter=5, random_state=0)


@pytest.mark.parametrize(("degree", "settings"), [(2, {}), (3, {"interaction_only": True, "include_bias": False})])
def test_products_before_boosting_keep_their_last_bit(degree: int, settings: dict[str, Any], tmp_path: Path) -> None:
    model = make_pipeline(PolynomialFeatures(degree, **settings), BOOSTING).fit(IRIS.data, IRIS.target)
    forms = Forms(model, IRIS.data, tmp_path)
    assert forms.report.passed, forms.report
    asked = IRIS.data.to_numpy(copy=True)
    assert forms.differ(list(asked.T)) is None
    assert forms.differ(list(asked.astype(np.float32).astype(float).T)) is None


@pytest.mark.parametrize("steps", [(PowerTransformer(),), (StandardScaler(), PCA(5))])
def test_steps_that_no_graph_repeats_to_the_last_bit_leave_boosting_native(steps: Any, tmp_path: Path) -> None:
    rows = CANCER.data.iloc[:, :8]
    forms = Forms(make_pipeline(*steps, BOOSTING).fit(rows, CANCER.target), rows, tmp_path)
    assert not forms.report.passed
    assert forms.content is None
    assert forms.report.reason


def identifiers(first: int, width: int = 12) -> tuple[pd.DataFrame, Any]:
    numbers = first + RANDOM.integers(0, width, 120)
    return pd.DataFrame({"id": numbers, "x": RANDOM.normal(size=120)}), numbers % 2


ENCODERS = {
    "one-hot": OneHotEncoder(handle_unknown="ignore"),
    "one-hot that refuses": OneHotEncoder(),
    "one-hot without the first": OneHotEncoder(handle_unknown="ignore", drop="first"),
    "ordinal": OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1),
    "ordinal that refuses": OrdinalEncoder(),
    "target": TargetEncoder(),
}


@pytest.mark.parametrize(("name", "first"), [*((name, 2**24 - 5) for name in ENCODERS), ("ordinal", 2**31)])
def test_every_whole_number_is_its_own_category(name: str, first: int, tmp_path: Path) -> None:
    rows, target = identifiers(first)
    columns = ColumnTransformer([("encode", ENCODERS[name], ["id"]), ("scale", StandardScaler(), ["x"])])
    forms = Forms(make_pipeline(columns, LogisticRegression()).fit(rows, target), rows, tmp_path)
    if name != "target":
        assert forms.report.passed, forms.report
    if forms.onnx is None:
        assert forms.report.reason
        return
    near = np.arange(first - 3, first + 16)
    assert forms.differ([near, np.zeros(len(near))]) is None
    assert forms.differ([near + 0.5, np.zeros(len(near))]) is None
    known = near[3:15]
    wanted = forms.estimator.predict(pd.DataFrame({"id": known, "x": 0.0}))
    found = forms.onnx.predict(Frame(forms.schema, len(known), arrays=[known, np.zeros(len(known))]))
    assert found.prediction.tolist() == wanted.tolist()


def test_a_label_does_not_hide_that_an_encoder_takes_a_number_for_its_neighbour(tmp_path: Path) -> None:
    """No probabilities, and few rows at the border: the check would have to meet one of them."""
    random = np.random.default_rng(5)
    rows = pd.DataFrame({"id": 2**24 - 6 + random.integers(0, 12, 120), "x": random.normal(size=120)})
    columns = ColumnTransformer([("encode", TargetEncoder(random_state=0), ["id"]), ("scale", StandardScaler(), ["x"])])
    model = make_pipeline(columns, SVC()).fit(rows, rows["x"] > 0.0)
    forms = Forms(model, rows, tmp_path)
    assert forms.onnx is None
    assert forms.report.rows == 0, "no graph in single precision is tried"
    assert "TargetEncoder" in forms.report.reason
    small = rows.assign(id=rows["id"] - 2**24)
    assert Forms(model.fit(small, rows["x"] > 0.0), small, tmp_path).onnx is not None


@pytest.mark.parametrize(
    "model",
    [
        make_pipeline(Binarizer(threshold=1_715_000_000), LogisticRegression()),
        BernoulliNB(binarize=1_715_000_000.0),
        make_pipeline(StandardScaler(), Binarizer(threshold=0.1), LogisticRegression()),
    ],
)
def test_thresholds_outside_of_trees_are_kept(model: Any, tmp_path: Path) -> None:
    seconds = 1_715_000_000 + RANDOM.integers(-300, 300, 300)
    rows = pd.DataFrame({"at": seconds, "x": RANDOM.normal(size=300)})
    forms = Forms(model.fit(rows, seconds > 1_715_000_000), rows, tmp_path)
    assert forms.report.passed, forms.report
    at = 1_715_000_000 + np.arange(-70, 70)
    assert forms.differ([at, np.full(140, 0.1)]) is None
    beside = [np.nextafter(0.1, 0), 0.1, np.nextafter(0.1, 1), float(np.float32(0.1))]
    assert forms.differ([np.full(4, 1_715_000_001), np.array(beside)]) is None


def test_both_forms_refuse_what_the_estimator_refuses(tmp_path: Path) -> None:
    """skl2onnx writes Box-Cox without its check of what is not positive; the signature has it."""
    rows = pd.DataFrame(RANDOM.random((80, 2)) + 0.1, columns=["a", "b"])
    model = make_pipeline(PowerTransformer("box-cox"), LogisticRegression()).fit(rows, rows["a"] > 0.6)
    forms = Forms(model, rows, tmp_path)
    assert forms.report.passed, forms.report
    assert forms.onnx is not None
    frame = Frame(forms.schema, 1, matrix=np.array([[-1.0, 0.5]]))
    assert outcome(forms.native, frame) == outcome(forms.onnx, frame) == Refused(400)


STEPS = {"none": None, "scaled": StandardScaler(), "products": PolynomialFeatures(2), "components": PCA(2)}
LAST = {
    "logistic": LogisticRegression(),
    "forest": RandomForestClassifier(8, random_state=0),
    "boosting": HistGradientBoostingClassifier(max_iter=8, random_state=0),
    "bernoulli": BernoulliNB(binarize=0.2),
}


@pytest.mark.parametrize(("step", "last"), list(itertools.product(STEPS, LAST))[::2])
def test_what_is_verified_answers_as_scikit_learn_does(step: str, last: str, tmp_path: Path) -> None:
    rows = pd.DataFrame(np.round(RANDOM.normal(size=(80, 3)), 1), columns=["a", "b", "c"])
    model = make_pipeline(*([STEPS[step]] if STEPS[step] is not None else []), LAST[last])
    forms = Forms(model.fit(rows, rows["a"] * rows["b"] > 0.1), rows, tmp_path)
    if (step, last) in {("none", "logistic"), ("none", "boosting"), ("scaled", "logistic"), ("scaled", "boosting")}:
        assert forms.report.passed, forms.report
    if forms.onnx is None:
        assert forms.report.reason
        return
    asked = np.concatenate([np.round(RANDOM.normal(size=(300, 3)), 1), rows.to_numpy(), np.zeros((1, 3))])
    assert forms.differ(list(asked.T)) is None
    frame = Frame(forms.schema, len(asked), matrix=asked)
    wanted = model.predict(pd.DataFrame(asked, columns=["a", "b", "c"]))
    assert forms.onnx.predict(frame).prediction.tolist() == wanted.tolist()


def test_answers_that_depend_on_the_batch_are_found(tmp_path: Path) -> None:
    model = make_pipeline(StandardScaler(), PCA(5), HistGradientBoostingClassifier(max_iter=25, random_state=0))
    assert Forms(model.fit(CANCER.data, CANCER.target), CANCER.data, tmp_path).batching is False


@pytest.mark.parametrize("model", [BOOSTING, LogisticRegression()])
def test_answers_that_do_not_depend_on_the_batch_are_left_to_batching(model: Any, tmp_path: Path) -> None:
    assert Forms(model.fit(IRIS.data, IRIS.target), IRIS.data, tmp_path).batching is True
