"""Values that an encoder does not know: refused by both forms where scikit-learn refuses, by none where it does not."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder
from sklearn.tree import DecisionTreeClassifier
from tests.runtime.conftest import Trainer

from tidemill_contracts.inference import ServerConfig
from tidemill_runtime.loading import warm_up
from tidemill_runtime.model.errors import BadRequestError
from tidemill_runtime.model.frame import Frame, array_of
from tidemill_runtime.trainer.model import inspection
from tidemill_runtime.trainer.package import signature_categories

COLORS = ["blau", "grün", "rot"] * 20
FRAME = pd.DataFrame(
    {
        "farbe": pd.Series(COLORS, dtype="str"),
        "plan": pd.Series(["a", "b"] * 30, dtype="str"),
        "stufe": [1, 2, 3, 4] * 15,
        "wert": np.linspace(-1, 1, 60),
    }
)
TARGET = (FRAME["wert"] > 0) ^ (FRAME["farbe"] == "rot")
CODE = """
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder
from sklearn.tree import DecisionTreeClassifier


def train(data, target):
    columns = make_column_transformer({steps}, remainder="passthrough")
    return make_pipeline(columns, DecisionTreeClassifier(max_depth=4, random_state=0)).fit(data, target)
"""
STRICT = "(OrdinalEncoder(), ['farbe']), (OneHotEncoder(handle_unknown='ignore', sparse_output=False), ['plan'])"
LENIENT = (
    "(OrdinalEncoder(handle_unknown='use_encoded_value', unknown_value=-1), ['farbe']), "
    "(OneHotEncoder(handle_unknown='ignore', sparse_output=False), ['plan'])"
)


def fitted(*steps: Any) -> inspection.Model:
    columns = make_column_transformer(*steps, remainder="passthrough")
    return inspection.inspect(make_pipeline(columns, DecisionTreeClassifier()).fit(FRAME, TARGET), FRAME, Path())


def spec(model: inspection.Model, name: str) -> Any:
    signature = signature_categories.noted(inspection.signature(model, FRAME), model, FRAME)
    return next(column for column in signature.inputs if column.name == name)


def test_what_an_encoder_refuses_is_recorded_with_everything_it_takes() -> None:
    known = OrdinalEncoder(categories=[["blau", "gelb", "grün", "rot"]])
    model = fitted((known, ["farbe"]), ("drop", ["plan"]))
    farbe = spec(model, "farbe")
    assert (farbe.closed, farbe.categories, farbe.nullable) == (True, ("blau", "gelb", "grün", "rot"), False)
    model = fitted((OneHotEncoder(sparse_output=False), ["farbe", "plan"]), (OrdinalEncoder(), ["stufe"]))
    assert signature_categories.refusing(model, FRAME) == ["farbe", "plan", "stufe"]
    assert (spec(model, "plan").closed, spec(model, "plan").categories) == (True, ("a", "b"))
    assert spec(model, "stufe").closed is None, "numbers have no recorded categories"


def test_what_is_ignored_is_not_refused() -> None:
    ignoring = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    model = fitted(
        (ignoring, ["farbe", "stufe"]), (OneHotEncoder(handle_unknown="ignore", sparse_output=False), ["plan"])
    )
    assert signature_categories.refusing(model, FRAME) == []
    assert spec(model, "farbe") == inspection.signature(model, FRAME).inputs[0]


def test_a_missing_value_that_training_saw_is_a_known_one() -> None:
    frame = FRAME.assign(farbe=FRAME["farbe"].where(FRAME.index != 3))
    columns = make_column_transformer((OneHotEncoder(), ["farbe"]))
    model = inspection.inspect(make_pipeline(columns, LogisticRegression()).fit(frame, TARGET), frame, Path())
    column = signature_categories.noted(inspection.signature(model, frame), model, frame).inputs[0]
    assert (column.closed, column.categories, column.nullable) == (True, ("blau", "grün", "rot"), None)


def served(trained: Any, runtime: str) -> warm_up.WarmModel:
    given = {"uri": trained.result.uri, "digest": trained.result.digest, "number": "1", "version": "demo-1"}
    config = ServerConfig(namespace="team-a", deployment="demo", runtime=runtime, **given)
    return warm_up.load(trained.open(), config, threads=1)


def predicted(warm: warm_up.WarmModel, **changes: Any) -> list[Any]:
    rows = [{"farbe": "rot", "plan": "a", "stufe": 2, "wert": 0.5}] * 2
    rows = [rows[0], {**rows[1], **changes}]
    arrays = [array_of([row[c.name] for row in rows], c, "instances") for c in warm.schema.columns]
    return warm.model.predict(Frame(warm.schema, 2, arrays=arrays)).labels()


def table(trainer: Trainer) -> str:
    return trainer.table(FRAME.assign(ziel=TARGET.astype(int)).to_csv(index=False))


@pytest.mark.parametrize("runtime", ["ONNX", "Native"])
def test_both_forms_refuse_what_the_encoder_refuses_and_nothing_else(trainer: Trainer, runtime: str) -> None:
    trained = trainer(CODE.format(steps=STRICT), table(trainer), "ziel")
    assert trained.result.onnx == "verified"
    warm = served(trained, runtime)
    for value, text in (("lila", "'lila'"), ("", "''"), (None, "null")):
        with pytest.raises(BadRequestError) as refused:
            predicted(warm, farbe=value)
        assert refused.value.message == f"inputs: row 1: column 'farbe' takes 'blau', 'grün', 'rot', got {text}"
    assert len(predicted(warm, plan="never seen")) == 2
    assert len(predicted(warm, farbe="blau")) == 2


@pytest.mark.parametrize("runtime", ["ONNX", "Native"])
def test_an_encoder_that_ignores_refuses_nothing_in_any_form(trainer: Trainer, runtime: str) -> None:
    trained = trainer(CODE.format(steps=LENIENT), table(trainer), "ziel")
    assert trained.result.onnx == "verified"
    warm = served(trained, runtime)
    assert len(predicted(warm, farbe="lila", plan="z")) == 2


@pytest.mark.parametrize("runtime", ["ONNX", "Native"])
@pytest.mark.parametrize("encoder", ["OrdinalEncoder()", "OneHotEncoder()"])
def test_numbers_that_the_encoder_refuses_are_refused_by_both_forms(
    trainer: Trainer, encoder: str, runtime: str
) -> None:
    steps = f"({encoder}, ['stufe']), ('drop', ['farbe', 'plan'])"
    trained = trainer(CODE.format(steps=steps), table(trainer), "ziel")
    assert trained.result.onnx == "verified"
    warm = served(trained, runtime)
    assert len(predicted(warm, stufe=4)) == 2
    for value in (5, 0, 2.5):
        with pytest.raises(BadRequestError):
            predicted(warm, stufe=value)


def test_a_graph_that_refuses_what_the_encoder_ignores_is_not_offered(trainer: Trainer) -> None:
    steps = LENIENT.replace("'ignore'", "'infrequent_if_exist'")
    trained = trainer(CODE.format(steps=steps), table(trainer), "ziel")
    assert trained.result.formats == ("skops",)
    assert re.search(
        r"^null row farbe=null, plan=null, .*by ONNX status 400, natively an answer$", trained.result.onnx or ""
    )
    assert len(predicted(served(trained, "Native"), farbe="lila", plan="z")) == 2
