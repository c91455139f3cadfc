"""Kept rows as training data: inputs and labels, and nothing of the model that answered."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tidemill_contracts import feedback as contract
from tidemill_contracts import payloads
from tidemill_contracts.feedback import RowsInput
from tidemill_contracts.payloads import PayloadConfig
from tidemill_contracts.storage import Uri
from tidemill_contracts.training import DataInput
from tidemill_runtime import expansion
from tidemill_runtime.datasets import feedback, feedback_files, sources
from tidemill_runtime.datasets.errors import DataError
from tidemill_runtime.monitor import payloads as writer
from tidemill_runtime.storage import folders
from tidemill_runtime.storage.local import LocalFolder

URI = "pvc://lake/log/team-a/churn"
KEPT = pd.DataFrame(
    {
        "prediction_id": ["a", "c"],
        "prediction_time": [1.0, 3.0],
        "model_version": ["churn-1"] * 2,
        "client": ["ab", "cd"],
        "age": [30, 50],
        "input.prediction": [7, 9],
        "input.label": [0.1, 0.3],
        "prediction": [0, 1],
        "prediction_score": [0.9, 0.7],
        "label": [1.0, 0.0],
    }
)


class Store:
    """A deployment's kept rows, written as a monitor writes them."""

    def __init__(self, folder: Path) -> None:
        (folder / "rows").mkdir(parents=True)
        self.path = folder

    def key(self, number: int, day: str = "20261130", database: str = "aaaaaaaa") -> str:
        return payloads.file_key(day, database, number)

    def add(self, number: int, labels: Sequence[Any], *, first: int | None = None, **more: Any) -> str:
        """Write file `number`: a row for each label, of which None has not come. `more`: client, version, columns."""
        start = 100 * number if first is None else first
        found = []
        for place, label in enumerate(labels):
            columns = {"model_version": more.get("version", "churn-1"), "age": start + place, "prediction": 1}
            columns |= {"client": more["client"]} if "client" in more else {}
            columns |= more.get("columns", {})
            text = None if label is None else json.dumps(label)
            found.append((f"r{number}/{place}", float(start + place), json.dumps(columns), text))
        table = writer.table(found, PayloadConfig(uri=URI), b"key")
        key = self.key(number, more.get("day", "20261130"), more.get("database", "aaaaaaaa"))
        pq.write_table(table, self.path / key, compression="zstd")
        return key


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    found = Store(tmp_path / "store")
    folder = LocalFolder(Uri("pvc", "lake", "log/team-a/churn"), found.path, found.path)
    monkeypatch.setattr(folders, "open_folder", lambda *_: folder)
    return found


def source(revision: str | None = None, **rows: Any) -> DataInput:
    settings = {"min_new_rows": 2, **rows}
    return DataInput(name="fresh", uri="feedback://churn", revision=revision, rows=RowsInput(uri=URI, **settings))


def read(found: DataInput, into: Path) -> tuple[pd.DataFrame, contract.RowsTaken]:
    return feedback.read(found, sources.fetch(found, into))


def test_rows_with_a_label_and_their_inputs_are_training_data() -> None:
    found = feedback.labelled(KEPT)
    assert found.columns.tolist() == ["age", "prediction", "input.label", "label"]
    assert found["prediction"].tolist() == [7, 9], "the input of that name, not the answer"
    assert found["label"].tolist() == [1.0, 0.0]


def test_inputs_that_the_deployment_does_not_keep_any_more_are_left_out() -> None:
    assert feedback.labelled(KEPT, ["prediction"]).columns.tolist() == ["prediction", "label"]


def test_a_run_takes_the_rows_whose_label_has_come_oldest_first(store: Store, tmp_path: Path) -> None:
    store.add(1, [1, None, 0])
    store.add(2, [None, 1], version="churn-2")
    table, taken = read(source(), tmp_path / "copy")
    assert table.to_dict("list") == {"age": [100, 102, 201], "label": [1, 0, 1]}
    assert (taken.rows, taken.first, taken.last) == (3, 100.0, 201.0)
    assert taken.versions == {"churn-1": 2, "churn-2": 1}


def test_what_is_written_after_the_decision_changes_nothing_of_the_run(store: Store, tmp_path: Path) -> None:
    store.add(1, [1, 0])
    decided = sources.resolve(source())
    store.add(2, [1, 1, 1])
    first = sources.fetch(source(decided), tmp_path / "one")
    assert first.revision == decided
    again = sources.fetch(source(decided), tmp_path / "two")
    assert (again.revision, again.digest) == (first.revision, first.digest)
    assert feedback.read(source(decided), first)[1].rows == 2


