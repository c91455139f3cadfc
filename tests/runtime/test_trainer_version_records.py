"""Records beside versions: the pod carries lines of text, whatever lies in the store."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.runtime.conftest import write_secret
from tests.runtime.test_artifacts_version import FILES, manifest, store

from tidemill_contracts.digests import digest_hex
from tidemill_contracts.records import (
    LINE,
    LOG_LIMIT,
    MOST_RECORDS,
    RECORDS_ENV,
    TEXT_LIMIT,
    RecordsConfig,
    RecordsResult,
    StoredRecord,
)
from tidemill_runtime import artifacts
from tidemill_runtime.storage import folders
from tidemill_runtime.trainer import version_records
from tidemill_runtime.trainer.package import publish

__all__ = ["store"]  # a fixture

Store = tuple[str, str | None]


def shown(place: Store) -> list[str]:
    """The records in the log of a pod that has read."""
    out = io.StringIO()
    result = version_records.show(RecordsConfig(store=place[0], secret=place[1]), out)
    lines = out.getvalue().splitlines()
    assert (result.read, result.error) == (len(lines), None)
    return [line.removeprefix(LINE) for line in lines]


def write(place: Store, *records: StoredRecord) -> RecordsResult:
    return version_records.write(RecordsConfig(store=place[0], secret=place[1], write=records))


def test_a_record_lies_beside_its_version_and_changes_nothing_of_it(store: Store) -> None:
    own = f"{store[0]}/0123456789ab"  # the folder of one pipeline object
    uri = publish.publish(own, store[1], manifest(), FILES)
    assert shown(store) == []
    assert write(store, StoredRecord(uri=uri, text='{"a":"ü"}')) == RecordsResult(written=1)
    assert shown(store) == ['{"a":"ü"}']
    write(store, StoredRecord(uri=uri, text='{"a":2}'))
    assert shown(store) == ['{"a":2}']
    artifacts.open_version(uri, manifest().digest(), store[1])
    publish.prune(own, store[1], (), now=1e12)
    assert shown(store) == [], "it goes with its version"


def test_pruning_reaches_neither_another_objects_folder_nor_the_one_of_earlier_releases(store: Store) -> None:
    """Two clusters, or two claims on one file system, may use one folder: only what lies in the own part is removed."""
    own, other, digest = f"{store[0]}/0123456789ab", f"{store[0]}/ba9876543210", manifest().digest()
    publish.publish(own, store[1], manifest(), FILES)
    kept = [publish.publish(folder, store[1], manifest(), FILES) for folder in (other, store[0])]
    assert publish.prune(own, store[1], (), now=1e12) == [digest]
    for uri in kept:
        artifacts.open_version(uri, digest, store[1])


def test_a_version_that_is_not_there_gets_no_record(store: Store) -> None:
    record = StoredRecord(uri=f"{store[0]}/0123456789ab/{digest_hex(manifest().digest())}", text="{}")
    assert write(store, record) == RecordsResult(missing=1)
    assert folders.open_folder(*store).files() == []


def test_nothing_is_written_outside_the_store(store: Store) -> None:
    outside = store[0].replace("churn", "other")
    uri = publish.publish(outside, store[1], manifest(), FILES)
    found = write(store, StoredRecord(uri=uri, text="{}"))
    assert found.error is not None and found.error == f"{uri} does not lie below {store[0]}"
    assert "record.json" not in [e.key for e in folders.open_folder(uri, store[1]).files()]


def test_what_others_put_there_is_bounded(mounts: Path) -> None:
    place: Store = ("pvc://store/churn", None)
    root = mounts / "pvc" / "store" / "churn"

    def put(name: str, text: str) -> None:
        folder = root / name
        folder.mkdir(parents=True)
        (folder / "record.json").write_text(text)
        (folder / "COMPLETE").write_text("x")

    put("large", "x" * (TEXT_LIMIT * 4 + 1))
    put("lines", '{\n"a": 1}')
    assert shown(place) == []
    for number in range(MOST_RECORDS + 5):
        put(f"many-{number}", "{}")
    assert len(shown(place)) == MOST_RECORDS
    for number in range(30):
        put(f"wide-{number}", "y" * (TEXT_LIMIT * 4))
    assert sum(map(len, shown(place))) <= LOG_LIMIT


def test_what_is_no_record_costs_itself_only_and_is_counted(mounts: Path, tmp_path: Path) -> None:
    """A link out of the claim, a circle, a pipe, a folder, nested JSON, several lines: anybody may put them there."""
    secret = tmp_path / "secret.json"
    secret.write_text('{"password": 1}')
    root = mounts / "pvc" / "store" / "churn"
    for name in ("link", "circle", "pipe", "folder", "deep", "lines", "large", "good"):
        (root / name).mkdir(parents=True)
        (root / name / "COMPLETE").write_text("x")
    (root / "link" / "record.json").symlink_to(secret)
    (root / "circle" / "record.json").symlink_to(root / "circle" / "record.json")
    os.mkfifo(root / "pipe" / "record.json")
    (root / "folder" / "record.json").mkdir()
    (root / "deep" / "record.json").write_text("[" * 60_000)
    (root / "lines" / "record.json").write_text('{\n"a": 1}')
    (root / "large" / "record.json").write_text("x" * (TEXT_LIMIT * 4 + 1))
    (root / "good" / "record.json").write_text('{"a":1}')
    (root / "versions.json").symlink_to(secret)
    out = io.StringIO()
    found = version_records.show(RecordsConfig(store="pvc://store/churn"), out)
    assert (found.read, found.unreadable, found.error) == (2, 7, None)
    assert found.examples == ("circle/record.json", "folder/record.json", "link/record.json")
    assert sorted(out.getvalue().splitlines()) == [f"{LINE}{'[' * 60_000}", f'{LINE}{{"a":1}}']


def test_a_store_with_more_files_than_are_looked_at_is_an_error(mounts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(version_records, "FILE_LIMIT", 3)
    uri = publish.publish("pvc://store/churn/0123456789ab", None, manifest(), FILES)
    write(("pvc://store/churn", None), StoredRecord(uri=uri, text="{}"))
    found = version_records.show(RecordsConfig(store="pvc://store/churn"), io.StringIO())
    assert found.error is not None and found.error.startswith("TooManyFiles: more than 3 files lie below pvc://")


def test_the_record_of_all_versions_is_written_last_and_shown_first(store: Store) -> None:
    uri = publish.publish(f"{store[0]}/0123456789ab", store[1], manifest(), FILES)
    record = StoredRecord(uri=uri, text='{"a":1}')
    config = RecordsConfig(store=store[0], secret=store[1], write=(record,), series='{"all":1}')
    assert version_records.write(config) == RecordsResult(written=1)
    assert shown(store) == ['{"all":1}', '{"a":1}']
    other = StoredRecord(uri=store[0].replace("churn", "other"), text="{}")
    config = RecordsConfig(store=store[0], secret=store[1], write=(other, record), series='{"all":2}')
    found = version_records.write(config)
    assert found.written == 1 and found.error is not None, "one bad record does not keep the others from being written"
    assert shown(store) == ['{"all":1}', '{"a":1}'], "it would name a version that has no record"


def test_a_link_in_the_place_of_a_record_is_replaced_and_not_followed(mounts: Path, tmp_path: Path) -> None:
    place: Store = ("pvc://store/churn", None)
    outside = tmp_path / "outside.json"
    outside.write_text("{}")
    uri = publish.publish(f"{place[0]}/0123456789ab", None, manifest(), FILES)
    file = mounts / "pvc" / uri.removeprefix("pvc://") / "record.json"
    file.symlink_to(outside)
    assert write(place, StoredRecord(uri=uri, text='{"a":1}')) == RecordsResult(written=1)
    assert not file.is_symlink() and outside.read_text() == "{}"
    assert shown(place) == ['{"a":1}']


@pytest.mark.parametrize("config", [RecordsConfig(store="pvc://store/churn").to_json(), "{", None])
def test_the_process_always_leaves_a_result(mounts: Path, tmp_path: Path, config: str | None) -> None:
    end = tmp_path / "end.json"
    environment = {**os.environ, "TIDEMILL_TERMINATION_LOG": str(end), **({RECORDS_ENV: config} if config else {})}
    command = [sys.executable, "-m", "tidemill_runtime.trainer", "records"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    result = RecordsResult.from_json(end.read_text())
    if config and config != "{":
        assert (done.returncode, result) == (0, RecordsResult())
        assert all(json.loads(line) for line in done.stdout.splitlines())
    else:
        assert done.returncode == 42 and result.error is not None and RECORDS_ENV in result.error


def test_a_record_is_shown_as_it_is_also_where_a_word_of_it_is_the_name_of_an_account(
    mounts: Path, tmp_path: Path
) -> None:
    """The log of all else has no value of a Secret; of a record each byte is signed."""
    write_secret(mounts, "lake", {"AWS_ACCESS_KEY_ID": "tidemill", "AWS_SECRET_ACCESS_KEY": "subscribers"})
    place = ("pvc://store/churn", None)
    uri = publish.publish(f"{place[0]}/0123456789ab", None, manifest(), FILES)
    text = '{"group":"tidemill.io","pipeline":"subscribers"}'
    assert write(place, StoredRecord(uri=uri, text=text)) == RecordsResult(written=1)

    end = tmp_path / "end.json"
    config = RecordsConfig(store=place[0]).to_json()
    environment = {**os.environ, "TIDEMILL_TERMINATION_LOG": str(end), RECORDS_ENV: config}
    command = [sys.executable, "-m", "tidemill_runtime.trainer", "records"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert RecordsResult.from_json(end.read_text()) == RecordsResult(read=1)
    (line,) = [line for line in done.stdout.splitlines() if line.startswith(LINE)]
    assert line == f"{LINE}{text}"
    assert [entry for entry in done.stdout.splitlines() if entry != line and "tidemill" in entry] == []
