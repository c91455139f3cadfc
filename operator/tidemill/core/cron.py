"""When a cron schedule fires: the semantics of a Kubernetes CronJob.

Why: users know CronJob; it computes ticks with github.com/robfig/cron/v3 (`ParseStandard`, `SpecSchedule.Next` in
spec.go), and this is a port of that algorithm, held against recorded answers of the Go library
(tests/golden/robfig_cron.json). What follows from it and surprises people:
- Spring forward: a tick inside the hour that does not exist is not run that day (`30 2 * * *` skips the day).
- Fall back: a tick inside the hour that exists twice fires in both, when the field list matches both (`30 1 * * *`
  fires twice, because Next only looks for the next matching wall time).
- Day of month and day of week are OR-ed unless one of them starts with `*` or `?`; then they are AND-ed.
Of several missed ticks only the newest counts (`mostRecentScheduleTime` in pkg/controller/cronjob/utils.go).
Zone data comes from the tzdata package where the system has none. This module has no clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

_MONTH_NAMES = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTHS = {m: i for i, m in enumerate(_MONTH_NAMES, start=1)}
_DAYS = {d: i for i, d in enumerate(["sun", "mon", "tue", "wed", "thu", "fri", "sat"])}
_DESCRIPTORS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_YEARS_AHEAD = 5  # as robfig/cron: a schedule that never fires within five years never fires


@dataclass(frozen=True, slots=True)
class Cron:
    """A parsed schedule: the allowed values of each field."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    any_day: bool
    """Day of month or day of week was written with `*` or `?`: both must match; otherwise one of them is enough."""

    def day_matches(self, when: datetime) -> bool:
        """Whether the calendar day of `when` is one of the schedule's."""
        day = when.day in self.days
        weekday = when.isoweekday() % 7 in self.weekdays
        return (day and weekday) if self.any_day else (day or weekday)


@lru_cache(maxsize=4096)
def parse(cron: str) -> Cron:
    """Five fields (minute hour day-of-month month day-of-week) or @hourly, @daily, …; ValueError says what is wrong."""
    text = cron.strip()
    if text.startswith("@"):
        if text not in _DESCRIPTORS:
            raise ValueError(f"cron {cron!r}: unknown descriptor; allowed are {', '.join(sorted(_DESCRIPTORS))}")
        text = _DESCRIPTORS[text]
    if "TZ=" in text:
        raise ValueError(f"cron {cron!r}: a time zone belongs into timeZone, not into cron")
    fields = text.split()
    if len(fields) != 5:
        raise ValueError(
            f"cron {cron!r}: expected 5 fields (minute hour day-of-month month day-of-week), found {len(fields)}"
        )
    minutes, _ = _field(cron, "minute", fields[0], 0, 59, {})
    hours, _ = _field(cron, "hour", fields[1], 0, 23, {})
    days, any_day = _field(cron, "day-of-month", fields[2], 1, 31, {})
    months, _ = _field(cron, "month", fields[3], 1, 12, _MONTHS)
    weekdays, any_weekday = _field(cron, "day-of-week", fields[4], 0, 6, _DAYS)
    return Cron(minutes, hours, days, months, weekdays, any_day or any_weekday)


def _field(cron: str, label: str, text: str, low: int, high: int, words: dict[str, int]) -> tuple[frozenset[int], bool]:
    """One comma-separated field: its values, and whether a part of it is a plain `*` or `?`."""
    values: set[int] = set()
    star = False
    for part in text.split(","):
        span, slash, step_text = part.partition("/")
        first, dash, last = span.partition("-")
        try:
            step = int(step_text) if slash else 1
            if first in ("*", "?") and not dash:
                start, end = low, high
                star = star or step == 1
            else:
                start = _number(first, words)
                end = _number(last, words) if dash else (high if slash else start)
        except ValueError:
            raise ValueError(f"cron {cron!r}: {label} {part!r} is not a number, name, range or step") from None
        if step < 1 or not low <= start <= end <= high:
            raise ValueError(f"cron {cron!r}: {label} {part!r} must lie in {low} to {high}, with a step of 1 or more")
        values.update(range(start, end + 1, step))
    return frozenset(values), star


def _number(text: str, words: dict[str, int]) -> int:
    if text.lower() in words:
        return words[text.lower()]
    if not text.isascii() or not text.isdigit():
        raise ValueError(text)
    return int(text)


