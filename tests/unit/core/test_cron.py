"""Ticks against the Go library that Kubernetes uses (tests/golden/robfig_cron), and the CronJob rules on top."""

import json
from datetime import UTC, datetime, timedelta
from itertools import groupby
from pathlib import Path

import pytest

from tidemill.core import cron

GOLDEN = json.loads((Path(__file__).parents[2] / "golden" / "robfig_cron" / "ticks.json").read_text())


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.slow  # many examples
@pytest.mark.parametrize(
    ("expression", "rows"),
    [(c, list(r)) for c, r in groupby(GOLDEN, key=lambda row: row["cron"])],
    ids=lambda v: str(v)[:20],
)
def test_ticks_are_those_of_robfig_cron(expression: str, rows: list[dict[str, str]]) -> None:
    for row in rows:
        when: datetime | None = at(row["after"])
        for want in row["ticks"]:
            assert when is not None
            when = cron.next_after(expression, row["zone"], when)
            assert when == at(want), row


def test_spring_forward_skips_the_hour_that_is_not_there() -> None:
    found = cron.next_after("30 2 * * *", "Europe/Berlin", at("2026-03-28T12:00"))
    assert found == at("2026-03-30T00:30"), "on 29 March 02:30 does not exist; the next run is on the 30th"


def test_fall_back_runs_twice_in_the_hour_that_is_there_twice() -> None:
    first = cron.next_after("30 2 * * *", "Europe/Berlin", at("2026-10-24T12:00"))
    assert first == at("2026-10-25T00:30")
    assert cron.next_after("30 2 * * *", "Europe/Berlin", first) == at("2026-10-25T01:30")


def test_never_means_none() -> None:
    assert cron.next_after("0 0 30 2 *", "UTC", at("2026-01-01T00:00")) is None


def test_a_day_that_a_zone_skipped_does_not_hang() -> None:
    found = cron.next_after("0 0 30 * *", "Pacific/Apia", at("2011-12-28T00:00"))
    assert found == at("2012-01-29T10:00")


@pytest.mark.parametrize(
    ("expression", "want"),
    [
        ("* * * *", "expected 5 fields"),
        ("* * * * * *", "expected 5 fields"),
        ("60 * * * *", "minute '60' must lie in 0 to 59"),
        ("* 24 * * *", "hour '24' must lie in 0 to 23"),
        ("* * 0 * *", "day-of-month '0' must lie in 1 to 31"),
        ("* * * foo *", "month 'foo' is not a number"),
        ("* * * * 7", "day-of-week '7' must lie in 0 to 6"),
        ("5-1 * * * *", "minute '5-1' must lie"),
        ("*/0 * * * *", "step of 1 or more"),
        ("TZ=UTC * * * * *", "belongs into timeZone"),
        ("@every 5m", "unknown descriptor"),
        ("", "expected 5 fields"),
    ],
)
def test_bad_schedules_name_field_and_values(expression: str, want: str) -> None:
    with pytest.raises(ValueError, match=want.replace("*", r"\*")):
        cron.parse(expression)


def test_unknown_zone_is_named() -> None:
    with pytest.raises(ValueError, match="timeZone 'Mars/Olympus' is not a known IANA time zone"):
        cron.zone("Mars/Olympus")


@pytest.mark.parametrize(
    ("since", "now", "deadline", "want"),
    [
        ("2026-03-01T02:00", "2026-03-01T02:59", None, None),
        ("2026-03-01T02:00", "2026-03-01T03:00", None, "2026-03-01T03:00"),
        ("2026-03-01T03:00", "2026-03-01T03:00", None, None),
        ("2026-01-01T00:00", "2026-03-05T04:00", None, "2026-03-05T03:00"),
        ("2026-01-01T00:00", "2026-03-05T04:00", 600, None),
        ("2026-01-01T00:00", "2026-03-05T03:09", 600, "2026-03-05T03:00"),
    ],
)
def test_only_the_newest_missed_tick_counts(since: str, now: str, deadline: float | None, want: str | None) -> None:
    found = cron.most_recent_missed("0 3 * * *", "UTC", at(since), at(now), deadline)
    assert found == (at(want) if want else None)


def test_a_year_of_minutes_is_looked_back_over_quickly() -> None:
    since, now = at("2025-03-01T00:00"), at("2026-03-01T00:00:30")
    assert cron.most_recent_missed("* * * * *", "UTC", since, now) == at("2026-03-01T00:00")
    assert cron.most_recent_missed("0 0 29 2 *", "UTC", since - timedelta(days=900), now) == at("2024-02-29T00:00")
