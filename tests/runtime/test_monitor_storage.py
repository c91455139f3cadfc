"""The writer's promises and the database's bounds."""

import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.monitoring import DIGEST, START, Clock, batch, config, hear_others, reference, running

from tidemill_contracts.inference import Feedback
from tidemill_runtime.monitor import ground_truth, replays, retention, schema, writes
from tidemill_runtime.monitor.binning import Layout
from tidemill_runtime.monitor.ingest import count_batch
from tidemill_runtime.monitor.retention import Retention
from tidemill_runtime.monitor.service import Monitor
from tidemill_runtime.monitor.writer import BusyError, Writer, WriterStoppedError
from tidemill_runtime.monitor.writes import ReferenceConflictError, UnknownDigestError

HOUR = 3600


@pytest.fixture
def database(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    connection = schema.connect(str(tmp_path / "t.db"))
    schema.migrate(connection)
    yield connection
    connection.close()


def size(connection: sqlite3.Connection, table: str) -> int:
    return int(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])


def fill(connection: sqlite3.Connection, windows: int, rows: int = 3) -> None:
    """Add one batch an hour, from START on."""
    writes.add_reference(connection, reference(), START)
    layout = Layout(reference().profile)
    for number in range(windows):
        at = START + number * HOUR
        posted = batch(number, rows, at=at)
        addition = count_batch(posted, layout, now=at, window_seconds=HOUR, retention_seconds=10**9)
        writes.add_batch(connection, addition, HOUR)


def test_acknowledged_data_is_synced_at_commit(database: sqlite3.Connection) -> None:
    assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert database.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL


def test_a_batch_id_counts_once(tmp_path: Path) -> None:
    with running(config(tmp_path)) as monitor:
        assert [monitor.add_batch(batch(7, 10)).result() for _ in range(3)] == [True, False, False]
        assert monitor.report().versions[0].rows == 10


def test_a_monitor_that_starts_again_knows_all_it_acknowledged(tmp_path: Path) -> None:
    with running(config(tmp_path)) as monitor:
        monitor.add_batch(batch(7, 10)).result()
        before = monitor.report().versions
    again = Monitor(config(tmp_path), Clock())
    again.start()
    try:
        assert again.report().versions == before
        assert again.add_batch(batch(7, 10)).result() is False
        assert again.add_batch(batch(8, 10)).result() is True
    finally:
        again.close()


def test_an_unknown_digest_is_refused_and_a_reference_is_immutable(tmp_path: Path) -> None:
    with running(config(tmp_path)) as monitor:
        with pytest.raises(UnknownDigestError):
            monitor.add_batch(batch(digest="sha256:unknown"))
        assert monitor.add_reference(reference()).result() is False
        changed = reference().profile.model_copy(update={"rows": 5})
        with pytest.raises(ReferenceConflictError, match=DIGEST):
            monitor.add_reference(reference(profile=changed)).result()


def test_a_window_length_that_changes_starts_new_windows(tmp_path: Path) -> None:
    with running(config(tmp_path)) as monitor:
        monitor.add_batch(batch(1, 10)).result()
    with running(config(tmp_path, window_seconds=600)) as monitor:
        monitor.add_batch(batch(2, 5)).result()
        (version,) = monitor.report().versions
    assert [(w.end - w.start, w.rows) for w in version.windows] == [(600, 5)]
    assert version.rows == 15


def test_windows_beyond_retention_go_with_their_counters(database: sqlite3.Connection) -> None:
    fill(database, 10)
    keep = Retention(windows=4 * HOUR, predictions=10**9)
    assert retention.prune(database, keep, START + 10 * HOUR) == []
    starts = database.execute("SELECT start FROM window ORDER BY start").fetchall()
    assert [(start - START) / HOUR for (start,) in starts] == [5, 6, 7, 8, 9]
    assert database.execute("SELECT count(DISTINCT window) FROM counter").fetchone() == (5,)


def test_only_the_newest_windows_keep_counters_by_bin(database: sqlite3.Connection) -> None:
    fill(database, 10)
    keep = Retention(windows=10**9, predictions=10**9, detailed_windows=3, total_windows=6)
    for _ in range(2):
        retention.prune(database, keep, START + 10 * HOUR)
        assert size(database, "window") == 6
        assert database.execute("SELECT count(DISTINCT window) FROM counter").fetchone() == (3,)