@lru_cache(maxsize=256)
def zone(name: str | None) -> ZoneInfo:
    """The IANA zone of that name, UTC for None or ""; ValueError for an unknown one."""
    try:
        return ZoneInfo(name or "UTC")
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"timeZone {name!r} is not a known IANA time zone, such as Europe/Berlin") from None


def next_after(cron: str, tz: str | None, after: datetime) -> datetime | None:
    """The first tick strictly after `after` (aware), in UTC; None when there is none within five years."""
    schedule = parse(cron)
    where = zone(tz)
    # robfig counts from the next whole second; a tick is at second 0, so go to the next whole minute at once.
    start = after.astimezone(UTC).replace(second=0, microsecond=0) + timedelta(minutes=1)
    found = _search(schedule, start.astimezone(where), where)
    return found.astimezone(UTC) if found else None


def _search(schedule: Cron, t: datetime, where: ZoneInfo) -> datetime | None:
    """SpecSchedule.Next: advance month, day, hour, minute in turn and start over whenever one wraps around."""
    limit = t.year + _YEARS_AHEAD
    added = False
    while t.year <= limit:
        wrapped = False
        while t.month not in schedule.months:
            t, added = _next_month(t, where, added), True
            if t.month == 1:
                wrapped = True
                break
        while not wrapped and not schedule.day_matches(t):
            t, added = _next_day(t, where, added), True
            wrapped = t.day == 1
        while not wrapped and t.hour not in schedule.hours:
            if not added:
                t, added = _go_date(t.year, t.month, t.day, t.hour, where), True
            t = _add(t, timedelta(hours=1), where)
            wrapped = t.hour == 0
        while not wrapped and t.minute not in schedule.minutes:
            added = True
            t = _add(t, timedelta(minutes=1), where)
            wrapped = t.minute == 0
        if not wrapped:
            return t
    return None


def _next_month(t: datetime, where: ZoneInfo, added: bool) -> datetime:
    if not added:
        t = _go_date(t.year, t.month, 1, 0, where)
    year, month = (t.year + 1, 1) if t.month == 12 else (t.year, t.month + 1)
    return _go_date(year, month, t.day, t.hour, where, t.minute)


def _next_day(t: datetime, where: ZoneInfo, added: bool) -> datetime:
    if not added:
        t = _go_date(t.year, t.month, t.day, 0, where)
    before = t
    day = t.date() + timedelta(days=1)
    t = _go_date(day.year, day.month, day.day, t.hour, where, t.minute)
    if t <= before:  # a zone that skipped a whole day (Apia, 2011-12-30): robfig/cron never returns here
        t = _add(before, timedelta(days=1), where)
    if t.hour != 0:  # midnight does not exist on this day
        t = _add(t, timedelta(hours=24 - t.hour if t.hour > 12 else -t.hour), where)
    return t


def _add(t: datetime, delta: timedelta, where: ZoneInfo) -> datetime:
    """Absolute (not wall clock) addition, as Go's Time.Add."""
    return (t.astimezone(UTC) + delta).astimezone(where)


def _go_date(year: int, month: int, day: int, hour: int, where: ZoneInfo, minute: int = 0) -> datetime:
    """Go's time.Date: in a gap or an overlap it takes the offset that this exact double look-up yields."""
    wall = datetime(year, month, day, hour, minute, tzinfo=UTC)
    offset = wall.astimezone(where).utcoffset() or timedelta()
    offset = (wall - offset).astimezone(where).utcoffset() or timedelta()
    return (wall - offset).astimezone(where)


def most_recent_missed(
    cron: str, tz: str | None, since: datetime, now: datetime, deadline: float | None = None
) -> datetime | None:
    """The newest tick in (since, now], in UTC; None when there is none or it is older than `deadline` seconds.

    `since` is the last tick that was acted on, or the moment the schedule was made or edited: never the past before it.
    """
    earliest = since
    if deadline is not None:
        earliest = max(since, now - timedelta(seconds=deadline))
    window = timedelta(hours=1)
    while True:  # look back over growing windows: a minutely schedule after a year asleep must not loop for a year
        start = max(earliest, now - window)
        newest = _last_in(cron, tz, start, now)
        if newest or start == earliest:
            return newest
        window *= 8


def _last_in(cron: str, tz: str | None, start: datetime, now: datetime) -> datetime | None:
    newest = None
    tick = next_after(cron, tz, start)
    while tick and tick <= now:
        newest = tick
        tick = next_after(cron, tz, tick)
    return newest
