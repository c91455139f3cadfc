"""Tables in memory are counted as the same values in records of a server are."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tidemill_contracts.monitoring import ColumnConfig
from tidemill_contracts.reference import CategoricalProfile, ReferenceProfile
from tidemill_runtime.monitor.binning import PREDICTION, SCORE, Layout
from tidemill_runtime.monitor.tables import count_table, count_tables
from tidemill_runtime.trainer.package import reference_profile

RANDOM = np.random.default_rng(3)
ROWS = 4_000
TABLE = pd.DataFrame(
    {
        "amount": RANDOM.lognormal(size=ROWS),
        "single": RANDOM.normal(size=ROWS).astype(np.float32),
        "visits": RANDOM.integers(0, 30, ROWS),
        "shop_id": RANDOM.integers(1_000, 1_040, ROWS),
        "plan": RANDOM.choice(["basic", "plus", "pro"], ROWS),
        "active": RANDOM.random(ROWS) < 0.3,
    }
)
PROFILE = ReferenceProfile(
    schema_version=2,
    rows=ROWS,
    features=reference_profile.features(TABLE),
    prediction=CategoricalProfile(name="y", categories=("0", "1"), counts=(900, 100, 0), missing=0),
    score=reference_profile.numeric(RANDOM.random(500), "score"),
)
OUTPUTS = {PREDICTION: "label", SCORE: "probability"}


def same(layout: Layout, arrays: dict[str, Any]) -> None:
    """Counters of a table are those of its values as a server sends them."""
    table = pa.RecordBatch.from_arrays(list(arrays.values()), names=list(arrays))
    values = {name: array.to_pylist() for name, array in arrays.items()}
    rows = table.num_rows
    predictions = values.pop("label", [None] * rows)
    expected = layout.count(values, predictions, values.pop("probability", None))
    assert count_table(layout, table, OUTPUTS).tolist() == expected.tolist()


def test_tables_of_every_type_are_counted_as_records_are() -> None:
    arrays = {name: pa.array(TABLE[name]) for name in TABLE}
    arrays |= {"label": pa.array(RANDOM.integers(0, 3, ROWS)), "probability": pa.array(RANDOM.random(ROWS))}
    same(Layout(PROFILE), arrays)
    stated = {"visits": ColumnConfig(type="Category"), "shop_id": ColumnConfig(type="Number")}
    same(Layout(PROFILE, stated), arrays)
    same(Layout(PROFILE, {"plan": ColumnConfig(type="Ignore")}), arrays)


@pytest.mark.parametrize(
    "values",
    [
        pa.array([1.5, None, float("nan"), float("inf"), -1e300]),
        pa.array([1, None, 3, 2**62, -5]),
        pa.array([True, None, False, True, True]),
        pa.array(["1.5", None, "x", "", "plus"]),
        pa.array([None] * 5, pa.null()),
        pa.array(["pro", None, "pro", "basic", "new"]).dictionary_encode(),
        pa.array([1.0, 1e16, None, float("nan"), 7.25]),
        pa.array([1, 2, None, 4, 5], pa.uint8()),
        pa.array([0.5, -0.0, None, 3.0, 1.0], pa.float32()),
    ],
    ids=str,
)
def test_awkward_values_are_counted_as_records_are(values: Any) -> None:
    for name in TABLE:
        same(Layout(PROFILE), {name: values, "label": values, "unknown": values})


def test_a_file_is_counted_piece_by_piece(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.Table.from_pandas(TABLE), path, row_group_size=700)
    layout = Layout(PROFILE)
    rows, counts = count_tables(layout, pq.ParquetFile(path).iter_batches(batch_size=300))
    whole = count_table(layout, pa.RecordBatch.from_pandas(TABLE), {})
    assert (rows, counts.tolist()) == (ROWS, whole.tolist())
    for profile, name in zip(PROFILE.features, layout.columns, strict=False):
        if name.startswith("feature:") and profile.missing + profile.present == ROWS:
            assert tuple(layout.column(name, counts)[: len(profile.counts)]) == profile.counts


def test_memory_does_not_grow_with_the_rows() -> None:
    layout = Layout(PROFILE)

    def parts(number: int) -> Iterator[Any]:
        for _ in range(number):
            yield pa.RecordBatch.from_pandas(TABLE)

    def peak(number: int) -> int:
        tracemalloc.start()
        count_tables(layout, parts(number))
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    count_tables(layout, parts(2))
    assert peak(40) < peak(4) + 300_000  # 36 more tables have 8 MB
