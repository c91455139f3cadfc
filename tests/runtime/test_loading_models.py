"""Choosing, vetting and proving a model, without a process around it."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    IsolationForest,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import LocalOutlierFactor
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from skops import io as skops_io
from tests.support import versions

from tidemill.serving.snapshot import Version, runtime_of
from tidemill_contracts.artifact import ColumnSpec, Sample, Signature
from tidemill_contracts.runtimes import FAILED, VERIFIED
from tidemill_runtime.frameworks.scikit_learn import forests
from tidemill_runtime.frameworks.scikit_learn.native_model import NativeModel, load_skops, use_one_thread
from tidemill_runtime.frameworks.scikit_learn.skops_types import is_vetted
from tidemill_runtime.loading import warm_up
from tidemill_runtime.loading.warm_up import WarmModel
from tidemill_runtime.model.errors import BadRequestError, StartError
from tidemill_runtime.model.frame import Frame, Schema
from tidemill_runtime.model.prediction import Prediction
from tidemill_runtime.model.thread_limits import cpu_limit
from tidemill_runtime.server.dataplane.batcher import concatenated


def load(published: versions.Published, **changes: Any) -> WarmModel:
    config = published.config(**changes)
    return warm_up.load(warm_up.open_verified(config), config, threads=1)


def test_auto_serves_onnx_when_parity_passed_and_native_when_it_did_not(tmp_path: Path) -> None:
    assert load(versions.numbers(tmp_path / "a")).model.platform == "onnxruntime_onnx"
    assert load(versions.numbers(tmp_path / "b", parity=False)).model.platform == "sklearn"
    assert load(versions.mixed(tmp_path / "c", with_onnx=False)).model.platform == "sklearn"
    assert load(versions.numbers(tmp_path / "d", parity=False), runtime="ONNX").model.platform == "onnxruntime_onnx"


def test_auto_falls_back_when_the_onnx_form_does_not_prove_itself(tmp_path: Path) -> None:
    published = versions.numbers(tmp_path / "broken", extra={"model.onnx": b"no graph"})
    warm = load(published)
    assert (warm.model.platform, warm.runtime) == ("sklearn", "Native")
    assert warm.reason.startswith("its onnx form failed in the server: ModelLoadFailed: model.onnx: ")
    assert warm.fallback == FAILED
    assert load(versions.numbers(tmp_path / "asked"), runtime="Native").reason == "spec.server.runtime is Native"
    with pytest.raises(StartError, match=r"^ModelLoadFailed: model\.onnx: "):
        load(published, runtime="ONNX")


@pytest.mark.parametrize("asked", ["Auto", "ONNX", "Native"])
def test_status_reports_the_runtime_that_the_server_takes(tmp_path: Path, asked: Any) -> None:
    """`note`: what the trainer writes into the ModelVersion of such a version."""
    both = versions.numbers(tmp_path / "both")
    differs = versions.numbers(tmp_path / "differs", parity=False)
    native = versions.regression(tmp_path / "native")
    for published, note in ((both, VERIFIED), (differs, "1 of 5 labels differ"), (native, "there is no converter")):
        manifest = published.manifest
        record = {"name": "demo-7", "number": 7, "digest": published.digest, "uri": published.uri}
        reported = runtime_of(asked, Version(**record, formats=manifest.formats, onnx=note), allow_pickle=True).runtime
        if reported is None:
            with pytest.raises(StartError, match="FormatUnsupported"):
                load(published, runtime=asked)
        else:
            platform = load(published, runtime=asked).model.platform
            assert platform == {"ONNX": "onnxruntime_onnx", "Native": "sklearn"}[reported], (asked, note)


def test_a_requested_form_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(StartError, match=r"FormatUnsupported: runtime ONNX cannot serve formats skops"):
        load(versions.regression(tmp_path), runtime="ONNX")


@pytest.mark.parametrize("runtime", ["ONNX", "Native"])
@pytest.mark.parametrize("labels", [["x", "ü"], [False, True], [0, 1], [0.0, 1.0]], ids=str)
def test_labels_keep_their_type_on_every_runtime(tmp_path: Path, runtime: str, labels: list[Any]) -> None:
    published = versions.numbers(tmp_path, relabel=labels)
    warm = load(published, runtime=runtime)
    x = published.frame.to_numpy()[:20]
    found = warm.model.predict(Frame(warm.schema, 20, matrix=x)).labels()
    assert found == published.model.predict(x).tolist()
    assert {type(value) for value in found} == {type(labels[0])}


def test_a_forest_answers_as_its_own_predict_does(tmp_path: Path) -> None:
    forest = RandomForestClassifier(n_estimators=15, random_state=0, n_jobs=2)
    scaled = Pipeline([("scale", StandardScaler()), ("forest", forest)])
    published = versions.numbers(tmp_path, estimator=scaled, with_onnx=False)
    warm = load(published)
    x = published.frame.to_numpy()
    answer = warm.model.predict(Frame(warm.schema, len(x), matrix=x))
    assert answer.labels() == published.model.predict(x).tolist()
    np.testing.assert_array_equal(answer.probabilities, published.model.predict_proba(x))


@pytest.mark.parametrize(
    "kind", [RandomForestClassifier, ExtraTreesClassifier, RandomForestRegressor, ExtraTreesRegressor]
)
def test_trees_without_their_crew_give_the_same_bits(kind: Any) -> None:
    rng = np.random.default_rng(4)
    x = rng.normal(size=(200, 5))
    y = (x[:, 0] > 0) + (x[:, 1] > 1) if "Classifier" in kind.__name__ else x @ np.arange(5)
    model = kind(n_estimators=23, random_state=0).fit(x, y)
    asked = "predict_proba" if hasattr(model, "predict_proba") else "predict"
    rows = [rng.normal(size=(n, 5)) for n in (1, 2, 64)]
    expected = [getattr(model, asked)(given) for given in rows]
    forests.use_trees(model)
    assert asked in vars(model), "it is asked in another way now"
    for given, wanted in zip(rows, expected, strict=True):
        np.testing.assert_array_equal(getattr(model, asked)(given), wanted)
    with pytest.raises(ValueError, match="infinity"):
        getattr(model, asked)(np.full((1, 5), np.inf))
    several = kind(n_estimators=3).fit(x, np.c_[y, y])
    forests.use_trees(several)
    assert asked not in vars(several)


@pytest.mark.parametrize(
    "detector", [IsolationForest(n_estimators=9, random_state=0), LocalOutlierFactor(novelty=True)]
)
def test_an_outlier_detector_is_asked_once(detector: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.random.default_rng(5).normal(size=(80, 3)) * 1.5
    detector.fit(x[:40])
    labels, scores = detector.predict(x), detector.decision_function(x)
    assert set(labels) == {1, -1}
    signature = Signature(
        inputs=tuple(ColumnSpec(name=name, datatype="FP64") for name in "abc"),
        outputs=(ColumnSpec(name="label", datatype="INT64"), ColumnSpec(name="score", datatype="FP64")),
        frame=False,
    )
    manifest: Any = SimpleNamespace(signature=signature, classes=None, task="outlier-detection")
    schema = Schema(signature)
    model = NativeModel(detector, schema, manifest)
    monkeypatch.setattr(detector, "predict", lambda _: pytest.fail("asked for what the score says"))
    found = {name: values for name, _, values in model.predict(Frame(schema, len(x), matrix=x)).tensors()}
    np.testing.assert_array_equal(found["label"], labels)
    np.testing.assert_array_equal(found["score"], scores)


def test_every_estimator_inside_uses_one_thread() -> None:
    inner = RandomForestClassifier(n_estimators=2, n_jobs=-1).fit(np.eye(4), [0, 1, 0, 1])
    outer = Pipeline([("scale", StandardScaler()), ("model", inner)])
    outer.extra_ = {"deep": [inner], "array": np.array([inner, None], dtype=object)}
    use_one_thread(outer)
    assert inner.n_jobs == 1


def test_an_archive_with_other_types_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.skops"
    skops_io.dump(FunctionTransformer(func=joblib.load), path)
    with pytest.raises(StartError, match=r"FormatUnsupported: model\.skops holds types that are not vetted: joblib"):
        load_skops(path)
    path.write_bytes(b"no archive")
    with pytest.raises(StartError, match=r"ModelLoadFailed: model\.skops: "):
        load_skops(path)


@pytest.mark.parametrize(
    ("name", "vetted"),
    [
        ("sklearn.tree._tree.Tree", True),
        ("sklearn.gaussian_process.kernels.RBF", True),
        ("numpy.log1p", True),
        ("numpy.load", False),
        ("numpy.f2py.compile", False),
        ("sklearn.datasets._openml.fetch_openml", False),
        ("builtins.eval", False),
        ("os.system", False),
        ("sklearn.tree._tree.TreeX", False),
    ],
)
def test_vetting(name: str, vetted: bool) -> None:
    assert is_vetted(name) is vetted


@pytest.mark.parametrize(
    ("recorded", "given", "same"),
    [
        ([1.0, 1000.0], [1.3, 1000.0], True),  # small beside the sample's mean, as parity is judged
        ([1000.0, 1000.0], [1000.0, 1010.0], False),
        (["a", "b"], ["a", "b"], True),
        (["a", "b"], ["a", "c"], False),
        ([None, 1.0], [float("nan"), 1.0], True),
        ([1.0, None], [1.0, 2.0], False),
    ],
)
def test_recorded_answers_are_compared(recorded: list[Any], given: list[Any], same: bool) -> None:
    sample = Sample(columns={}, predictions=recorded)
    kind = object if isinstance(given[0], str) else float
    answer = Prediction([("value", "FP64")], np.array(given, dtype=kind))
    if same:
        warm_up.compare(answer, sample)
    else:
        with pytest.raises(StartError, match=r"WarmUpMismatch: row \d of sample\.json: expected "):
            warm_up.compare(answer, sample)


def test_columns_by_name_reach_the_graph_whatever_it_is_called(tmp_path: Path) -> None:
    published = versions.mixed(tmp_path)
    warm = load(published, runtime="ONNX")
    arrays = [np.array([0.5]), np.array([4.0]), np.array([None], dtype=object)]
    assert warm.model.predict(Frame(warm.schema, 1, arrays=arrays)).labels()[0] in ("ja", "nein")


@pytest.mark.parametrize("runtime", ["ONNX", "Native"])
def test_a_row_is_answered_alike_in_every_form(tmp_path: Path, runtime: str) -> None:
    """As Python's values, as arrays, and as one of a batch made of either."""
    warm = load(versions.mixed(tmp_path), runtime=runtime)
    rows = [[0.5, 4, "rot"], [-0.1, 2.0, "neu"], [1e38, 2**53 - 1, "blau"]]
    single = [Frame(warm.schema, 1, row=row) for row in rows]
    apart = [Frame(warm.schema, 1, arrays=[np.array([a]), np.array([b]), np.array([c], object)]) for a, b, c in rows]
    found = [warm.model.predict(frame).probabilities for frame in apart]
    for frames in ([Frame(warm.schema, 1, row=row) for row in rows], apart, [single[0], *apart[1:]]):
        batch = concatenated(frames)
        assert batch is not None
        np.testing.assert_array_equal(warm.model.predict(batch).probabilities, np.concatenate(found))
    for frame, expected in zip(single, found, strict=True):
        np.testing.assert_array_equal(warm.model.predict(frame).probabilities, expected)


