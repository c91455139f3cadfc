"""The monitor between versions: its database migrates stepwise, a newer one is left alone, old profiles are read."""

import hashlib
import json
import sqlite3
from pathlib import Path

import pytest
from tests.support.monitoring import DIGEST, PROFILE, START, Clock, batch, config, reference, running
from tests.support.stored import GOLDEN, RELEASES, says

from tidemill_contracts.inference import Feedback
from tidemill_contracts.monitoring import ColumnConfig, MonitorReport, PerformanceConfig
from tidemill_contracts.reference import CategoricalProfile, NumericProfile, ReferenceProfile
from tidemill_runtime.monitor import schema
from tidemill_runtime.monitor.service import Monitor
from tidemill_runtime.monitor.writes import ReferenceConflictError, united

PERFORMANCE = PerformanceConfig(metric="accuracy", min=0.5, min_labels=5)
NOW = len(schema.STEPS)
SHOP = NumericProfile(
    name="shop",
    edges=(1.5,),
    counts=(5, 5),
    missing=0,
    minimum=1.0,
    maximum=2.0,
    distinct=2,
    role="Code",
    as_categories=CategoricalProfile(name="shop", categories=("1", "2"), counts=(5, 5, 0), missing=0, distinct=2),
)
LATER = (
    *schema.STEPS,
    "ALTER TABLE version ADD COLUMN note TEXT NOT NULL DEFAULT 'new'; CREATE TABLE extra (x INTEGER);",
    "INSERT INTO extra SELECT rows FROM version;",
)


def stored(release: Path, folder: Path) -> Path:
    """The database of a release."""
    path = folder / "monitor.db"
    with sqlite3.connect(path) as connection:
        connection.executescript((release / "monitor.sql").read_text())
    connection.close()
    return path


