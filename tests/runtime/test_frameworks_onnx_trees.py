"""Models of trees answer in ONNX what scikit-learn answers: at thresholds, for votes that tie, behind other steps."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_wine
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.impute import SimpleImputer
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor
from tests.runtime.conftest import Trainer

from tidemill_contracts.inference import ServerConfig
from tidemill_runtime.frameworks.onnx import graphs
from tidemill_runtime.frameworks.scikit_learn.onnx_form import convert, tree_ensembles
from tidemill_runtime.loading import warm_up
from tidemill_runtime.server.protocol import v1, v2
from tidemill_runtime.trainer.model import inspection

CODE = Path("/code")
TABLES = {"breast-cancer": load_breast_cancer, "wine": load_wine, "digits": load_digits, "diabetes": load_diabetes}
FOREST = """
from sklearn.ensemble import RandomForestClassifier

def train(data, target, *, seed: int = 0):
    return RandomForestClassifier(40, random_state=seed).fit(data, target)
"""


def parts(name: str, seed: int) -> tuple[Any, Any, Any]:
    table = TABLES[name](as_frame=True)
    training, held_out, target, _ = train_test_split(table.data, table.target, test_size=0.5, random_state=seed)
    return training, held_out, target


def converted(estimator: Any, rows: pd.DataFrame) -> tuple[inspection.Model, Any]:
    """Return a model and a session of its ONNX form, which takes doubles and passed the check."""
    model = inspection.inspect(estimator, rows, CODE)
    found = convert.convert(model, rows)
    assert found.report.passed, found.report
    session = graphs.session(found.content or b"")
    assert {node.type for node in session.get_inputs()} <= {"tensor(double)", "tensor(string)"}
    return model, session


def answers(model: inspection.Model, session: Any, rows: pd.DataFrame) -> list[Any]:
    found: list[Any] = session.run(None, graphs.feed(model.columns, rows, session.get_inputs()))
    return found


def assert_same(model: inspection.Model, session: Any, rows: pd.DataFrame) -> None:
    found = answers(model, session, rows)
    if model.classes is None:
        np.testing.assert_allclose(np.squeeze(found[0]), model.predict(rows), rtol=5e-7)
        return
    assert found[0].tolist() == model.predict(rows).tolist()
    probabilities = model.probabilities(rows)
    assert probabilities is not None
    np.testing.assert_allclose(found[1], probabilities, atol=3e-7)


def at_thresholds(estimator: Any, rows: pd.DataFrame, count: int) -> pd.DataFrame:
    """Return rows whose values are thresholds of the model, and the doubles that round to either side of them."""
    random = np.random.default_rng(0)
    values = rows.to_numpy(dtype=float, copy=True)[random.integers(0, len(rows), count)]
    for number in range(rows.shape[1]):
        known = thresholds_of(estimator, number)
        if not len(known):
            continue
        single = known.astype(np.float32)
        beside = np.nextafter(single, np.float32(np.inf)), np.nextafter(single, np.float32(-np.inf))
        middles = [(single.astype(float) + other.astype(float)) / 2 for other in beside]
        near = [*(np.nextafter(m, np.inf) for m in middles), *(np.nextafter(m, -np.inf) for m in middles)]
        pool = np.concatenate([known, single, *beside, *middles, *near])
        chosen = random.random(count) < 0.5
        values[chosen, number] = random.choice(pool, chosen.sum())
    return pd.DataFrame(values, columns=rows.columns)


def thresholds_of(estimator: Any, feature: int) -> Any:
    if hasattr(estimator, "_predictors"):
        nodes = np.concatenate([tree.nodes for stage in estimator._predictors for tree in stage])
        return nodes["num_threshold"][(nodes["is_leaf"] == 0) & (nodes["feature_idx"] == feature)]
    trees = [part.tree_ for part in np.ravel(getattr(estimator, "estimators_", [estimator]))]
    return np.concatenate([tree.threshold[tree.feature == feature] for tree in trees])


def test_doubles_are_divided_as_their_single_precision_is() -> None:
    random = np.random.default_rng(0)
    thresholds = np.concatenate([random.normal(size=4000) * 10.0 ** random.integers(-30, 30, 4000), [0.0, -0.0, 1.0]])
    thresholds[::3] = thresholds[::3].astype(np.float32)
    limits = tree_ensembles.doubles(thresholds)
    single = thresholds.astype(np.float32)
    for step in (-np.inf, np.inf):
        beside = np.nextafter(single, np.float32(step)).astype(float)
        middle = (beside + single.astype(float)) / 2
        for values in (thresholds, limits, single.astype(float), beside, middle, np.nextafter(limits, step)):
            for value in (values, np.nextafter(values, np.inf), np.nextafter(values, -np.inf)):
                wanted = value.astype(np.float32).astype(float) <= thresholds
                assert ((value <= limits) == wanted).all()


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("table", ["breast-cancer", "wine", "digits"])
@pytest.mark.parametrize(
    "estimator",
    [
        RandomForestClassifier(24),
        RandomForestClassifier(25, min_samples_leaf=4),
        RandomForestClassifier(10, max_depth=2, class_weight="balanced"),
        ExtraTreesClassifier(24),
        DecisionTreeClassifier(),
        DecisionTreeClassifier(max_depth=1),
        GradientBoostingClassifier(n_estimators=4),
        HistGradientBoostingClassifier(max_iter=4),
    ],
    ids=repr,
)
def test_classifiers(estimator: Any, table: str, seed: int) -> None:
    training, held_out, target = parts(table, seed)
    estimator.set_params(random_state=seed).fit(training, target)
    model, session = converted(estimator, held_out)
    assert_same(model, session, held_out)
    assert_same(model, session, at_thresholds(estimator, held_out, 300))


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize(
    "estimator",
    [
        RandomForestRegressor(20),
        ExtraTreesRegressor(20, min_samples_leaf=3),
        DecisionTreeRegressor(max_depth=5),
        GradientBoostingRegressor(n_estimators=20, loss="huber"),
        HistGradientBoostingRegressor(max_iter=20),
        HistGradientBoostingRegressor(max_iter=20, loss="poisson"),
    ],
    ids=repr,
)
def test_regressors(estimator: Any, seed: int) -> None:
    training, held_out, target = parts("diabetes", seed)
    estimator.set_params(random_state=seed).fit(training, target)
    model, session = converted(estimator, held_out)
    assert_same(model, session, held_out)
    assert_same(model, session, at_thresholds(estimator, held_out, 300))


def test_of_a_tie_the_first_class_wins_as_in_scikit_learn() -> None:
    tied = 0
    for seed in range(6):
        training, held_out, target = parts("breast-cancer", seed)
        forest = RandomForestClassifier(10, max_features=1, random_state=seed).fit(training, target)
        model, session = converted(forest, held_out)
        assert_same(model, session, held_out)
        tied += int((forest.predict_proba(held_out)[:, 0] == 0.5).sum())
    assert tied > 10


@pytest.mark.parametrize("name", ["exponential", "text labels", "booleans", "several values", "one class in no leaf"])
def test_other_shapes_of_answers(name: str) -> None:
    training, held_out, target = parts("breast-cancer", 0)
    estimator: Any = RandomForestClassifier(9, random_state=0)
    truth: Any = target
    if name == "exponential":
        estimator = GradientBoostingClassifier(loss="exponential", n_estimators=9)
    elif name == "text labels":
        truth = target.map({0: "böse", 1: "gut"})
    elif name == "booleans":
        truth = target.astype(bool)
    elif name == "several values":
        estimator, truth = RandomForestRegressor(9, random_state=0), np.column_stack([target, 3 * target + 1])
    else:
        estimator, truth = DecisionTreeClassifier(max_depth=1), target.where(target.index != target.index[0], 7)
    estimator.fit(training, truth)
    model, session = converted(estimator, held_out)
    assert_same(model, session, held_out)


@pytest.mark.parametrize(
    "estimator", [RandomForestClassifier(15), HistGradientBoostingClassifier(max_iter=5)], ids=repr
)
def test_missing_values_go_where_they_went_at_training(estimator: Any) -> None:
    training, held_out, target = parts("breast-cancer", 0)
    random = np.random.default_rng(0)
    estimator.set_params(random_state=0).fit(training.mask(random.random(training.shape) < 0.2), target)
    gaps = held_out.mask(random.random(held_out.shape) < 0.3)
    model, session = converted(estimator, gaps)
    assert_same(model, session, gaps)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize(
    "estimator",
    [
        RandomForestClassifier(20),
        ExtraTreesClassifier(20),
        GradientBoostingClassifier(n_estimators=5),
        HistGradientBoostingClassifier(max_iter=5),
    ],
    ids=repr,
)
def test_trees_behind_other_steps(estimator: Any, seed: int) -> None:
    training, held_out, target = parts("breast-cancer", seed)
    random = np.random.default_rng(seed)
    for part in (training, held_out):
        part["plan"] = pd.Series(random.choice(["basic", "größe"], len(part)), index=part.index, dtype="str")
        part["tenure"] = random.integers(0, 9, len(part))
        part.loc[random.random(len(part)) < 0.1, "mean radius"] = np.nan
    numbers = [name for name in training.columns if name != "plan"]
    encoder = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    columns = ColumnTransformer(
        [("numbers", make_pipeline(SimpleImputer(), StandardScaler()), numbers), ("text", encoder, ["plan"])]
    )
    pipeline = make_pipeline(columns, estimator.set_params(random_state=seed)).fit(training, target)
    model, session = converted(pipeline, held_out)
    assert_same(model, session, held_out)


def test_a_difference_is_still_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The check does not know how a graph was made: one whose branches are moved a little is not published."""
    training, held_out, target = parts("breast-cancer", 0)
    forest = RandomForestClassifier(20, random_state=0).fit(training, target)
    monkeypatch.setattr(tree_ensembles, "doubles", lambda thresholds: thresholds * 1.01)
    found = convert.convert(inspection.inspect(forest, held_out, CODE), held_out)
    assert found.content is None
    assert "differ" in found.report.reason