def test_the_number_that_the_graph_cannot_hold_is_named_among_its_neighbours(tmp_path: Path) -> None:
    warm = load(versions.mixed(tmp_path), runtime="ONNX")
    arrays = [np.array([np.nan, 1.0, -1e39]), np.array([1, 2, 3]), np.array(["rot"] * 3, dtype=object)]
    expected = r"row {}: column 'größe' takes at most ±3\.4e38, got {}$"
    with pytest.raises(BadRequestError, match=expected.format(2, r"-1e\+39")):
        warm.model.predict(Frame(warm.schema, 3, arrays=arrays))
    with pytest.raises(BadRequestError, match=expected.format(0, r"1e\+300")):
        warm.model.predict(Frame(warm.schema, 1, row=[1e300, 1, "rot"]))


@pytest.mark.parametrize("runtime", ["ONNX", "Native"])
@pytest.mark.parametrize(("value", "shown"), [("lila", "'lila'"), (None, "null")])
def test_a_category_that_the_encoder_refuses_is_the_clients_error(
    tmp_path: Path, runtime: str, value: str | None, shown: str
) -> None:
    warm = load(versions.mixed(tmp_path, handle_unknown="error"), runtime=runtime)
    arrays = [np.array([0.5, 0.5]), np.array([4.0, 4.0]), np.array(["rot", value], dtype=object)]
    expected = f"inputs: row 1: column 'farbe' takes 'blau', 'grün', 'rot', got {shown}"
    with pytest.raises(BadRequestError) as refused:
        warm.model.predict(Frame(warm.schema, 2, arrays=arrays))
    assert refused.value.message == expected