def version_of(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def content(connection: sqlite3.Connection) -> list[str]:
    return [line for line in connection.iterdump() if line.startswith("INSERT")]


@pytest.mark.parametrize("release", [pytest.param(r, id=r.name) for r in RELEASES])
def test_a_database_of_a_release_tells_the_same_and_goes_on(release: Path, tmp_path: Path) -> None:
    stored(release, tmp_path)
    before = MonitorReport.from_json((release / "monitor-report.json").read_text())
    clock = Clock(before.now)
    with running(config(tmp_path, performance=PERFORMANCE, min_rows=50), clock) as monitor:
        text = (release / "monitor-report.json").read_text()
        noise = "not beyond noise: 10 values reach 1.89 without any change"  # of a window that is not judged
        told = json.loads(text.replace(noise, ""))["versions"]
        assert says(monitor.report(DIGEST).model_dump(mode="json")["versions"], told)
        assert monitor.add_batch(batch(2, 10, at=before.now)).result() is False  # counted then
        assert monitor.add_batch(batch(9, 7, at=clock.now)).result() is True
        assert monitor.report(DIGEST).versions[0].rows == before.versions[0].rows + 7
        outcome = monitor.add_feedback([Feedback(id="p2/0", label=1)]).result()  # of a prediction that was stored then
        assert outcome.outcomes == [("p2/0", "joined")]
    with sqlite3.connect(tmp_path / "monitor.db") as connection:
        assert version_of(connection) == len(schema.STEPS)
    connection.close()


def test_each_step_is_made_once_and_a_killed_migration_goes_on(tmp_path: Path) -> None:
    path = stored(GOLDEN / "0.1", tmp_path)
    connection = schema.connect(str(path))
    schema.migrate(connection)
    before = content(connection)
    broken = (*LATER[: NOW + 1], "INSERT INTO extra VALUES (5); INSERT INTO nowhere VALUES (1);")
    with pytest.raises(sqlite3.OperationalError, match="nowhere"):
        schema.migrate(connection, broken)
    assert (version_of(connection), connection.in_transaction) == (NOW + 1, False)
    assert connection.execute("SELECT count(*) FROM extra").fetchone() == (0,)  # a step is made whole or not at all
    schema.migrate(connection, LATER)
    schema.migrate(connection, LATER)
    assert version_of(connection) == NOW + 2
    assert connection.execute("SELECT x FROM extra").fetchall() == [(110,)]
    assert connection.execute("SELECT note FROM version").fetchall() == [("new",)]
    assert [line for line in content(connection) if '"version"' not in line and '"extra"' not in line] == [
        line for line in before if '"version"' not in line
    ]
    connection.close()


def test_a_new_database_has_the_schema_of_a_migrated_one(tmp_path: Path) -> None:
    def tables(folder: Path) -> set[tuple[str, str]]:
        folder.mkdir(exist_ok=True)
        connection = schema.connect(str(folder / "monitor.db"))
        schema.migrate(connection)
        found = connection.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
        connection.close()
        return set(found)

    stored(GOLDEN / "0.1", tmp_path)
    assert tables(tmp_path) == tables(tmp_path / "new")


def test_a_newer_database_is_left_alone_and_the_report_says_so(tmp_path: Path) -> None:
    """A downgrade: no crash loop, nothing is lost, and the newer monitor goes on where it was."""
    path = stored(GOLDEN / "0.1", tmp_path)
    connection = schema.connect(str(path))
    schema.migrate(connection, LATER)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    before = hashlib.sha256(path.read_bytes()).hexdigest()
    monitor = Monitor(config(tmp_path), Clock())
    monitor.start()
    try:
        assert monitor.alive
        assert monitor.problem() is None
        report = monitor.report()
        assert (report.newer_database, report.versions) == (NOW + 2, ())
        for post in (
            lambda: monitor.add_batch(batch(9, 3)),
            lambda: monitor.add_reference(reference()),
            lambda: monitor.add_feedback([Feedback(id="p0/0", label=1)]),
        ):
            with pytest.raises(
                schema.NewerSchemaError, match=f"has schema {NOW + 2}, and this monitor knows {NOW} at most"
            ):
                post()
    finally:
        monitor.close()
    assert hashlib.sha256(path.read_bytes()).hexdigest() == before


def test_a_reference_of_another_version_of_the_profile_is_the_same_reference(tmp_path: Path) -> None:
    """What a server's image knows of a profile and the monitor's does not, or the other way round, is no conflict."""
    first, second = PROFILE.features
    less = PROFILE.model_copy(update={"features": (first.model_copy(update={"bin_means": (), "std": None}), second)})
    with running(config(tmp_path)) as monitor:
        assert monitor.add_reference(reference(profile=less)).result() is False
    with running(config(tmp_path / "old"), Clock()) as monitor:
        other = "sha256:" + "b" * 64
        assert monitor.add_reference(reference(other, profile=less)).result() is True
        assert monitor.add_reference(reference(other)).result() is True  # says more
        assert monitor.add_reference(reference(other)).result() is False
        changed = PROFILE.model_copy(update={"rows": 5})
        with pytest.raises(ReferenceConflictError, match=other):
            monitor.add_reference(reference(other, profile=changed)).result()
    with running(config(tmp_path / "old"), Clock()) as monitor:
        kept = monitor._layouts[other].profile
        assert kept == PROFILE


def test_what_an_older_server_left_out_of_a_profile_comes_with_a_newer_one_in_whatever_order(tmp_path: Path) -> None:
    """During an upgrade servers of both versions post the same profile; the older ones drop what they do not know."""
    full = ReferenceProfile(schema_version=2, rows=10, features=(SHOP,), prediction=PROFILE.prediction)
    known = {"distinct": None, "role": "Value", "as_categories": None}
    less = full.model_copy(update={"features": (SHOP.model_copy(update=known),)})
    for folder, first, second in (("older", less, full), ("newer", full, less)):
        other = "sha256:" + "c" * 64
        with running(config(tmp_path / folder, min_rows=10), Clock()) as monitor:
            for number, profile in enumerate((first, second)):
                monitor.add_reference(reference(other, profile=profile)).result()
                shops = {"shop": [1, 2] * 10}
                monitor.add_batch(batch(number, 20, at=START, digest=other, columns=shops)).result()
            (version,) = monitor.report(other).versions
        assert monitor._layouts[other].profile == full
        assert [(n.name, n.finding) for n in version.column_notes] == [("shop", "Code")]
        (score,) = version.windows[-1].features
        assert (score.score, score.drifted, score.missing_ratio) == (0, False, 0)  # of the codes that were counted
        counted = dict.fromkeys(name for name, _ in monitor._layouts[other].slots)
        assert list(counted) == ["category:shop", "prediction"]


def test_a_profile_of_version_1_is_counted_and_judged_as_before(tmp_path: Path) -> None:
    """Beside one of version 2: counters belong to a digest, so bins of one are never compared with those of another."""
    newer = "sha256:" + "c" * 64
    two = ReferenceProfile(schema_version=2, rows=10, features=(SHOP,), prediction=PROFILE.prediction)
    with running(config(tmp_path), Clock()) as monitor:
        monitor.add_reference(reference(newer, profile=two)).result()
        monitor.add_batch(batch(1, 600, at=START)).result()
        monitor.add_batch(batch(2, 600, at=START, digest=newer, columns={"shop": [1, 2] * 300})).result()
        versions = {v.digest: v for v in monitor.report().versions}
    assert {digest: v.profile_version for digest, v in versions.items()} == {DIGEST: 1, newer: 2}
    (window,) = versions[DIGEST].windows
    assert [(f.name, f.drifted, f.note) for f in window.features] == [("age", False, ""), ("plan", False, "")]
    (window,) = versions[newer].windows
    assert [(f.name, f.score, f.note) for f in window.features] == [
        ("shop", 0.0, "appears to be codes, judged as Category")
    ]


def test_another_type_of_a_column_starts_counting_anew_and_mixes_nothing(tmp_path: Path) -> None:
    profile = ReferenceProfile(schema_version=2, rows=10, features=(SHOP,), prediction=PROFILE.prediction)
    other = "sha256:" + "c" * 64
    scores = []
    for number, stated in enumerate(("Number", "Category", "Ignore")):
        settings = config(tmp_path, min_rows=10, columns={"shop": ColumnConfig(type=stated)})
        with running(settings, Clock()) as monitor:
            monitor.add_reference(reference(other, profile=profile)).result()
            shops = [[2], [1, 2], [7]][number] * (20 // len([[2], [1, 2], [7]][number]))
            monitor.add_batch(batch(number, 20, at=START, digest=other, columns={"shop": shops})).result()
            scores.append([f.score for f in monitor.report(other).versions[0].windows[-1].features])
    (as_number,), (as_category,), ignored = scores
    assert as_number is not None and as_number > 0.2
    assert (as_category, ignored) == (0.0, [])


@pytest.mark.parametrize(
    ("one", "other", "both"),
    [
        ({"a": 1}, {"b": 2}, {"a": 1, "b": 2}),
        ({"a": {"b": 1}}, {"a": {"c": [1]}}, {"a": {"b": 1, "c": [1]}}),
        ([{"a": 1}, 2], [{"b": 1}, 2], [{"a": 1, "b": 1}, 2]),
        ({"a": 1}, {"a": 2}, None),
        ([1], [1, 2], None),
        ({"a": [1]}, {"a": {"b": 1}}, None),
    ],
)
def test_two_values_are_united_unless_one_denies_the_other(one: object, other: object, both: object) -> None:
    if both is None:
        with pytest.raises(ValueError, match="is not"):
            united(one, other)
    else:
        assert united(one, other) == both


def test_the_version_of_a_profile_is_in_the_report_and_a_later_one_is_read(tmp_path: Path) -> None:
    later = ReferenceProfile.from_json('{"schema_version":7,"unheard_of":[1],' + PROFILE.to_json()[1:])
    with running(config(tmp_path), Clock()) as monitor:
        other = "sha256:" + "b" * 64
        assert monitor.add_reference(reference(other, profile=later)).result() is True
        assert monitor.add_batch(batch(1, 10, at=START, digest=other)).result() is True
        versions = {v.digest: v.profile_version for v in monitor.report().versions}
    assert versions == {DIGEST: 1, other: 7}
