"""The same row has the same answer online and in a data set: the real server beside the real command."""

import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet as pq
from tests.support import scored, serverprocess, versions
from tests.support.versions import Published

from tidemill_contracts.artifact import ColumnSpec, ModelManifest, Signature
from tidemill_runtime.batch import arrow
from tidemill_runtime.batch.predictor import Predictor, ResultOptions, config_of
from tidemill_runtime.model.errors import PredictError, StartError


def mixed_rows(rows: int = 60) -> pa.Table:
    rng = np.random.default_rng(3)
    return pa.table(
        {
            "größe": pa.array([None if i % 7 == 2 else float(v) for i, v in enumerate(rng.normal(size=rows))]),
            "alter": pa.array(rng.integers(0, 9, size=rows)),
            "farbe": pa.array([str(c) for c in rng.choice((*versions.COLORS, "lila"), size=rows)]),
        }
    )


def number_rows(rows: int = 60) -> pa.Table:
    values = np.random.default_rng(4).normal(size=(rows, 4))
    return pa.table({name: values[:, i] for i, name in enumerate("abcd")})


CASES: dict[str, tuple[Any, dict[str, Any], Any]] = {
    "numbers by ONNX": (versions.numbers, {}, number_rows),
    "numbers natively": (versions.numbers, {"with_onnx": False}, number_rows),
    "mixed by ONNX": (versions.mixed, {}, mixed_rows),
    "mixed natively": (versions.mixed, {"with_onnx": False}, mixed_rows),
    "mixed, unseen categories refused": (versions.mixed, {"with_onnx": False, "handle_unknown": "error"}, mixed_rows),
    "mixed by ONNX, unseen categories refused": (versions.mixed, {"handle_unknown": "error"}, mixed_rows),
    "every kind of column": (scored.every_kind, {}, scored.rows_of_every_kind),
}


@pytest.mark.parametrize("case", CASES)
def test_the_same_row_has_the_same_answer(tmp_path: Path, case: str) -> None:
    publish, options, rows_of = CASES[case]
    published: Published = publish(tmp_path / "store", **options)
    table: pa.Table = rows_of()
    path = scored.write(tmp_path / "in.parquet", table)
    output = tmp_path / "out.parquet"

    arguments = ("--input", path, "--output", str(output), "--on-error", "null", "--chunk-rows", "17")
    run = scored.command(tmp_path / "run", published, *arguments)
    assert run.code == 0, run.log
    found = pq.read_table(output).to_pylist()
    names = [column.name for column in published.manifest.signature.inputs]
    classes = published.manifest.classes or ()
    with serverprocess.running(tmp_path / "server", published.config()) as server:
        server.wait_ready()
        asked = [scored.online(server.url, table, names, row) for row in range(table.num_rows)]

    assert len(found) == len(asked) == table.num_rows
    for row, (offline, online) in enumerate(zip(found, asked, strict=True)):
        if "error" in online:
            assert offline["label"] is None
            assert online["error"] in (f"inputs: {offline['error']}", f"inputs: row 0: {offline['error']}")
            continue
        assert offline["error"] is None and offline["label"] == online["label"], row
        probabilities = [offline[f"probability_{c}"] for c in classes]
        np.testing.assert_allclose(probabilities, online["probabilities"], rtol=1e-6, atol=2e-7)  # singles add up
    refused = sum("error" in one for one in asked)
    assert (refused > 0) == ("refused" in case)


def test_whole_numbers_beyond_doubles_are_told_apart_beside_gaps(tmp_path: Path) -> None:
    """The labels of `every_kind` hang on the last bit of `konto`: rounding would be seen."""
    published = scored.every_kind(tmp_path)
    predictor = Predictor.open(published.config())
    table = pa.table(
        {
            "betrag": [0.0] * 3,
            "konto": pa.array([scored.BIG, scored.BIG + 1, None]),
            "aktiv": [True] * 3,
            "farbe": ["rot"] * 3,
        }
    )
    alone = [predictor.table(table.slice(row, 1)).table.column("label")[0].as_py() for row in range(3)]

    assert predictor.table(table).table.column("label").to_pylist() == alone
    assert alone[0] != alone[1]


