"""Answered rows become Parquet: each of an acknowledged batch once, with its label, and no more than was asked for."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from tests.support.monitoring import START, Clock, batch, config, running

from tidemill_contracts.inference import MONITOR_CONFIG_ENV, Feedback
from tidemill_contracts.payloads import PayloadConfig
from tidemill_contracts.storage import Uri
from tidemill_runtime.monitor import erase, payload_writer, payloads
from tidemill_runtime.monitor.service import Monitor
from tidemill_runtime.storage.base import StorageError
from tidemill_runtime.storage.local import LocalFolder

URI = "pvc://lake/log/team-a/churn"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalFolder:
    """The store, a folder of this machine; the thread never writes by itself."""
    (tmp_path / "store").mkdir()
    found = LocalFolder(Uri("pvc", "lake", "log"), tmp_path / "store", tmp_path / "store")
    monkeypatch.setattr(payload_writer, "open_folder", lambda *_: found)
    monkeypatch.setattr(payload_writer, "LOOK_SECONDS", 3600.0)
    return found


@pytest.fixture
def clock() -> Clock:
    return Clock(START + 10)


@pytest.fixture
def monitor(tmp_path: Path, folder: LocalFolder, clock: Clock) -> Iterator[Monitor]:
    with running(keeping(tmp_path), clock) as found:
        yield found


def keeping(tmp_path: Path, **changes: Any) -> Any:
    return config(tmp_path, payloads=PayloadConfig(uri=URI, **{"wait_seconds": 60, **changes}))


def rows(folder: LocalFolder) -> pd.DataFrame:
    """Every row of the store."""
    frames = [pd.read_parquet(folder.path / entry.key) for entry in folder.files("rows")]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


def written(monitor: Monitor) -> int:
    """Write all that is due; return how many files that were."""
    files = 0
    while monitor.payloads.step():
        files += 1
    return files


def test_rows_are_written_once_with_answers_and_labels_when_those_are_due(
    monitor: Monitor, folder: LocalFolder, clock: Clock
) -> None:
    first = batch(1, rows=3, scores=[0.9, 0.8, 0.7])
    monitor.add_batch(first).result(10)
    assert monitor.add_batch(first).result(10) is False, "acknowledged again, counted once"
    monitor.add_feedback([Feedback(id="p1/1", label=1)]).result(10)
    assert written(monitor) == 0, "labels are not due"
    clock.now += 60
    assert written(monitor) == 1

    found = rows(folder)
    assert found["prediction_id"].tolist() == ["p1/0", "p1/1", "p1/2"]
    assert found["prediction_time"].tolist() == [START] * 3
    assert set(found["model_version"]) == {"churn-1"}
    assert found["age"].tolist() == first.columns["age"]
    assert found["plan"].tolist() == first.columns["plan"]
    assert found["prediction"].tolist() == first.predictions
    assert found["prediction_score"].tolist() == [0.9, 0.8, 0.7]
    assert found["label"].tolist()[1] == 1
    assert found["label"].isna().tolist() == [True, False, True]
    assert written(monitor) == 0


def test_who_is_killed_after_the_file_was_written_writes_the_same_one_again(
    tmp_path: Path, folder: LocalFolder, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(keeping(tmp_path), clock) as monitor:
        monitor.add_batch(batch(1, rows=3)).result(10)
        clock.now += 60
        with monkeypatch.context() as killed:
            killed.setattr(payloads, "close_file", lambda *_: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                monitor.payloads.step()
        monitor.add_batch(batch(2, rows=2, at=clock.now)).result(10)
        clock.now += 60
    with running(keeping(tmp_path), clock) as monitor:
        assert written(monitor) == 2
    assert rows(folder)["prediction_id"].tolist() == ["p1/0", "p1/1", "p1/2", "p2/0", "p2/1"]


def test_a_new_database_overwrites_no_file_of_the_one_before(tmp_path: Path, folder: LocalFolder, clock: Clock) -> None:
    for number in (1, 2):
        (tmp_path / f"{number}").mkdir()
        with running(keeping(tmp_path / f"{number}"), clock) as monitor:
            monitor.add_batch(batch(number, rows=2)).result(10)
            clock.now += 60
            assert written(monitor) == 1
    assert len(rows(folder)) == 4


def test_an_empty_list_of_columns_keeps_ids_versions_and_times_only(
    tmp_path: Path, folder: LocalFolder, clock: Clock
) -> None:
    with running(keeping(tmp_path, columns=()), clock) as monitor:
        monitor.add_batch(batch(1, rows=2, clients=["ab" * 8, "cd" * 8])).result(10)
        monitor.add_feedback([Feedback(id="p1/0", label=1)]).result(10)
        text = sqlite3.connect(tmp_path / "monitor.db").execute("SELECT content FROM payload").fetchone()[0]
        assert text == '{"model_version": "churn-1"}', "nothing else waits either"
        clock.now += 60
        written(monitor)
    assert rows(folder).columns.tolist() == ["prediction_id", "prediction_time", "model_version"]


def test_listed_columns_are_kept_and_redacted_ones_only_as_digests(
    tmp_path: Path, folder: LocalFolder, clock: Clock
) -> None:
    with running(keeping(tmp_path, columns=("plan",), redact=("plan",)), clock) as monitor:
        several = batch(1, rows=4, columns={"age": [0.1] * 4, "plan": ["pro", "basic", "pro", None]})
        monitor.add_batch(several).result(10)
        clock.now += 60
        written(monitor)
    found = rows(folder)
    assert "age" not in found
    one, other, same, missing = found["plan"].tolist()
    assert one == same != other
    assert missing is None or missing != missing
    assert not {"pro", "basic"} & {one, other} and len(one) == 16


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([1, 2, None], "int64"),
        ([1, 2.5, None], "double"),
        ([True, None], "bool"),
        (["a", 1, None], "string"),
        ([2**70, 1], "double"),
        ([None, None], "null"),
    ],
)
def test_a_column_of_a_file_has_one_type(values: list[Any], kind: str) -> None:
    assert str(payloads._array([v if not isinstance(v, int) or abs(v) < 2**63 else float(v) for v in values]).type) == (
        kind
    )


def test_a_store_that_is_away_costs_no_row_and_what_waits_is_bounded(
    tmp_path: Path, folder: LocalFolder, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: Any) -> None:
        raise StorageError("StorageUnavailable", "no answer", retriable=True)

    with running(keeping(tmp_path), clock) as monitor:
        monitor.add_batch(batch(1, rows=3)).result(10)
        clock.now += 60
        with monkeypatch.context() as broken:
            broken.setattr(folder.__class__, "write", away)
            with pytest.raises(StorageError):
                monitor.payloads.step()
        monitor.add_batch(batch(2, rows=100, at=clock.now)).result(10)
        monitor._writer.submit(lambda c: payloads.bound(c, 1_000)).result(10)
        left = monitor._writer.submit(payloads.status).result(10)
        assert left["waiting"] + left["discarded"] == 103
        assert 3 < left["waiting"] < 20, "those of the file that was begun stay"
        clock.now += 60
        assert written(monitor) == 2
    found = rows(folder)["prediction_id"].tolist()
    assert found[:3] == ["p1/0", "p1/1", "p1/2"]
    assert found[-1] == "p2/99", "the newest are kept"


def test_files_older_than_the_retention_go(tmp_path: Path, folder: LocalFolder, clock: Clock) -> None:
    settings = keeping(tmp_path, retention_seconds=10 * 86_400)
    with running(settings, clock) as monitor:
        for number in range(3):
            monitor.add_batch(batch(number, rows=2, at=clock.now)).result(10)
            clock.now += 86_400 * 5
            written(monitor)
        (folder.path / "rows" / "notes.parquet").write_bytes(b"somebody else's")
        monitor.payloads.tidy()
    left = [entry.key for entry in folder.files("rows")]
    assert len(left) == 3
    assert "rows/notes.parquet" in left


def test_rows_of_a_person_are_erased_from_files_and_from_what_waits(
    monitor: Monitor, folder: LocalFolder, clock: Clock
) -> None:
    monitor.add_batch(batch(1, rows=3)).result(10)
    clock.now += 60
    written(monitor)
    monitor.add_batch(batch(2, rows=3, at=clock.now)).result(10)
    gone = monitor._writer.submit(lambda c: payloads.erase(c, folder, frozenset({"p1/1", "p2"}))).result(10)
    assert gone == 4
    clock.now += 60
    written(monitor)
    assert rows(folder)["prediction_id"].tolist() == ["p1/0", "p1/2"]


def test_nothing_is_kept_unless_asked_for(tmp_path: Path, folder: LocalFolder, clock: Clock) -> None:
    with running(config(tmp_path), clock) as monitor:
        monitor.add_batch(batch(1, rows=3)).result(10)
        assert monitor._writer.submit(payloads.status).result(10) == {"waiting": 0, "files": 0, "discarded": 0}
        assert written(monitor) == 0


def test_inputs_that_are_named_like_a_column_of_every_file_get_another_name(
    tmp_path: Path, folder: LocalFolder, clock: Clock
) -> None:
    with running(keeping(tmp_path, redact=("label",)), clock) as monitor:
        named = batch(
            1, rows=2, columns={"age": [0.1, 0.2], "plan": ["pro"] * 2, "label": [1, 2], "prediction": [3, 4]}
        )
        monitor.add_batch(named).result(10)
        monitor.add_feedback([Feedback(id="p1/0", label=9)]).result(10)
        clock.now += 60
        written(monitor)
    found = rows(folder)
    assert found["input.prediction"].tolist() == [3, 4]
    assert found["prediction"].tolist() == named.predictions
    assert found["label"].tolist()[0] == 9
    assert {len(value) for value in found["input.label"]} == {16}


def test_a_file_of_which_all_rows_were_erased_is_none(monitor: Monitor, folder: LocalFolder, clock: Clock) -> None:
    monitor.add_batch(batch(1, rows=2)).result(10)
    clock.now += 60
    monitor._writer.submit(lambda c: payloads.open_file(c, keeping(Path()).payloads, clock.now)).result(10)
    monitor._writer.submit(lambda c: payloads.erase(c, folder, frozenset({"p1"}))).result(10)
    assert written(monitor) == 1
    assert folder.files("rows") == []


def test_the_command_erases_beside_a_monitor_that_runs(
    monitor: Monitor, folder: LocalFolder, clock: Clock, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr(erase, "open_folder", lambda *_: folder)
    environment = {MONITOR_CONFIG_ENV: monitor.config.to_json()}
    monitor.add_batch(batch(1, rows=3)).result(10)
    clock.now += 60
    written(monitor)
    assert erase.main(["p1/0"], environment) == 0
    assert capsys.readouterr().out == "1 row erased\n"
    assert erase.main([], environment) == 2
    nothing = monitor.config.model_copy(update={"payloads": None})
    assert erase.main(["p1/0"], {MONITOR_CONFIG_ENV: nothing.to_json()}) == 2
    assert len(rows(folder)) == 2


def test_who_asked_is_kept_as_a_hash_and_all_rows_of_a_client_can_be_erased(
    monitor: Monitor, folder: LocalFolder, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(erase, "open_folder", lambda *_: folder)
    monitor.add_batch(batch(1, rows=3, clients=["ab" * 8, "cd" * 8, None])).result(10)
    clock.now += 60
    written(monitor)
    assert rows(folder)["client"].tolist()[:2] == ["ab" * 8, "cd" * 8]
    monitor.add_batch(batch(2, rows=2, at=clock.now, clients=["ab" * 8, "cd" * 8])).result(10)
    assert erase.main(["client=" + "ab" * 8], {MONITOR_CONFIG_ENV: monitor.config.to_json()}) == 0
    clock.now += 60
    written(monitor)
    assert rows(folder)["prediction_id"].tolist() == ["p1/1", "p1/2", "p2/1"]


def test_the_report_says_what_keeps_rows_from_the_store(monitor: Monitor) -> None:
    monitor.payloads.last_error = "AccessDenied: no"
    found = monitor.report().payloads
    assert found is not None
    assert (found.error, found.discarded) == ("AccessDenied: no", 0)