def test_a_revision_changes_when_enough_rows_with_a_label_have_come(store: Store) -> None:
    store.add(1, [1, 0])
    before = sources.resolve(source())
    store.add(2, [None] * 50)
    assert sources.resolve(source(known=before)) == before, "rows without labels are no training data"
    store.add(3, [1])
    assert sources.resolve(source(known=before)) == before, "one of the two that are asked for"
    store.add(4, [1])
    after = sources.resolve(source(known=before))
    assert after != before
    (store.path / store.key(1)).unlink()
    assert sources.resolve(source(known=after)) == after, "old rows that expire are no new data"


def test_a_monitor_that_was_made_anew_numbers_from_one_again(store: Store, tmp_path: Path) -> None:
    store.add(7, [1, 0])
    before = sources.resolve(source())
    store.add(1, [1, 1], database="bbbbbbbb", day="20261201", first=900)
    after = sources.resolve(source(known=before))
    parsed = contract.parse(after)
    assert parsed is not None and parsed.cut == {"aaaaaaaa": 7, "bbbbbbbb": 1}
    assert read(source(after), tmp_path / "copy")[0]["age"].tolist() == [700, 701, 900, 901]


def test_without_labels_it_is_said_how_many_there_are_and_how_many_are_asked_for(store: Store, tmp_path: Path) -> None:
    for labels in ([], [None, None], [None, 1]):
        if labels:
            store.add(len(labels) + labels.count(1), labels)
        with pytest.raises(DataError, match=r"spec\.data\[name=fresh\]\.feedback\.minNewRows is 2") as raised:
            sources.resolve(source())
        assert raised.value.reason == "TooFewLabels"
    (store.path / store.key(3)).unlink()
    with pytest.raises(DataError, match="no row with a label"):
        sources.fetch(source(), tmp_path / "copy")


def test_the_newest_rows_are_taken_up_to_the_limit(store: Store, tmp_path: Path) -> None:
    for number in (1, 2, 3):
        store.add(number, [1, None, 0])
    table, taken = read(source(max_rows=3), tmp_path / "copy")
    assert table["age"].tolist() == [202, 300, 302]
    assert taken.rows == 3
    assert len(list((tmp_path / "copy").iterdir())) == 2, "files that are not needed are not copied"


def test_rows_of_suspected_clients_are_counted_and_left_out_where_that_is_asked_for(
    store: Store, tmp_path: Path
) -> None:
    store.add(1, [1, 0], client="a" * 16)
    store.add(2, [1, None, 1], client="b" * 16)
    suspected = ("b" * 16,)
    table, taken = read(source(suspected=suspected), tmp_path / "kept")
    assert (len(table), taken.suspected, taken.left_out) == (4, 2, 0)
    table, taken = read(source(suspected=suspected, leave_out=True), tmp_path / "without")
    assert table["age"].tolist() == [100, 101]
    assert (taken.rows, taken.suspected, taken.left_out) == (2, 0, 2)


def test_leaving_out_other_clients_is_another_revision_of_the_same_files(store: Store) -> None:
    store.add(1, [1, 0], client="a" * 16)
    before = sources.resolve(source())
    assert sources.resolve(source(known=before, suspected=("a" * 16,))) == before, "suspicion alone changes nothing"
    after = sources.resolve(source(known=before, suspected=("a" * 16,), leave_out=True))
    assert after.startswith(f"{before};without-")


def test_where_all_rows_are_left_out_the_error_says_so(store: Store, tmp_path: Path) -> None:
    store.add(1, [1, 0], client="a" * 16)
    with pytest.raises(DataError, match="2 of clients under suspicion were left out"):
        read(source(suspected=("a" * 16,), leave_out=True), tmp_path / "copy")


def test_a_column_of_some_files_only_is_missing_in_the_others(store: Store, tmp_path: Path) -> None:
    store.add(1, [1, 0])
    store.add(2, ["yes"], columns={"plan": "basic", "big": 2**60 + 1})
    table, _ = read(source(), tmp_path / "copy")
    assert table["plan"].isna().tolist() == [True, True, False]
    assert table["label"].tolist() == ["1", "0", "yes"]
    assert table["big"].tolist()[2] == str(2**60 + 1), "to the last digit"


