"""Every estimator of scikit-learn, with every option that its own constraints name, is stored without pickle."""

import json
import warnings
import zipfile
from collections.abc import Iterator
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.base import clone
from sklearn.cluster import Birch
from sklearn.compose import ColumnTransformer, make_column_selector
from sklearn.decomposition import SparseCoder
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor, VotingClassifier
from sklearn.experimental import enable_halving_search_cv, enable_iterative_imputer  # noqa: F401
from sklearn.frozen import FrozenEstimator
from sklearn.impute import IterativeImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics.pairwise import PAIRWISE_KERNEL_FUNCTIONS, rbf_kernel
from sklearn.model_selection import HalvingGridSearchCV, HalvingRandomSearchCV, RandomizedSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import SVC
from sklearn.utils import all_estimators
from sklearn.utils._param_validation import Options
from sklearn.utils._test_common.instance_generator import _construct_instances
from skops import io as skops_io
from threadpoolctl import threadpool_limits

from tidemill_runtime.frameworks import FRAMEWORKS
from tidemill_runtime.frameworks.scikit_learn import native_model, skops_archives
from tidemill_runtime.frameworks.scikit_learn.skops_types import is_vetted
from tidemill_runtime.model.errors import StartError
from tidemill_runtime.trainer.errors import RunError
from tidemill_runtime.trainer.package import native

KINDS = dict(all_estimators())  # looking for them takes a while
NAMES = sorted(KINDS)
X = np.round(np.abs(np.random.default_rng(0).normal(size=(40, 4))) + 0.1, 2)
LABELS, VALUES = np.arange(40) % 2, X[:, 0] * 2 + 1
CATEGORIES = np.c_[X[:, :2], np.arange(40) % 3, np.arange(40) % 2]
BESIDE_ANSWERS = {"verbose", "n_jobs", "copy", "copy_X", "copy_x", "memory"}
SHARED = {"scoring", "metric", "affinity", "kernel", "pairwise_metric"}  # long lists that many estimators share
SMALL = {"random_state": 0, "max_iter": 5, "n_estimators": 2, "Cs": 2, "n_alphas": 3, "alphas": 3}
SEEN: set[tuple[str, str]] = set()
ARRAYS: dict[str, list[dict[str, Any]]] = {  # documented, but no constraint names a value
    "HistGradientBoostingClassifier": [{"categorical_features": [2, 3]}, {"monotonic_cst": [1, 0, -1, 0]}],
    "HistGradientBoostingRegressor": [{"categorical_features": [False, False, True, True]}],
    "LogisticRegression": [{"class_weight": {0: 1.0, 1: 2.0}}],
    "RandomForestClassifier": [{"monotonic_cst": [1, 0, 0, 0]}, {"max_samples": 0.5}],
    "OneHotEncoder": [{"categories": [list(map(float, np.unique(column))) for column in X.T]}],
    "GaussianNB": [{"priors": [0.4, 0.6]}],
    "KNeighborsClassifier": [{"metric_params": {"p": 3}, "metric": "minkowski"}],
    "ColumnTransformer": [{"remainder": "passthrough"}],
}


def options(estimator: Any) -> Iterator[dict[str, Any]]:
    """Yield one option at a time, with the values that its constraint names."""
    name = type(estimator).__name__
    yield {}
    if name == "FrozenEstimator":
        return
    for parameter, constraints in getattr(estimator, "_parameter_constraints", {}).items():
        if parameter in BESIDE_ANSWERS or not isinstance(constraints, list):
            continue
        for constraint in constraints:
            values: list[Any] = []
            if isinstance(constraint, Options):
                values = sorted(constraint.options, key=str)
            elif isinstance(constraint, str):
                named = {"boolean": [True, False], "random_state": [0], "cv_object": [2], "missing_values": [np.nan]}
                values = named.get(constraint, [])
            elif constraint is None:
                values = [None]
            for value in values:
                is_seen = parameter in SHARED and (parameter, str(value)) in SEEN
                if not is_seen and str(value) != str(getattr(estimator, parameter, None)):
                    yield {parameter: value}
    yield from ARRAYS.get(name, [])


def data(estimator: Any) -> tuple[Any, ...]:
    """Return what an estimator is fitted on, by its tags and, where those say nothing, by its name."""
    name, tags = type(estimator).__name__, estimator.__sklearn_tags__()
    if name in ("LabelBinarizer", "LabelEncoder"):
        return (LABELS,)
    if name == "MultiLabelBinarizer":
        return ([(1, 2), (2, 3)] * 20,)
    if name in ("CountVectorizer", "TfidfVectorizer", "HashingVectorizer"):
        return (["one two three", "two three four"] * 20,)
    if name == "DictVectorizer" or (name == "FeatureHasher" and estimator.input_type == "dict"):
        return ([{"a": 1.0, "b": float(i)} for i in range(40)],)
    if name == "FeatureHasher":
        return ([[("a", 1.0)] if estimator.input_type == "pair" else ["a", "b"]] * 40,)
    if name == "KernelCenterer":
        return (X @ X.T,)
    if name == "PatchExtractor":
        return (np.ones((3, 20, 20)),)
    if name == "IsotonicRegression":
        return X[:, 0], VALUES
    features = CATEGORIES if "categorical_features" in estimator.get_params() else X
    if name.startswith("MultiTask") or name in ("MultiOutputRegressor", "RegressorChain"):
        return features.copy(), np.c_[VALUES, VALUES + 1]
    if name in ("MultiOutputClassifier", "ClassifierChain"):
        return features.copy(), np.c_[LABELS, 1 - LABELS]
    return features.copy(), VALUES if tags.estimator_type == "regressor" else LABELS


