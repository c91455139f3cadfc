"""Files become tables of plain columns, and broken files are named by file, line and column."""

import gzip
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet as pq

from tidemill_contracts.training import DataInput
from tidemill_runtime.datasets import tables
from tidemill_runtime.datasets.errors import DataError
from tidemill_runtime.datasets.sources import Fetched


def read(tmp_path: Path, *files: tuple[str, bytes], form: str = "Auto") -> pd.DataFrame:
    copies = []
    for number, (name, content) in enumerate(files):
        path = tmp_path / str(number)
        path.write_bytes(content)
        copies.append((name, path))
    source = DataInput.model_validate({"name": "table", "uri": "pvc://data/x", "format": form})
    return tables.read(source, Fetched(tuple(copies), "", ""))


def parquet(tmp_path: Path, frame: pd.DataFrame) -> bytes:
    frame.to_parquet(tmp_path / "frame.parquet", index=False)
    return (tmp_path / "frame.parquet").read_bytes()


FRAME = pd.DataFrame({"zahl": [1, 2], "größe": ["č", None], "share": [0.5, float("inf")]})
LINES = '{"zahl":1,"größe":"č","share":0.5}\n\n{"zahl":2,"größe":null,"share":Infinity}\n'.encode()
CSV = "zahl,größe,share\n1,č,0.5\n2,,inf\n".encode()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.csv", CSV),
        ("t.csv", b"\xef\xbb\xbf" + CSV),
        ("t.csv", CSV.replace(b"\n", b"\r\n")),
        ("t.csv.gz", gzip.compress(CSV)),
        ("no suffix", CSV),
        ("no suffix", gzip.compress(CSV)),
        ("t.jsonl", LINES),
        ("no suffix", LINES),
        ("no suffix", gzip.compress(LINES)),
    ],
)
def test_every_format_gives_the_same_table(tmp_path: Path, name: str, content: bytes) -> None:
    pd.testing.assert_frame_equal(read(tmp_path, (name, content)), FRAME)


@pytest.mark.parametrize("name", ["t.parquet", "no suffix"])
def test_parquet_is_recognised_by_name_or_content(tmp_path: Path, name: str) -> None:
    pd.testing.assert_frame_equal(read(tmp_path, (name, parquet(tmp_path, FRAME))), FRAME)


def test_the_format_that_is_given_wins_over_the_name(tmp_path: Path) -> None:
    pd.testing.assert_frame_equal(read(tmp_path, ("t.txt.csv", LINES), form="JSONLines"), FRAME)


def test_parquets_finer_types_become_what_a_server_can_rebuild(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {
            "category": pd.Series(["a", "b"], dtype="category"),
            "gaps": pd.Series([1, None], dtype="Int32"),
            "flags": pd.Series([True, None], dtype="boolean"),
            "small": np.array([1, 2], dtype=np.int8),
            "single": np.array([0.5, 1.5], dtype=np.float32),
            "day": pd.to_datetime(["2026-01-01", "2026-01-02"]),
            "yes": [True, False],
        }
    )
    found = read(tmp_path, ("t.parquet", parquet(tmp_path, frame)))
    kinds = ["str", "float64", "float64", "int64", "float64", "str", "bool"]
    assert [str(dtype) for dtype in found.dtypes] == kinds
    assert found["day"].tolist() == ["2026-01-01T00:00:00", "2026-01-02T00:00:00"]
    assert found["flags"].tolist()[0] == 1.0


@pytest.mark.parametrize(
    ("values", "kind", "expected"),
    [
        ([True, None, False], "float64", [1.0, None, 0.0]),
        ([np.True_, pd.NA], "float64", [1.0, None]),
        ([np.int64(3), None], "float64", [3.0, None]),
        ([True, False], "bool", [True, False]),
        ([np.True_, False], "bool", [True, False]),
        ([1, True], "int64", [1, 1]),
        ([1, 2.5], "float64", [1.0, 2.5]),
        ([10**30, 1], "str", [str(10**30), "1"]),
        ([-(10**5000), None], "str", ["-1" + 5000 * "0", None]),
        ([2**53, None], "float64", [2.0**53, None]),
        ([2**53 + 1, None], "str", [str(2**53 + 1), None]),
        ([2**53 + 1, 7.0, True], "str", [str(2**53 + 1), "7", "1"]),
        ([2**53 + 1, 0.5], "float64", [2.0**53, 0.5]),
        ([2**63 - 1, -(2**63)], "int64", [2**63 - 1, -(2**63)]),
        ([2**63, -1], "str", [str(2**63), "-1"]),
        ([Decimal("12345678901234567890.00"), None], "str", ["12345678901234567890", None]),
        ([Decimal("12345678901234567890.50"), None], "float64", [12345678901234567890.5, None]),
        ([1e300, None], "float64", [1e300, None]),
        ([pd.NA, None], "float64", [None, None]),
        ([True, "yes", None], "str", ["True", "yes", None]),
        ([1.0, "x", 2.5], "str", ["1", "x", "2.5"]),
    ],
)
def test_objects_become_plain_columns(values: list[object], kind: str, expected: list[object]) -> None:
    found = tables.normal(pd.Series(values, dtype=object, name="mixed", index=range(5, 5 + len(values))))
    assert (str(found.dtype), found.name, found.index[0]) == (kind, "mixed", 5)
    assert [None if pd.isna(value) else value for value in found] == expected


IDS = [12345678901234567, 12345678901234568, 9223372036854775808, 12345678901234567890, 10**24 + 1]


def lines(values: list[int | None]) -> bytes:
    return "".join(f'{{"id": {"null" if v is None else v}, "x": 1}}\n' for v in values).encode()