@pytest.mark.parametrize(
    ("column", "values", "said"),
    [
        ("farbe", pa.array([datetime.date(2026, 1, 1)]), "is BYTES and takes strings (dates as text in ISO 8601"),
        (
            "betrag",
            pa.array([datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)]),
            "is FP64 and takes numbers, got timestamp[us, tz=UTC]",
        ),
        ("betrag", pa.array(["1.5"]), "is FP64 and takes numbers, got string"),
        ("farbe", pa.array([1]), "is BYTES and takes strings"),
        ("aktiv", pa.array(["true"]), "is BOOL and takes booleans or numbers, got string"),
        ("konto", pa.array([[1]]), "is INT64 and takes numbers, got list"),
        ("konto", pa.array([datetime.timedelta(1)]), "is INT64 and takes numbers, got duration"),
        ("farbe", pa.array([b"rot"]), "is BYTES and takes strings"),
    ],
)
def test_a_type_that_no_model_takes_is_refused_by_name(
    tmp_path: Path, column: str, values: pa.Array, said: str
) -> None:
    table = scored.rows_of_every_kind(1)
    table = table.set_column(table.column_names.index(column), column, values)
    with pytest.raises(PredictError) as refused:
        Predictor.open(scored.every_kind(tmp_path).config()).table(table, where="in.parquet")
    assert refused.value.reason == "DataInvalid" and refused.value.exit_code == 42
    assert f"in.parquet: column {column!r} {said}" in str(refused.value)


@pytest.mark.parametrize(
    "kind",
    [pa.int8(), pa.uint8(), pa.int32(), pa.uint64(), pa.float32(), pa.float64(), pa.decimal128(21, 2), pa.float16()],
    ids=str,
)
def test_every_kind_of_number_is_a_number(tmp_path: Path, kind: pa.DataType) -> None:
    predictor = Predictor.open(versions.mixed(tmp_path).config())
    table = pa.table(
        {"größe": pa.array([1, 2, None]).cast(kind), "alter": pa.array([3, 4, 5]).cast(kind), "farbe": ["rot"] * 3}
    )
    plain = pa.table({"größe": [1.0, 2.0, None], "alter": [3, 4, 5], "farbe": ["rot"] * 3})

    options = ResultOptions(columns=())
    assert predictor.table(table, options).table == predictor.table(plain, options).table


def test_text_in_all_its_forms_is_text(tmp_path: Path) -> None:
    predictor = Predictor.open(versions.mixed(tmp_path).config())
    words = ["rot", None, "grün", "blau", "rot"]
    plain = pa.table({"größe": [0.1] * 5, "alter": [1] * 5, "farbe": words})
    want = predictor.table(plain, ResultOptions(columns=())).table
    chunked = pa.chunked_array([pa.array(words[:2]).dictionary_encode(), pa.array(words[2:]).dictionary_encode()])
    for values in (pa.array(words, pa.large_string()), pa.array(words).dictionary_encode(), chunked):
        table = plain.set_column(2, "farbe", values)
        assert predictor.table(table, ResultOptions(columns=())).table == want


def test_text_that_is_no_text_is_invalid_data(tmp_path: Path) -> None:
    predictor = Predictor.open(versions.mixed(tmp_path).config(), 1)
    table = mixed_rows(3)
    offsets = pa.array(["rot"] * 3).buffers()[:2]
    broken = pa.Array.from_buffers(pa.string(), 3, [*offsets, pa.py_buffer(b"rot\xff\xfetrot")])
    table = table.set_column(table.schema.get_field_index("farbe"), "farbe", broken)
    with pytest.raises(PredictError, match=r"^DataInvalid: in: column 'farbe' has text that is no UTF-8$"):
        predictor.table(table, where="in")