def instance(name: str) -> Any:
    if name == "FrozenEstimator":
        return FrozenEstimator(LogisticRegression().fit(X, LABELS))
    if name == "SparseCoder":
        return SparseCoder(np.eye(4))
    found = next(iter(_construct_instances(KINDS[name])))
    given = found.get_params(deep=False)
    changes = {parameter: value for parameter, value in SMALL.items() if parameter in given}
    if name == "TSNE":
        del changes["max_iter"]  # takes 250 at least
    if name in ("FeatureHasher", "HashingVectorizer"):
        changes["n_features"] = 16
    return found.set_params(**changes)


def answers(estimator: Any, given: Any) -> Any:
    """Return what a model answers, None where it only learns (embeddings, clusterings of what they saw)."""
    for method in ("predict", "transform"):
        if hasattr(estimator, method):
            found = getattr(estimator, method)(given)
            return found.toarray() if hasattr(found, "toarray") else found
    return None


def check(estimator: Any, given: Any) -> None:
    form = native.dump(estimator, allow_pickle=False, framework=FRAMEWORKS["scikit_learn"])
    assert form.form == "skops"
    loaded = native.load(form)
    expected, found = answers(estimator, given), answers(loaded, given)
    if isinstance(expected, np.ndarray) and expected.dtype.kind == "f":
        np.testing.assert_allclose(found, expected, rtol=1e-7, atol=1e-9)  # arrays may lie otherwise in memory
    elif expected is not None:
        assert np.array_equal(np.asarray(found, dtype=object), np.asarray(expected, dtype=object))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.filterwarnings("ignore")
def test_an_estimator_is_stored_with_each_of_its_options(name: str) -> None:
    base = instance(name)
    stored = 0
    with threadpool_limits(1):
        for option in options(base):
            estimator = clone(base).set_params(**option) if option else base
            try:
                given = data(estimator)
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    estimator.fit(*given)
                    answers(estimator, given[0])
            except (ValueError, TypeError, LookupError, AttributeError, OSError, RuntimeError):
                continue  # no model: the option goes with others, or other data
            check(estimator, given[0])
            stored += 1
            SEEN.update((parameter, str(value)) for parameter, value in option.items() if parameter in SHARED)
    assert stored, f"{name} was never fitted"


@pytest.mark.parametrize("kind", [HistGradientBoostingClassifier, HistGradientBoostingRegressor])
def test_boosting_with_categorical_columns_is_stored(kind: Any) -> None:
    model = kind(categorical_features=[2, 3], max_iter=3).fit(CATEGORIES, LABELS)
    check(model, CATEGORIES)
    twice = VotingClassifier([(n, HistGradientBoostingClassifier(categorical_features=[2], max_iter=2)) for n in "ab"])
    check(twice.fit(CATEGORIES, LABELS), CATEGORIES)  # the function is one object, named once and referred to once


@pytest.mark.parametrize("kind", [IterativeImputer, HalvingGridSearchCV, HalvingRandomSearchCV])
def test_what_scikit_learn_calls_experimental_is_vetted_by_name(kind: Any) -> None:
    """skops knows these only where they were enabled before it was imported, which a server never does."""
    assert kind.__name__ in NAMES
    assert is_vetted(f"{kind.__module__}.{kind.__name__}")


@pytest.mark.parametrize(
    "dtype", [np.number, [np.number], np.floating, "number", [np.float64, np.integer], object], ids=str
)
def test_a_selection_by_kind_of_column_is_stored(dtype: Any) -> None:
    rows = pd.DataFrame({"a": X[:, 0], "b": X[:, 1]})
    chosen = {"dtype_exclude": dtype} if dtype is object else {"dtype_include": dtype}
    model = ColumnTransformer([("scaled", StandardScaler(), make_column_selector(**chosen))])
    check(model.fit(rows), rows)


@pytest.mark.parametrize(
    "drawn",
    [
        {"C": stats.loguniform(0.01, 1), "max_iter": stats.randint(50, 60)},
        [{"C": stats.uniform(loc=0.1, scale=1)}, {"C": [0.5, 1.0]}],
    ],
)
@pytest.mark.parametrize("search", [RandomizedSearchCV, HalvingRandomSearchCV])
def test_a_search_is_stored_with_its_distributions_as_text(drawn: Any, search: Any) -> None:
    """scipy's distributions run text of theirs as code when they are made again."""
    changes = {"n_iter": 2} if search is RandomizedSearchCV else {"n_candidates": 2}
    model = search(LogisticRegression(), drawn, cv=2, random_state=0, **changes).fit(X, LABELS)
    check(make_pipeline(StandardScaler(), model).fit(X, LABELS), X)
    assert model.param_distributions is drawn
    stored = native.load(native.dump(model, allow_pickle=False)).param_distributions
    first = stored["C"] if isinstance(stored, dict) else stored[0]["C"]
    assert first in ("loguniform(0.01, 1)", "uniform(loc=0.1, scale=1)")
    assert not is_vetted("scipy.stats._distn_infrastructure.rv_continuous_frozen")