def csv(values: list[int | None]) -> bytes:
    return "".join(["id,x\n", *(f"{'' if v is None else v},1\n" for v in values)]).encode()


@pytest.mark.parametrize("write", [csv, lines])
@pytest.mark.parametrize("number", range(len(IDS)))
@pytest.mark.parametrize("beside", [[], [None], [-1], [None, -1]])
def test_ids_keep_all_of_their_digits(
    tmp_path: Path, write: Callable[[list[int | None]], bytes], number: int, beside: list[int | None]
) -> None:
    """Two ids that are one float64 would be one customer, and one group of evaluation.split."""
    values = [IDS[number], IDS[number] + 1, *beside]
    (found,) = [read(tmp_path, ("t", write(values)))["id"]]
    fits = None not in values and IDS[number] < 2**63
    assert str(found.dtype) == ("int64" if fits else "str")
    assert [None if pd.isna(v) else int(v) for v in found] == values


@pytest.mark.parametrize("kind", ["int64", "uint64", "Int64", "UInt64", "decimal"])
@pytest.mark.parametrize("gap", [False, True])
def test_ids_of_parquet_keep_all_of_their_digits(tmp_path: Path, kind: str, gap: bool) -> None:
    values = [2**62 + 1, 2**62 + 2, *([None] if gap else [])]
    arrow = {"int64": pa.int64(), "Int64": pa.int64(), "decimal": pa.decimal128(30, 0)}.get(kind, pa.uint64())
    frame = pa.table({"id": pa.array(values, arrow), "x": [0.5] * len(values)}).to_pandas(
        types_mapper={pa.int64(): pd.Int64Dtype(), pa.uint64(): pd.UInt64Dtype()}.get if kind[0] in "IU" else None
    )
    stored = pa.Table.from_pandas(frame) if kind[0] in "IU" else pa.table({"id": pa.array(values, arrow)})
    pq.write_table(stored, tmp_path / "t.parquet")
    found = read(tmp_path, ("t.parquet", (tmp_path / "t.parquet").read_bytes()))["id"]
    assert [None if pd.isna(v) else int(v) for v in found] == values


def test_a_gap_in_another_file_takes_no_digits(tmp_path: Path) -> None:
    small, none = csv([5, None]), csv([None])
    ids = csv([2**60 + 1, 2**60 + 2])
    assert read(tmp_path, ("1.csv", ids), ("2.csv", small))["id"].tolist()[:3] == [str(2**60 + 1), str(2**60 + 2), "5"]
    assert read(tmp_path, ("1.csv", none), ("2.csv", ids))["id"].tolist()[1:] == [str(2**60 + 1), str(2**60 + 2)]
    apart = read(tmp_path, ("1.csv", csv([2**63 + 1])), ("2.csv", csv([-1])))
    assert apart["id"].tolist() == [str(2**63 + 1), "-1"]


def test_large_numbers_of_a_measurement_stay_numbers(tmp_path: Path) -> None:
    found = read(tmp_path, ("t.csv", b"x,y,z\n12345678901234567,1e17,\n0.5,2,a\n"))
    assert [str(dtype) for dtype in found.dtypes] == ["float64", "float64", "str"]


@pytest.mark.parametrize(
    ("files", "reason", "says"),
    [
        ([("t.csv", b"a,a,b\n1,2,3\n")], "DuplicateColumns", "input 'table', t.csv: columns occur more than once: a"),
        ([("t.csv", b"a,,b\n1,2,3\n")], "InvalidData", "column 2 has no name"),
        ([("t.csv", b"a,b\n1,2\n1,2,3\n")], "InvalidData", "not CSV: Expected 2 fields in line 3, saw 3"),
        ([("t.csv", "a\nä\n".encode("latin-1"))], "InvalidData", "byte 2 is not UTF-8"),
        ([("t.csv", b"")], "EmptyData", "t.csv: the file is empty"),
        ([("t.csv", b"a,b\n")], "EmptyData", "pvc://data/x has no rows"),
        ([("t.csv.gz", gzip.compress(CSV)[:-9])], "InvalidData", "broken gzip data"),
        ([("no suffix", b"\x1f\x8bno gzip")], "InvalidData", "broken gzip data"),
        ([("t.jsonl", b'{"a":1}\n{"a":\n')], "InvalidData", "line 2: not JSON"),
        ([("t.jsonl", b'{"a":1}\n' + b"[" * 100_000)], "InvalidData", "line 2: maximum recursion"),
        ([("t.jsonl", b'{"a":' + b"1" * 5000 + b"}")], "InvalidData", "line 1: Exceeds the limit"),
        ([("t.jsonl", b"[1]\n")], "InvalidData", "line 1: expected an object, found list"),
        ([("t.jsonl", b'{"a":1}\n{"a":{"b":2}}\n')], "InvalidData", "line 2: column 'a' is nested"),
        ([("t.parquet", b"PAR1 and nothing more")], "InvalidData", "t.parquet: not Parquet"),
        (
            [("1.csv", b"a,b\n1,2\n"), ("2.csv", b"a,c\n1,2\n")],
            "ColumnsDiffer",
            "2.csv and 1.csv differ in columns b, c",
        ),
    ],
)
def test_a_broken_file_is_named(tmp_path: Path, files: list[tuple[str, bytes]], reason: str, says: str) -> None:
    with pytest.raises(DataError) as caught:
        read(tmp_path, *files)
    assert (caught.value.reason, says in str(caught.value)) == (reason, True), str(caught.value)


def test_columns_in_another_order_are_the_same_columns(tmp_path: Path) -> None:
    table = read(tmp_path, ("1.csv", b"a,b\n1,x\n"), ("2.csv", b"b,a\ny,2\n"))
    assert table.to_dict("list") == {"a": [1, 2], "b": ["x", "y"]}
