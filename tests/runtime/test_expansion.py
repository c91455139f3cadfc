"""What a compressed file may become, by gzip, Parquet and zip."""

from __future__ import annotations

import gzip
import io
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet as pq

from tidemill_contracts.training import DataInput
from tidemill_runtime import expansion
from tidemill_runtime.batch import parquet as inputs
from tidemill_runtime.datasets import sources, tables
from tidemill_runtime.datasets.errors import DataError
from tidemill_runtime.expansion import ExpansionError
from tidemill_runtime.frameworks.scikit_learn import native_model
from tidemill_runtime.model.errors import PredictError, StartError

MEBIBYTE = 1 << 20


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIDEMILL_EXPANDED_LIMIT", "1Mi")


def read(mounts: Path, name: str, content: bytes, into: Path) -> int:
    (mounts / "pvc" / "store" / name).write_bytes(content)
    source = DataInput(name="table", uri=f"pvc://store/{name}")
    return len(tables.read(source, sources.fetch(source, into)))


def parquet(table: pa.Table, **options: object) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, **options)
    return sink.getvalue()


def test_gzip_is_undone_up_to_the_limit(mounts: Path, tmp_path: Path) -> None:
    good = gzip.compress(b"x\n" + b"1\n" * (MEBIBYTE // 2 - 1))
    assert read(mounts, "good.csv.gz", good, tmp_path / "a") == MEBIBYTE // 2 - 1
    bombs = (
        gzip.compress(b"x\n" + b"1\n" * (MEBIBYTE // 2)),
        gzip.compress(b"x\n" + b"1\n" * 1000) + gzip.compress(bytes(50 * MEBIBYTE)),  # in a second member
    )
    for index, bomb in enumerate(bombs):
        with pytest.raises(DataError, match=r"more than 1048576 bytes.*TIDEMILL_EXPANDED_LIMIT") as caught:
            read(mounts, "bomb.csv.gz", bomb, tmp_path / f"b{index}")
        assert caught.value.reason == "TooLarge"


def test_parquet_is_held_to_what_it_says_and_to_what_it_becomes(mounts: Path, tmp_path: Path) -> None:
    rows = 300_000
    says = parquet(pa.table({"x": np.arange(rows)}), use_dictionary=False, compression="zstd")
    becomes = parquet(pa.table({"x": np.zeros(rows)}))  # run lengths: a few bytes for all rows
    assert len(becomes) < 10_000
    assert pq.ParquetFile(io.BytesIO(becomes)).metadata.row_group(0).total_byte_size < MEBIBYTE
    for name, bomb in (("says", says), ("becomes", becomes)):
        with pytest.raises(DataError, match="more than 1048576 bytes") as caught:
            read(mounts, f"{name}.parquet", bomb, tmp_path / name)
        assert caught.value.reason == "TooLarge"
    assert read(mounts, "good.parquet", parquet(pa.table({"x": np.zeros(1000)})), tmp_path / "good") == 1000


def repeated(*, as_dictionary: bool) -> bytes:
    """2,000 rows with one of two texts of 10 kB: 20 MB that stand in a file of some kB."""
    column = pa.DictionaryArray.from_arrays(pa.array(np.arange(2000, dtype=np.int32) % 2), ["x" * 10_000, "y" * 10_000])
    table = pa.table({"s": column if as_dictionary else column.dictionary_decode(), "a": np.arange(2000)})
    content = parquet(table, compression="zstd")
    assert len(content) < 30_000
    return content


@pytest.mark.parametrize("as_dictionary", [True, False])
def test_texts_of_a_dictionary_count_in_every_row_before_they_are_made(
    mounts: Path, tmp_path: Path, as_dictionary: bool
) -> None:
    content = repeated(as_dictionary=as_dictionary)
    usual = pa.default_memory_pool()
    pool = pa.proxy_memory_pool(usual)
    pa.set_memory_pool(pool)
    try:
        with pytest.raises(DataError, match="more than 1048576 bytes") as caught:
            read(mounts, "texts.parquet", content, tmp_path / "a")
    finally:
        pa.set_memory_pool(usual)
    assert caught.value.reason == "TooLarge"
    assert pool.max_memory() < 8 * MEBIBYTE
    (mounts / "pvc" / "store" / "rows.parquet").write_bytes(content)
    with (
        inputs.find("pvc://store/rows.parquet", None) as found,
        found.opened(found.entries[0]) as file,
        pytest.raises(PredictError, match="more than 1048576 bytes"),
    ):
        list(inputs.chunks(file, ["s"], 1000, "rows.parquet"))


def test_rows_that_are_read_at_once_stay_within_the_limit() -> None:
    delta = pa.table({"s": ["x" * 100_000] * 3000})  # each value is told as what differs from the one before
    content = parquet(delta, use_dictionary=False, column_encoding={"s": "DELTA_BYTE_ARRAY"})
    metadata = pq.ParquetFile(io.BytesIO(content)).metadata
    assert len(content) < 100_000
    assert 1 <= expansion.parquet_rows(metadata, 65536) * 100_000 <= MEBIBYTE
    numbers = pq.ParquetFile(io.BytesIO(parquet(pa.table({"x": np.arange(10)})))).metadata
    assert expansion.parquet_rows(numbers, 65536) == 65536


def test_wide_values_of_a_fixed_width_are_read_few_at_once(mounts: Path, tmp_path: Path) -> None:
    wide = pa.array([b"x" * 10_000], pa.binary(10_000))
    column = pa.DictionaryArray.from_arrays(pa.array(np.zeros(3000, dtype=np.int32)), wide)
    content = parquet(pa.table({"s": column}), store_schema=False, compression="zstd")
    metadata = pq.ParquetFile(io.BytesIO(content)).metadata
    assert len(content) < 10_000
    assert 1 <= expansion.parquet_rows(metadata, 65536) * 10_000 <= MEBIBYTE
    with pytest.raises(DataError, match="more than 1048576 bytes"):
        read(mounts, "wide.parquet", content, tmp_path / "a")
    decimals = pa.table({"x": pa.array([1, 2]).cast(pa.decimal128(21, 2))})
    assert expansion.parquet_rows(pq.ParquetFile(io.BytesIO(parquet(decimals))).metadata, 60_000) == 60_000


def test_a_dictionary_within_the_limit_is_read_as_its_values(mounts: Path, tmp_path: Path) -> None:
    columns = {
        "text": pa.array(["a", None, "b", "a"]).dictionary_encode(),
        "whole": pa.array([1, 2, 2, 1]).dictionary_encode(),
        "plain": pa.array([1.5, 2.5, 0.0, 1.0]),
    }
    (mounts / "pvc" / "store" / "x.parquet").write_bytes(parquet(pa.table(columns)))
    source = DataInput(name="table", uri="pvc://store/x.parquet")
    table = tables.read(source, sources.fetch(source, tmp_path / "a"))
    assert [str(dtype) for dtype in table.dtypes] == ["str", "int64", "float64"]
    assert table["text"].tolist()[::2] == ["a", "b"] and table["text"].isna().tolist() == [False, True, False, False]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("lines.jsonl.gz", b'{"a": "' + b"x" * 5 * MEBIBYTE + b'"}\n'),
        ("field.csv.gz", b"a,b\n1," + b"x" * 5 * MEBIBYTE + b"\n"),
    ],
)
def test_one_long_line_is_held_to_the_limit(mounts: Path, tmp_path: Path, name: str, content: bytes) -> None:
    with pytest.raises(DataError, match="more than 1048576 bytes"):
        read(mounts, name, gzip.compress(content), tmp_path / "a")


def test_members_and_files_count_together(mounts: Path, tmp_path: Path) -> None:
    part = gzip.compress(b"1\n" * (MEBIBYTE // 8))  # a quarter of the limit
    with pytest.raises(DataError, match="more than 1048576 bytes"):
        read(mounts, "members.csv.gz", gzip.compress(b"x\n") + part * 4, tmp_path / "a")
    for index in range(5):
        (mounts / "pvc" / "store" / "many").mkdir(exist_ok=True)
        (mounts / "pvc" / "store" / "many" / f"{index}.csv.gz").write_bytes(gzip.compress(b"x\n") + part)
    source = DataInput(name="table", uri="pvc://store/many")
    with pytest.raises(DataError, match="more than 1048576 bytes") as caught:
        tables.read(source, sources.fetch(source, tmp_path / "b"))
    assert caught.value.reason == "TooLarge"


def test_a_nested_column_of_parquet_is_refused_unread(mounts: Path, tmp_path: Path) -> None:
    lists = parquet(pa.table({"a": [1], "l": pa.array([np.zeros(2_000_000)])}))
    with pytest.raises(DataError, match=r"column 'l' is nested; give it flat") as caught:
        read(mounts, "nested.parquet", lists, tmp_path / "a")
    assert caught.value.reason == "InvalidData"


def test_a_batch_prediction_refuses_a_row_group_beyond_the_limit(mounts: Path) -> None:
    bomb = parquet(pa.table({"x": np.arange(300_000)}), use_dictionary=False, compression="zstd")
    (mounts / "pvc" / "store" / "rows.parquet").write_bytes(bomb)
    with (
        inputs.find("pvc://store/rows.parquet", None) as found,
        pytest.raises(PredictError, match="more than 1048576 bytes") as caught,
        found.opened(found.entries[0]),
    ):
        pass
    assert caught.value.reason == "DataInvalid"


def test_a_models_archive_is_measured_before_it_is_opened(tmp_path: Path) -> None:
    path = tmp_path / "model.skops"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("schema.json", "{}")
        archive.writestr("0.npy", bytes(5 * MEBIBYTE))
    assert path.stat().st_size < MEBIBYTE // 10
    with pytest.raises(StartError, match="more than 1048576 bytes") as caught:
        native_model.load_skops(path)
    assert caught.value.reason == "ModelLoadFailed"


def test_a_large_archive_that_is_not_compressed_is_no_bomb(tmp_path: Path) -> None:
    path = tmp_path / "model.skops"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("0.npy", bytes(5 * MEBIBYTE))
    expansion.check_zip(path, "model.skops")


def test_the_limit_is_half_of_the_memory_at_most(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = tmp_path / "memory.max"
    monkeypatch.setattr(expansion, "_MEMORY", (memory,))
    assert expansion.limit() == MEBIBYTE
    monkeypatch.setenv("TIDEMILL_EXPANDED_LIMIT", "2Gi")
    memory.write_text("max\n")
    assert expansion.limit() == 2 << 30
    memory.write_text(f"{1 << 30}\n")
    assert expansion.limit() == 1 << 29
    monkeypatch.delenv("TIDEMILL_EXPANDED_LIMIT")
    memory.unlink()
    assert expansion.limit() == expansion.DEFAULT_LIMIT
    with pytest.raises(ExpansionError):
        expansion.check(expansion.DEFAULT_LIMIT + 1, "x")
