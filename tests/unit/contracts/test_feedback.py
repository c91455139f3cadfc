"""Revisions and files of kept rows: what is written is read, and anything else is none of them."""

import pytest

from tidemill_contracts import feedback, payloads
from tidemill_contracts.feedback import RowsInput
from tidemill_contracts.training import REVISION_LIMIT, is_revision

LISTING = "sha256:" + "a" * 64


def test_a_revision_is_read_as_it_was_written() -> None:
    cut = {"bbbbbbbb": 12, "aaaaaaaa": 3}
    text = feedback.revision(LISTING, cut, "")
    assert text == f"{LISTING};aaaaaaaa-3,bbbbbbbb-12"
    assert feedback.parse(text) == (LISTING, cut, "")
    assert feedback.parse(feedback.revision(LISTING, cut, "01234567")) == (LISTING, cut, "01234567")


def test_the_longest_revision_is_one_that_a_report_may_have() -> None:
    cut = {f"{n:08x}": 10**12 - 1 for n in range(feedback.DATABASES)}
    text = feedback.revision(LISTING, cut, "0" * 8)
    assert is_revision(text)
    assert len(text) <= 440 < REVISION_LIMIT


@pytest.mark.parametrize(
    "text",
    [None, "", LISTING, f"{LISTING};", f"{LISTING};aaaaaaaa", f"{LISTING};aaaaaaaa-1;", f"x{LISTING};aaaaaaaa-1"],
)
def test_what_is_no_revision_of_kept_rows_is_none(text: str | None) -> None:
    assert feedback.parse(text) is None


def test_clients_are_in_a_revision_only_where_they_are_left_out() -> None:
    one = RowsInput(uri="s3://lake/a", suspected=("b", "a"), leave_out=True)
    assert feedback.without(one) == feedback.without(one.model_copy(update={"suspected": ("a", "b", "a")})) != ""
    assert feedback.without(one.model_copy(update={"leave_out": False})) == ""
    assert feedback.without(one.model_copy(update={"suspected": ()})) == ""


def test_files_are_in_the_order_of_their_rows() -> None:
    keys = [
        payloads.file_key(day, database, number)
        for day, database, number in (
            ("20261202", "aaaaaaaa", 1),
            ("20261130", "bbbbbbbb", 9),
            ("20261130", "aaaaaaaa", 12),
        )
    ]
    found = sorted(file for key in keys if (file := feedback.file(key)) is not None)
    assert [(file.day, file.number, file.database) for file in found] == [
        ("20261130", 9, "bbbbbbbb"),
        ("20261130", 12, "aaaaaaaa"),
        ("20261202", 1, "aaaaaaaa"),
    ]


@pytest.mark.parametrize(
    "key", ["rows/notes.txt", "rows/rows-20261130-aaaaaaaa-12.parquet", "rows-20261130-aaaaaaaa-000000000001.parquet"]
)
def test_what_no_monitor_has_written_is_no_file_of_rows(key: str) -> None:
    assert feedback.file(key) is None