def cities(refuses: str = "plan") -> tuple[Schema, Any]:
    """Return a model's columns and the model; the encoder of `city` ignores new values, that of `refuses` does not."""
    frame = pd.DataFrame({"city": ["a", "b"] * 9, "plan": ["x", "y", "y"] * 6}, dtype="str")
    frame["code"] = [1, 2] * 9
    used = [("other", OneHotEncoder(), [refuses])]
    columns = ColumnTransformer([("city", OneHotEncoder(handle_unknown="ignore"), ["city"]), *used])
    target = np.where(frame["plan"] == "x", "ja", "nein")
    model = Pipeline([("columns", columns), ("model", LogisticRegression())]).fit(frame, target)
    inputs = (
        ColumnSpec(name="city", datatype="BYTES", categories=("a", "b")),
        ColumnSpec(name="plan", datatype="BYTES", categories=("x", "y")),
        ColumnSpec(name="code", datatype="INT64"),
    )
    return Schema(Signature(inputs=inputs, outputs=())), model


def refusal_of(model: Any, schema: Schema, city: list[str | None], plan: list[str | None], code: int = 1) -> str:
    manifest = SimpleNamespace(
        task="classification",
        signature=SimpleNamespace(outputs=(ColumnSpec(name="label", datatype="BYTES"),), frame=True),
        classes=None,
    )
    arrays = [np.array(city, dtype=object), np.array(plan, dtype=object), np.full(len(city), code)]
    with pytest.raises(BadRequestError) as refused:
        NativeModel(model, schema, manifest).predict(Frame(schema, len(city), arrays=arrays))  # type: ignore[arg-type]
    return refused.value.message