def test_a_library_call_takes_pandas_and_gives_columns_by_class(tmp_path: Path) -> None:
    published = versions.mixed(tmp_path)
    predictor = Predictor.open(config_of(published.uri, published.digest))

    result = predictor.table(published.frame, ids=pa.array([f"id-{i}" for i in range(90)]))

    frame: pd.DataFrame = result.table.to_pandas()
    assert list(frame.columns) == [
        "größe", "alter", "farbe", "label", "probability_ja", "probability_nein", "prediction_id",
    ]  # fmt: skip
    assert frame["label"].tolist() == published.model.predict(published.frame).tolist()
    probabilities = published.model.predict_proba(published.frame)
    np.testing.assert_allclose(frame[["probability_ja", "probability_nein"]], probabilities, atol=1e-5)
    assert frame["prediction_id"].iloc[3] == "id-3"


def test_a_regressor_and_an_empty_table(tmp_path: Path) -> None:
    published = versions.regression(tmp_path)
    predictor = Predictor.open(published.config())

    result = predictor.table(published.frame).table

    np.testing.assert_allclose(result.column("value").to_numpy(), published.model.predict(published.frame))
    empty = predictor.table(published.frame.head(0))
    assert (empty.table.num_rows, empty.table.column_names) == (0, ["u", "v", "value"])


def test_outputs_of_several_values_are_columns_of_their_own() -> None:
    outputs = (
        ColumnSpec(name="value", datatype="FP64", shape=(-1, 2)),
        ColumnSpec(name="probabilities", datatype="FP64", shape=(-1, 2)),
        ColumnSpec(name="flag", datatype="BOOL"),
    )
    published = ModelManifest.model_construct(signature=Signature(inputs=(), outputs=outputs), classes=(True, False))
    found = arrow.outputs_of(published, "p_")
    assert [one.name for one in found] == [
        "p_value_0",
        "p_value_1",
        "p_probability_true",
        "p_probability_false",
        "p_flag",
    ]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            ResultOptions(outputs=("score",)),
            "outputs: 'score' are none of 'label', 'probability_ja', 'probability_nein'",
        ),
        (ResultOptions(columns=("name",)), "there is no column 'name'"),
        (ResultOptions(id_column="name"), "there is no column 'name'"),
        (ResultOptions(columns=("größe", "alter", "größe")), "ConfigInvalid: columns: 'größe' are named twice"),
        (ResultOptions(id_column="größe"), "column 'größe' is double and cannot be an id"),
        (ResultOptions(id_column="kunde"), "table: row 3: column 'kunde' is null and cannot be an id"),
    ],
)
def test_a_result_that_cannot_be_is_refused(tmp_path: Path, options: ResultOptions, said: str) -> None:
    predictor = Predictor.open(versions.mixed(tmp_path).config())
    customers = pa.array([None if row == 3 else f"k-{row}" for row in range(60)]).dictionary_encode()
    with pytest.raises(PredictError) as refused:
        predictor.table(mixed_rows().append_column("kunde", customers), options)
    assert said in str(refused.value)


def test_names_that_meet_are_refused_and_a_prefix_helps(tmp_path: Path) -> None:
    predictor = Predictor.open(versions.mixed(tmp_path).config())
    table = mixed_rows().append_column("label", pa.array(["?"] * 60))
    with pytest.raises(PredictError, match="columns 'label' are also names of the result"):
        predictor.table(table)

    result = predictor.table(table, ResultOptions(prefix="neu_", outputs=("label",))).table

    assert result.column_names == ["größe", "alter", "farbe", "label", "neu_label"]


def test_a_version_that_cannot_be_served_is_no_predictor(tmp_path: Path) -> None:
    with pytest.raises(StartError, match="FormatUnsupported"):
        Predictor.open(versions.regression(tmp_path).config(runtime="ONNX"))
