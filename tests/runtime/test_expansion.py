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
from tidemill_runtime.datasets import sources, tables
from tidemill_runtime.datasets.errors import DataError
from tidemill_runtime.expansion import ExpansionError
from tidemill_runtime.server import native_model
from tidemill_runtime.server import parquet as inputs
from tidemill_runtime.server.errors import PredictError, StartError

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
