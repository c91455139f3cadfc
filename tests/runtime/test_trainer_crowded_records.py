"""Records in a store where somebody has put more of them: those that the record of all versions names come first."""

import io
import json
from pathlib import Path

import pytest

from tidemill_contracts.records import CLAIM, LINE, LOG_LIMIT, MOST_RECORDS, TEXT_LIMIT, RecordsConfig, RecordsResult
from tidemill_runtime.trainer import version_records

STORE = "pvc://store/churn"


@pytest.fixture
def root(mounts: Path) -> Path:
    found = mounts / "pvc" / "store" / "churn"
    found.mkdir(parents=True)
    return found


def put(root: Path, name: str, text: str = "{}", *, is_complete: bool = True) -> None:
    folder = root / name
    folder.mkdir(parents=True)
    (folder / "record.json").write_text(text)
    if is_complete:
        (folder / "COMPLETE").write_text("x")


def lists(root: Path, *folders: object) -> None:
    (root / "versions.json").write_text(json.dumps({"series": {"folders": folders}, "signature": "s"}))


def show() -> tuple[RecordsResult, list[str], list[str]]:
    """The result of a pod that has read, the records and the mere claims in its log."""
    out = io.StringIO()
    result = version_records.show(RecordsConfig(store=STORE), out)
    lines = out.getvalue().splitlines()
    records = [line.removeprefix(LINE) for line in lines if line.startswith(LINE)]
    claims = [line.removeprefix(CLAIM) for line in lines if line.startswith(CLAIM)]
    assert result.read == len(lines) == len(records) + len(claims)
    return result, records, claims


def test_newer_junk_crowds_out_nothing_that_the_record_of_all_names(root: Path) -> None:
    put(root, "own/one", '{"own":1}')
    put(root, "imported/2-aaaa", '{"own":2}', is_complete=False)  # its content lies with the import
    lists(root, "imported/2-aaaa", "own/one")
    for number in range(MOST_RECORDS + 50):
        put(root, f"junk/{number}")
    result, records, _ = show()
    assert json.loads(records[0])["series"], "the record of all comes first"
    assert records[1:3] == ['{"own":2}', '{"own":1}']
    assert (len(records), result.more, result.error) == (1 + 2 + MOST_RECORDS, 50, None)


def test_without_it_what_was_not_looked_at_is_counted(root: Path) -> None:
    for number in range(MOST_RECORDS + 7):
        put(root, f"junk/{number}")
    result, records, _ = show()
    assert (len(records), result.more, result.unreadable) == (MOST_RECORDS, 7, 0)


def test_long_junk_leaves_room_for_what_is_named(root: Path) -> None:
    put(root, "own", '{"own":1}')
    lists(root, "own")
    for number in range(30):
        put(root, f"wide-{number}", "y" * (TEXT_LIMIT * 4))
    result, records, _ = show()
    assert records[1] == '{"own":1}'
    assert result.more > 0 and sum(map(len, records)) <= LOG_LIMIT


def test_more_files_than_are_looked_at_keep_nothing_back_that_is_named(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(version_records, "FILE_LIMIT", 6)
    put(root, "own", '{"own":1}')
    put(root, "imported/1-b", '{"own":2}', is_complete=False)
    put(root, "unfinished", '{"own":3}', is_complete=False)
    lists(root, "own", "gone", "imported/1-b", "unfinished")
    for number in range(10):
        put(root, f"junk/{number}")
    result, records, claims = show()
    assert records[1:] == ['{"own":1}', '{"own":2}'] and claims == ['{"own":3}']
    assert result.error is None and result.more >= 1, "and that there are more is said"


@pytest.mark.parametrize(
    "names",
    [["../other", "/etc", "a/../../b", "", ".", "a//b", 7, None, {"a": 1}, "a\nb", "x" * 400], "own", {"own": 1}],
)
def test_what_it_names_leads_nowhere_else(root: Path, names: object) -> None:
    outside = root.parent / "other"
    put(root.parent, "other", '{"other":1}')
    assert outside.is_dir()
    (root / "versions.json").write_text(json.dumps({"series": {"folders": names}}))
    result, records, claims = show()
    assert (len(records), claims, result.error) == (1, [], None)


def test_no_more_are_named_than_there_may_be_versions(root: Path) -> None:
    for number in range(MOST_RECORDS + 3):
        put(root, f"own/{number}", '{"own":1}')
    lists(root, *(f"own/{number}" for number in range(MOST_RECORDS + 3)))
    result, records, _ = show()
    assert (len(records), result.more) == (1 + MOST_RECORDS + 3, 0), "the last three as any others"


def test_a_record_beside_no_complete_version_is_counted_named_and_claims_its_number(root: Path) -> None:
    put(root, "unfinished", '{"spec":{"number":9}}', is_complete=False)
    put(root, "good", '{"a":1}')
    result, records, claims = show()
    assert (records, claims) == (['{"a":1}'], ['{"spec":{"number":9}}'])
    assert (result.unreadable, result.examples) == (1, ("unfinished/record.json",))


@pytest.mark.parametrize("text", ["", "[", "[1]", '{"series": 1}', '{"series": {"folders": [[[]]]}}', "[" * 60_000])
def test_a_record_of_all_that_is_none_names_nothing(root: Path, text: str) -> None:
    (root / "versions.json").write_text(text)
    put(root, "good", '{"a":1}')
    result, records, _ = show()
    assert records[1:] == ['{"a":1}'] and result.error is None