@pytest.mark.parametrize(
    ("keep", "left"),
    [
        (Retention(windows=10**9, predictions=10**9), 30),
        (Retention(windows=10**9, predictions=10**9, prediction_rows=7), 7),
        (Retention(windows=10**9, predictions=4 * HOUR), 12),
        (Retention(windows=10**9, predictions=0), 0),
    ],
)
def test_predictions_are_bounded_by_age_and_number(database: sqlite3.Connection, keep: Retention, left: int) -> None:
    fill(database, 10)
    retention.prune(database, keep, START + 9 * HOUR + HOUR)
    assert size(database, "prediction") == left


def test_pending_labels_batch_ids_and_senders_are_bounded(database: sqlite3.Connection) -> None:
    fill(database, 2)
    for number in range(10):
        ground_truth.add_feedback(database, Feedback(id=f"x{number}", label=1), {}, START + number)
    retention.prune(database, Retention(windows=10**9, predictions=10**9, pending_rows=4), START + 10)
    assert size(database, "pending") == 4
    retention.prune(database, Retention(windows=10**9, predictions=10**9, pending=3), START + 10)
    assert size(database, "pending") == 3
    retention.prune(database, Retention(windows=10**9, predictions=10**9), START + 100 * HOUR)
    assert (size(database, "pending"), size(database, "sender")) == (0, 1)
    for number in range(5):
        replays.note(database, f"pod-{number}/1/1", 0, START)
        replays.note(database, f"without a number {number}", 0, START)
    retention.prune(database, Retention(windows=10**9, predictions=10**9, senders=3), START + 100 * HOUR)
    assert (size(database, "batch"), size(database, "sender")) == (3, 3)


def test_a_version_without_windows_goes_and_may_come_back(tmp_path: Path) -> None:
    clock = Clock()
    with running(config(tmp_path, retention_seconds=HOUR), clock) as monitor:
        monitor.add_batch(batch(1, 10)).result()
        clock.now += 3 * HOUR
        hear_others(monitor, clock.now)
        monitor.prune()
        assert DIGEST not in {version.digest for version in monitor.report().versions}
        with pytest.raises(UnknownDigestError):
            monitor.add_batch(batch(2, 10))
        assert monitor.add_reference(reference()).result() is True
        assert monitor.add_batch(batch(2, 10, at=clock.now)).result() is True


def test_a_failing_job_is_undone_alone(database: sqlite3.Connection) -> None:
    database.execute("CREATE TABLE t (x INTEGER)")
    writer = Writer(database)

    def fail(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO t VALUES (99)")
        raise ValueError("no")

    good = [writer.submit(lambda c, n=n: c.execute("INSERT INTO t VALUES (?)", (n,)).rowcount) for n in range(2)]
    bad = writer.submit(fail)
    good.append(writer.submit(lambda c: c.execute("INSERT INTO t VALUES (2)").rowcount))
    seen = writer.submit(lambda c: c.execute("SELECT x FROM t ORDER BY x").fetchall())
    writer.start()
    assert [future.result(10) for future in good] == [1, 1, 1]
    with pytest.raises(ValueError, match="no"):
        bad.result(10)
    assert seen.result(10) == [(0,), (1,), (2,)]
    writer.stop()


def test_a_transaction_that_fails_answers_everyone_and_the_next_one_works(
    database: sqlite3.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    writer = Writer(database)

    def full(connection: sqlite3.Connection) -> None:
        connection.execute("ROLLBACK")  # what SQLite does by itself when the disk is full
        raise sqlite3.OperationalError("database or disk is full")

    futures = [writer.submit(lambda c: c.execute("CREATE TABLE t (x)")), writer.submit(full)]
    writer.start()
    for future in futures:
        with pytest.raises(sqlite3.OperationalError, match="full"):
            future.result(10)
    assert writer.last_error == "database or disk is full"
    assert writer.submit(lambda c: size(c, "sqlite_master WHERE name = 't'")).result(10) == 0
    assert writer.last_error is None
    writer.stop()


def test_a_full_queue_refuses_and_a_stopped_writer_too(database: sqlite3.Connection) -> None:
    writer = Writer(database, capacity=2)
    entered, leave = threading.Event(), threading.Event()

    def block(connection: sqlite3.Connection) -> None:
        entered.set()
        leave.wait(10)

    writer.start()
    first = writer.submit(block)
    assert entered.wait(10)
    waiting = [writer.submit(lambda c: 1), writer.submit(lambda c: 2)]
    with pytest.raises(BusyError):
        writer.submit(lambda c: 3)
    leave.set()
    assert [f.result(10) for f in (first, *waiting)] == [None, 1, 2]
    writer.stop()
    with pytest.raises(WriterStoppedError):
        writer.submit(lambda c: 4)