def test_rows_that_were_kept_without_inputs_train_nothing(store: Store, tmp_path: Path) -> None:
    store.add(1, [1, 0])
    with pytest.raises(DataError, match="have no inputs") as raised:
        read(source(columns=()), tmp_path / "copy")
    assert raised.value.reason == "NoFeatures"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "not Parquet"),
        (b"PAR1" * 4, "not Parquet"),
        (b"x" * 100 + (2**31 - 1).to_bytes(4, "little") + b"PAR1", "not Parquet"),
    ],
)
def test_a_broken_file_is_named_with_what_helps(store: Store, content: bytes, told: str) -> None:
    (store.path / store.key(1)).write_bytes(content)
    with pytest.raises(DataError, match=f"{store.key(1)}: {told}"):
        sources.resolve(source())


@pytest.mark.parametrize(
    "columns",
    [
        {"label": [1]},
        {"label": [1], "prediction_id": ["a"], "model_version": ["v"], "prediction_time": ["now"]},
        {"label": [1], "prediction_id": ["a"], "model_version": [[1]], "prediction_time": [1.0]},
    ],
)
def test_a_file_that_no_monitor_has_written_is_refused(store: Store, tmp_path: Path, columns: Any) -> None:
    pq.write_table(pa.table(columns), store.path / store.key(1))
    with pytest.raises(DataError) as raised:
        read(source(), tmp_path / "copy")
    assert raised.value.reason == "InvalidData"


def test_rows_that_no_monitor_can_have_written_so_spoil_no_report(store: Store, tmp_path: Path) -> None:
    rows = {
        "prediction_id": ["a", "b", "c", "d", "e"],
        "prediction_time": [1.0, float("nan"), 1e300, -1.0, 2.0],
        "model_version": ["two\nlines", "churn-1", "churn-1", "churn-1", "others"],
        "age": [1, 2, 3, 4, 5],
        "label": [0, 1, 0, 1, 1],
    }
    pq.write_table(pa.table(rows), store.path / store.key(1))
    table, taken = read(source(), tmp_path / "copy")
    assert table["age"].tolist() == [1, 5]
    assert (taken.rows, taken.first, taken.last, taken.versions) == (2, 1.0, 2.0, {"others": 2})


def test_versions_beyond_the_first_are_counted_together(store: Store, tmp_path: Path) -> None:
    for number in range(1, 14):
        store.add(number, [1] * (20 - number), version=f"churn-{number}")
    taken = read(source(), tmp_path / "copy")[1]
    assert list(taken.versions) == [*(f"churn-{number}" for number in range(1, 11)), "others"]
    assert sum(taken.versions.values()) == taken.rows
    assert taken.versions["others"] == 9 + 8 + 7


def test_other_files_of_the_folder_are_nobodys_rows(store: Store, tmp_path: Path) -> None:
    store.add(1, [1, 0])
    (store.path / "rows" / "notes.txt").write_text("mine")
    (store.path / "rows" / "rows-20261130-aaaaaaaa-2.parquet").write_text("another number")
    assert read(source(), tmp_path / "copy")[1].rows == 2


def test_rows_that_need_more_memory_than_there_is_are_refused_with_the_field(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(1, 9):
        store.add(number, [1] * 120 + [None] * 320)
    fetched = sources.fetch(source(), tmp_path / "copy")
    monkeypatch.setattr(expansion, "limit", lambda: 30_000)
    with pytest.raises(DataError, match=r"feedback\.maxRows takes fewer rows") as raised:
        feedback.read(source(), fetched)
    assert raised.value.reason == "TooLarge"
    monkeypatch.setattr(expansion, "limit", lambda: 90_000)
    assert feedback.read(source(), fetched)[1].rows == 960, "rows without a label are not held"


def test_a_long_footer_is_read_whole(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    key = store.add(1, [1, None, 0], columns={f"column_{i}": i for i in range(50)})
    monkeypatch.setattr(feedback_files, "_FOOTER", 64)
    folder = folders.open_folder(URI)
    entry = next(entry for entry in folder.files("rows") if entry.key == key)
    assert feedback_files.labels(folder, entry) == 2


def test_a_file_that_is_removed_while_a_run_begins_is_looked_up_once_more(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.add(1, [1, 0])
    store.add(2, [1, 0])
    download = feedback_files.base.download

    def removing(folder: Any, key: str, path: Path) -> str:
        (store.path / store.key(1)).unlink(missing_ok=True)
        return download(folder, key, path)

    monkeypatch.setattr(feedback_files.base, "download", removing)
    assert read(source(), tmp_path / "copy")[1].rows == 2


def test_kept_rows_are_read_in_runs_only(tmp_path: Path) -> None:
    bare = DataInput(name="--input", uri="feedback://churn")
    for call in (sources.resolve, lambda s: sources.fetch(s, tmp_path)):
        with pytest.raises(DataError, match="in runs of a TrainingPipeline only"):
            call(bare)