def test_the_converters_of_others_are_left_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ours are given with one call: nothing is registered for the process, also not meanwhile."""
    from skl2onnx.common import _registration

    def converter(*_: Any) -> None:
        assert _registration._converter_pool == before
        raise ZeroDivisionError

    before = dict(_registration._converter_pool)
    training, held_out, target = parts("breast-cancer", 0)
    model = inspection.inspect(RandomForestClassifier(2, random_state=0).fit(training, target), held_out, CODE)
    monkeypatch.setattr(tree_ensembles, "converters", lambda exact: {RandomForestClassifier: converter})
    with pytest.raises(ZeroDivisionError):
        convert._convert(model, held_out, convert._Plan(by_column=False, precision=convert.Precision.TREES))


def test_histogram_boosting_has_a_form_in_single_precision_too() -> None:
    """As part of a model that others of ours cannot write; skl2onnx's own converter of it fails."""
    training, held_out, target = parts("breast-cancer", 0)
    fitted = HistGradientBoostingClassifier(max_iter=5, random_state=0).fit(training, target)
    model = inspection.inspect(fitted, held_out, CODE)
    content = convert._convert(model, held_out, convert._Plan(by_column=False, precision=convert.Precision.SINGLE))
    assert graphs.compared(model, held_out, content).passed