def test_the_column_whose_encoder_refuses_is_the_one_that_is_named() -> None:
    schema, model = cities()
    expected = "inputs: row 1: column 'plan' takes 'x', 'y', got "
    assert refusal_of(model, schema, [None, "Z"], ["x", "q"]) == f"{expected}'q'"
    assert refusal_of(model, schema, [None, "Z"], ["x", "it's]"]) == f'{expected}"it\'s]"'
    assert refusal_of(model, schema, ["Z", "nan"], ["x", None]) == f"{expected}null"
    both = refusal_of(model, schema, ["a", "q"], ["x", "q"])
    assert (
        both == "inputs: row 1: column 'city' takes 'a', 'b', got 'q' or row 1: column 'plan' takes 'x', 'y', got 'q'"
    )


def test_a_number_that_an_encoder_refuses_is_not_blamed_on_text() -> None:
    schema, model = cities("code")
    assert "unknown categories [np.int64(7)] in column 0" in refusal_of(model, schema, ["Z"], ["q"], code=7)


def test_where_only_the_model_knows_all_candidates_are_named_and_null_last() -> None:
    schema, _ = cities()
    arrays = [np.array([None, None], dtype=object), np.array([None, "q"], dtype=object), np.ones(2)]
    expected = "row 1: column 'plan' takes 'x', 'y', got 'q' or row 0: column 'city' takes 'a', 'b', got null"
    assert Frame(schema, 2, arrays=arrays).unseen_category() == expected


def test_a_category_is_not_taken_for_a_number() -> None:
    inputs = (ColumnSpec(name="a", datatype="FP64"), ColumnSpec(name="b", datatype="BYTES"))
    schema = Schema(Signature(inputs=inputs, outputs=()))
    assert not schema.is_numeric
    with pytest.raises(BadRequestError, match="missing columns: 'b'; unexpected columns: 'B'"):
        schema.check_names(["a", "B"], "inputs")


def test_cpu_limit_reads_both_kinds_of_cgroup(tmp_path: Path) -> None:
    v2, v1 = tmp_path / "cpu.max", tmp_path / "cpu"
    everything = cpu_limit(v2, v1)
    v1.mkdir()
    (v1 / "cpu.cfs_quota_us").write_text("50000\n")
    (v1 / "cpu.cfs_period_us").write_text("100000\n")
    assert cpu_limit(v2, v1) == 1
    v2.write_text("max 100000\n")
    assert cpu_limit(v2, v1) == everything
    v2.write_text("10000000 100000\n")
    assert cpu_limit(v2, v1) == everything
