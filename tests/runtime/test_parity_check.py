"""The check by itself: which rows it makes, what it calls a difference, and what bounds it."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Binarizer, OneHotEncoder, StandardScaler

from tidemill_contracts.artifact import ColumnSpec, Signature
from tidemill_runtime.frameworks.scikit_learn.thresholds import thresholds
from tidemill_runtime.model.errors import BadRequestError
from tidemill_runtime.model.frame import Frame, Schema
from tidemill_runtime.model.prediction import Prediction
from tidemill_runtime.parity import rows
from tidemill_runtime.parity.check import CHUNK, Check, _Native
from tidemill_runtime.parity.compare import Refused, difference, scales

SIGNATURE = Signature(
    inputs=(
        ColumnSpec(name="x", datatype="FP64"),
        ColumnSpec(name="n", datatype="INT64"),
        ColumnSpec(name="full", datatype="FP64", nullable=False),
        ColumnSpec(name="city", datatype="BYTES", categories=("Köln", "Bonn")),
    ),
    outputs=(),
)
SCHEMA = Schema(SIGNATURE)
KNOWN: list[Any] = [
    np.linspace(-1, 1, 40), np.arange(100, 140), np.full(40, 2.0), np.array(["Köln", "Bonn"] * 20, dtype=object),
]  # fmt: skip
STEPS = [np.array([0.1]), np.empty(0), np.empty(0), np.empty(0)]


def made(limit: int = rows.LIMIT, steps: Any = STEPS) -> dict[str, list[rows.Block]]:
    found: dict[str, list[rows.Block]] = {}
    for block in rows.blocks(SCHEMA, KNOWN, steps, limit):
        found.setdefault(block.kind, []).append(block)
    return found


def test_equal_inputs_give_equal_rows_of_every_kind() -> None:
    one, two = made(), made()
    assert one.keys() == {
        "training", "null", "threshold", "neighbour", "unseen", "zero", "range", "single", "whole",
    }  # fmt: skip
    for kind in one:
        for first, second in zip(one[kind], two[kind], strict=True):
            for a, b in zip(first.columns, second.columns, strict=True):
                assert a.dtype == b.dtype
                assert [repr(v) for v in a.tolist()] == [repr(v) for v in b.tolist()]


def test_rows_have_what_converters_get_wrong() -> None:
    blocks = made()
    values = {kind: [np.concatenate([b.columns[i] for b in blocks[kind]]) for i in range(4)] for kind in blocks}
    assert {np.nextafter(0.1, 1), np.nextafter(0.1, 0), 0.1, float(np.float32(0.1))} <= {*values["threshold"][0]}
    assert np.isnan(values["null"][0].astype(float)).any()
    assert None in values["null"][3].tolist()
    assert not np.isnan(values["null"][2].astype(float)).any(), "a server refuses nulls there"
    assert {"", "no such category", "Köln", "Bonn"} <= {*values["unseen"][3]}
    assert {2**24 + 1, 2**53 + 1} <= {
        int(v) for b in blocks["unseen"] if b.columns[1].dtype.kind == "i" for v in b.columns[1]
    }
    assert {-10.0, 10.0} <= {*values["range"][0]} and {1000.0, 1390.0} <= {*values["range"][1].astype(float)}
    assert 0.0 in values["zero"][1].tolist()
    assert (values["single"][0] == values["single"][0].astype(np.float32)).all()
    assert values["whole"][0].dtype == np.int64
    middles = KNOWN[0][:-1] + np.diff(KNOWN[0]) / 2
    assert {*middles} & {*values["neighbour"][0]}


@pytest.mark.parametrize("limit", [200, 2000, rows.LIMIT])
def test_rows_are_bounded_and_counted(limit: int) -> None:
    steps = [np.linspace(0, 1, 5000), *STEPS[1:]]
    blocks = [block for kind in made(limit, steps).values() for block in kind]
    assert sum(block.rows for block in blocks) <= limit + 16 * len(blocks)
    assert sum(block.candidates for block in blocks) >= 9 * 5000


def test_all_kinds_together_have_no_more_rows_than_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    width, limit = 200, 2000
    inputs = tuple(ColumnSpec(name=f"x{i}", datatype="INT64") for i in range(width))
    schema, known = Schema(Signature(inputs=inputs, outputs=())), [np.arange(700)] * width
    steps = [np.array([0.1, 0.2])] * width
    assert limit * 0.9 < sum(block.rows for block in rows.blocks(schema, known, steps, limit)) <= limit
    monkeypatch.setattr(rows, "CELLS", 1000 * width)
    assert 900 < sum(block.rows for block in rows.blocks(schema, known, steps, limit)) <= 1000


@pytest.mark.parametrize("limit", [200, 1000])
def test_more_columns_with_steps_than_rows_for_them(limit: int) -> None:
    width = 500
    inputs = tuple(ColumnSpec(name=f"x{i}", datatype="FP64") for i in range(width))
    schema = Schema(Signature(inputs=inputs, outputs=()))
    blocks = rows.blocks(schema, [np.arange(5.0)] * width, [np.array([0.1, 0.2])] * width, limit)
    (at_steps,) = (block for block in blocks if block.kind == "threshold")
    assert 16 <= at_steps.rows <= limit
    assert at_steps.candidates == 9 * 2 * width
    assert len(np.unique(at_steps.changed)) >= min(width, at_steps.rows) // 2


def test_thresholds_are_given_for_input_columns() -> None:
    random = np.random.default_rng(0)
    values = random.normal(size=(60, 3))
    target = values[:, 0] > 0.2
    forest = RandomForestClassifier(5, random_state=0)
    plain = thresholds(forest.fit(values, target), ["a", "b", "c"])
    assert all(len(found) for found in plain)
    columns = ColumnTransformer(
        [("known", OneHotEncoder(), [2]), ("scaled", StandardScaler(), [0]), ("cut", Binarizer(threshold=0.5), [1])]
    )
    values[:, 2] = np.round(values[:, 2])
    model = make_pipeline(columns, RandomForestClassifier(5, random_state=0)).fit(values, target)
    scaled, cut, known = thresholds(model, ["a", "b", "c"])
    inner = np.concatenate([t.tree_.threshold[t.tree_.feature == len(known)] for t in model[-1].estimators_])
    scaler = model[0].named_transformers_["scaled"]
    np.testing.assert_allclose(scaled, np.unique(inner * scaler.scale_[0] + scaler.mean_[0]))
    assert cut.tolist() == [0.5]
    assert known.tolist() == sorted(set(values[:, 2].tolist()))


@pytest.mark.filterwarnings("ignore:Skipping features")
@pytest.mark.parametrize("is_named", [True, False])
def test_columns_that_an_imputer_drops_have_no_thresholds(is_named: bool) -> None:
    values = np.random.default_rng(0).normal(size=(60, 3))
    values[:, 1] = np.nan
    rows = pd.DataFrame(values, columns=["a", "b", "c"]) if is_named else values
    model = make_pipeline(SimpleImputer(), StandardScaler(), RandomForestClassifier(2, random_state=0))
    found = thresholds(model.fit(rows, values[:, 2] > 0.2), ["a", "b", "c"])
    assert len(found[1]) == 0 and min(len(found[0]), len(found[2])) > 0
    assert np.abs(found[2] - 0.2).min() < 0.1


def answered(prediction: Any, probabilities: Any = None) -> Prediction:
    names = [("label" if probabilities is not None else "value", "FP64"), ("probabilities", "FP64")]
    return Prediction(names, np.array(prediction), None if probabilities is None else np.array(probabilities))


@pytest.mark.parametrize(
    ("first", "second", "differs"),
    [
        (answered([1, 2], [[0.1], [0.2]]), answered([1, 2], [[0.1], [0.20009]]), None),
        (answered([1, 2], [[0.1], [0.2]]), answered([1, 2], [[0.1], [0.2002]]), 1),
        (answered([1, 2], [[0.1], [0.2]]), answered([1, 3], [[0.1], [0.2]]), 1),
        (answered([20095.0], [[1.0]]), answered([20096.0], [[1.0]]), 0),
        (answered([20095.0], [[1.0]]), answered([20095], [[1.0]]), None),
        (answered([1.0, 1e6]), answered([1.0, 1e6 + 50]), None),
        (answered([1.0, 1e6]), answered([1.0, 1e6 + 200]), 1),
        (answered([0.0, 1.0]), answered([1e-6, 1.0]), None),
        (answered([np.nan, np.inf]), answered([np.nan, np.inf]), None),
        (answered([np.nan]), answered([1.0]), 0),
        (answered([np.inf]), answered([1e300]), 0),
        (answered(["a", "b"]), answered(["a", "c"]), 1),
        (Refused(400), Refused(400), None),
        (Refused(400), answered([1.0]), 0),
        (answered([1.0]), Refused(500), 0),
    ],
)
def test_what_a_difference_is(first: Any, second: Any, differs: int | None) -> None:
    found = difference(first, second, [1.0, 1.0], ("natively", "by ONNX"))
    assert (found and found[0]) == differs
    assert found is None or ("natively" in found[1] and "by ONNX" in found[1])


def test_each_column_of_an_output_has_its_own_scale() -> None:
    usual = scales(answered([[1.7e9, 0.5], [1.7e9, 0.0], [np.nan, 0.4]]))
    wanted, wrong, near = ([[1.7e9, small]] for small in (0.0, 0.1, 1e-5))
    assert difference(answered(wanted), answered(wrong), usual, ("natively", "by ONNX"))
    assert difference(answered(wanted), answered(near), usual, ("natively", "by ONNX")) is None


class Fake:
    """A form of a model: the sum of two columns, or what `change` makes of it."""

    def __init__(self, change: Callable[[Frame, Any], Any] = lambda _, values: values) -> None:
        self._change = change
        self.calls: list[int] = []

    def predict(self, frame: Frame) -> Prediction:
        self.calls.append(frame.rows)
        values = frame.column(0).astype(float) + frame.column(1)
        return Prediction([("value", "FP64")], self._change(frame, values))


def check(native: Fake, **more: Any) -> Check:
    return Check(native, SCHEMA, rows.blocks(SCHEMA, KNOWN, STEPS, 2000), **more)


def refuses(frame: Frame, values: Any) -> Any:
    if (frame.column(1) == 0).any():
        raise BadRequestError("inputs: no zero")
    return values


def test_equal_forms_pass_and_every_row_is_counted() -> None:
    native = Fake()
    found = check(native).compared(Fake())
    assert (found.passed, found.reason) == (True, "")
    assert 300 < found.rows <= found.candidates
    assert native.calls.count(1) > 40


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda f, v: np.where(np.isnan(f.column(0).astype(float)), 0.0, v), r"^null row x=null, .*value 0 by"),
        (lambda f, v: v if f.rows > 1 else v + 1, r"\(alone\): value"),
        (lambda f, v: v if f.rows == 1 else v + 1, r"^training row .* \(among 40\): value"),
        (lambda f, v: np.where(f.column(3) == "", 0, v), r"^unseen row city='', x="),
        (lambda f, v: np.where(f.column(0) == np.nextafter(0.1, 1), 9, v), r"^threshold row x=0.10000000000000\d+, n="),
        (refuses, r"^zero row .*\(alone\): by ONNX status 400, natively an answer$"),
    ],
)  # fmt: skip
def test_a_difference_names_the_row(change: Any, words: str) -> None:
    found = check(Fake()).compared(Fake(change))
    assert not found.passed
    assert re.search(words, found.reason), found.reason
    assert check(Fake(refuses)).compared(Fake(refuses)).passed


def test_a_row_that_one_form_refuses_is_found_behind_many_that_both_refuse() -> None:
    values = np.arange(1.0, 1001.0)
    columns: list[Any] = [values, values, np.full(1000, 2.0), np.array(["Köln"] * 1000, dtype=object)]
    blocks = [block for block in rows.blocks(SCHEMA, columns, STEPS, 10_000) if block.kind == "training"]

    def answers(*refused: float) -> Fake:
        def change(frame: Frame, values: Any) -> Any:
            if np.isin(frame.column(0), refused).any():
                raise BadRequestError("inputs: no such number")
            return values

        return Fake(change)

    both = (5.0, 300.0, 600.0, 900.0)
    assert Check(answers(*both), SCHEMA, blocks).compared(answers(*both)).passed
    for row in (255.0, 1000.0 - 4):  # the last of a request, of which the first rows are asked alone; and beyond them
        found = Check(answers(), SCHEMA, blocks).compared(answers(row))
        assert found.reason.startswith(f"training row x={row}, "), found
        assert found.reason.endswith("(alone): by ONNX status 400, natively an answer")
    found = Check(answers(*both[:3]), SCHEMA, blocks).compared(answers(*both))
    assert found.reason.startswith("training row x=900.0, ")


def test_what_is_refused_in_a_batch_only_is_a_difference() -> None:
    found = check(Fake()).compared(Fake(lambda f, v: v if f.rows < 30 else refuses_all()))
    assert re.search(r"^training row .* \(among 40\): by ONNX status 400, natively an answer$", found.reason)


def refuses_all() -> None:
    raise BadRequestError("inputs: too many")


def test_the_clock_ends_a_check_and_what_it_ended_is_not_verified() -> None:
    now = iter(range(1000))
    found = check(Fake(), seconds=5, clock=lambda: float(next(now))).compared(Fake())
    assert (found.passed, found.is_late) == (False, True)
    assert found.reason.startswith(f"the check took longer than 5 s: {found.rows} of {found.candidates} rows")


def test_what_is_kept_of_the_answers_is_bounded() -> None:
    native, bounded = Fake(), Fake()
    both = [check(native), check(bounded)]
    both[1]._native = _Native(bounded, left=100 * 8)
    for one in both:
        assert one.compared(Fake()).passed
    asked = [len(one.calls) for one in (native, bounded)]
    assert [one.batch_difference() for one in both] == ["", ""]
    assert len(native.calls) == asked[0]
    assert len(bounded.calls) > asked[1] > 0
    held = [o for o in both[1]._native.known.values() if isinstance(o, Prediction)]
    assert sum(o.prediction.nbytes for o in held) <= 100 * 8


def test_a_batch_that_changes_an_answer_is_found() -> None:
    assert check(Fake()).batch_difference() == ""
    assert check(Fake(refuses)).batch_difference() == ""
    alone = check(Fake(lambda f, v: v + (f.rows == 1))).batch_difference()
    assert alone.startswith("training row x=")
    assert CHUNK >= 64