def test_a_forest_is_served_from_onnx_and_takes_every_number_type(trainer: Trainer) -> None:
    trained = trainer(FOREST, "builtin://breast-cancer")
    assert (trained.result.formats, trained.result.onnx) == (("skops", "onnx"), "verified")
    version = trained.open()
    assert {column.datatype for column in version.manifest.signature.inputs} == {"FP64"}
    given = {"uri": trained.result.uri, "digest": trained.result.digest, "number": "1", "version": "demo-1"}
    config = ServerConfig(namespace="team-a", deployment="demo", **given)
    warm = warm_up.load(version, config, threads=1)
    native = warm_up.load(version, config.model_copy(update={"runtime": "Native"}), threads=1)
    assert (warm.model.platform, native.model.platform) == ("onnxruntime_onnx", "sklearn")
    rows = load_breast_cancer().data[:40]
    for datatype in ("FP32", "FP64", "INT64"):
        values = rows.astype(int) if datatype == "INT64" else rows
        tensor = {"name": "x", "shape": list(rows.shape), "datatype": datatype, "data": values.ravel().tolist()}
        frame = v2.decode(json_of({"inputs": [tensor]}), warm.schema, ("label", "probabilities")).frame
        assert warm.model.predict(frame).labels() == native.model.predict(frame).labels()
    gap = v1.decode(json_of({"instances": [[None, *rows[0, 1:].tolist()]]}), warm.schema).frame
    assert warm.model.predict(gap).labels() == native.model.predict(gap).labels()


def json_of(document: dict[str, Any]) -> bytes:
    import orjson

    return orjson.dumps(document)