@pytest.mark.parametrize("kernel", sorted({f.__name__ for f in PAIRWISE_KERNEL_FUNCTIONS.values()}))
def test_a_kernel_may_be_one_of_scikit_learns_functions(kernel: str) -> None:
    function = next(f for f in PAIRWISE_KERNEL_FUNCTIONS.values() if f.__name__ == kernel)
    assert is_vetted(f"{function.__module__}.{function.__name__}")


def test_a_machine_that_compares_with_the_rows_of_a_frame_is_stored() -> None:
    rows = pd.DataFrame(X, columns=list("abcd"))
    model = SVC(kernel=rbf_kernel).fit(rows, LABELS)
    check(model, rows)
    check(SVC(kernel=rbf_kernel).fit(X, LABELS), X)
    with pytest.raises(RunError, match=r"functools\.partial of sklearn\.metrics\.pairwise\.rbf_kernel"):
        native.dump(SVC(kernel=partial(rbf_kernel, gamma=0.1)).fit(rows, LABELS), allow_pickle=False)


def test_what_is_advised_in_place_of_a_partial_is_stored() -> None:
    with pytest.raises(RunError, match=r"with kw_args instead of functools\.partial"):
        native.dump(FunctionTransformer(partial(np.clip, a_min=0, a_max=1)), allow_pickle=False)
    check(FunctionTransformer(np.clip, kw_args={"a_min": 0, "a_max": 1}).fit(X), X)


def test_birch_is_as_before_after_it_was_stored() -> None:
    model = Birch(n_clusters=2, threshold=0.1).fit(X)
    root = model.root_
    native.dump(model, allow_pickle=False)
    assert model.root_ is root
    model.partial_fit(X)


@pytest.mark.parametrize("function", [partial(joblib.load), partial(np.exp), partial(np.clip, 1), partial(is_vetted)])
def test_a_partial_is_stored_only_around_listed_functions(function: Any, tmp_path: Path) -> None:
    model = FunctionTransformer(function)
    with pytest.raises(RunError, match=r"servers do not load: .*functools\.partial of "):
        native.dump(model, allow_pickle=False)
    path = tmp_path / "model.skops"
    skops_io.dump(model, path)
    with pytest.raises(StartError, match=r"FormatUnsupported: model\.skops holds types .*functools\.partial of "):
        native_model.load_skops(path)


def test_a_partial_that_pretends_is_looked_at_as_it_would_be_made(tmp_path: Path) -> None:
    """An id that was given before means the earlier object, whatever is written beside it."""
    model = HistGradientBoostingClassifier(categorical_features=[2], max_iter=2).fit(CATEGORIES, LABELS)
    archive = zipfile.ZipFile(BytesIO(native.dump(model, allow_pickle=False).content))
    schema = json.loads(archive.read("schema.json"))
    evil = {"__class__": "system", "__module__": "os", "__loader__": "FunctionNode", "__id__": 990001}
    changed = json.loads(json.dumps(schema), object_hook=lambda node: _renamed(node, 990001))
    assert changed != schema
    changed["content"]["content"] = {"aaa": evil, **changed["content"]["content"]}
    changed["content"]["key_types"]["content"].insert(0, changed["content"]["key_types"]["content"][0])
    path = tmp_path / "model.skops"
    with zipfile.ZipFile(path, "w") as target:
        for name in archive.namelist():
            target.writestr(name, archive.read(name) if name != "schema.json" else json.dumps(changed))
    with pytest.raises(StartError, match=r"os\.system, functools\.partial of os\.system"):
        native_model.load_skops(path)


def _renamed(node: dict[str, Any], number: int) -> dict[str, Any]:
    return {**node, "__id__": number} if node.get("__class__") == "check_array" else node


@pytest.mark.parametrize(
    "name",
    [
        *("sklearn.metrics._scorer.partial", "sklearn.metrics._dist_metrics.PyFuncDistance64", "scipy.sparse.load_npz"),
        *(
            "sklearn.model_selection._split.train_test_split",
            "sklearn.gaussian_process.kernels.signature",
            "scipy.sparse",
        ),
        *("sklearn.utils.validation.check_X_y", "sklearn._loss.loss.np", "sklearn.metrics._scorer.get_scorer"),
    ],
)
def test_a_module_is_never_trusted_as_a_whole(name: str) -> None:
    assert not is_vetted(name)


def test_judging_constructs_nothing() -> None:
    content = BytesIO(skops_io.dumps(FunctionTransformer(joblib.load)))
    assert skops_archives.judged(content) == (["joblib.numpy_pickle.load"], ["joblib.numpy_pickle.load"])
