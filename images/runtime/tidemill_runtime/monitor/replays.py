"""Which batches were counted: each once, however late its sender repeats it.

A batch id is `<sender>/<number>`, and a sender (one process of a server, one run of batch prediction) numbers its
batches upwards. So what was counted is a number and some bits for each sender, as in the anti-replay window of IPsec
(RFC 4303, section 3.4.3): numbers above the greatest one are new, the 62 below it may come in any order, and older ones
count as known. That does not age: senders are forgotten only when `retention.SENDERS` others were heard of since.
Ids of another form are kept as they are, the newest so many.

Runs inside the writer's transaction: a batch and its number are committed together.
"""

import re
import sqlite3
from typing import Final

_SEEN_BITS: Final = 63  # SQLite's integers have a sign
_ALL_SEEN: Final = 2**_SEEN_BITS - 1
_NUMBERED: Final = re.compile(r"(.+)/([0-9]{1,18})", re.ASCII | re.DOTALL)
_OTHER: Final = re.compile(r"(.+)[/:._-][^/:._-]*", re.DOTALL)


def parts_of(batch_id: str) -> tuple[str, int | None]:
    """Return the sender that a batch id names, and the batch's number; None for an id of another form."""
    numbered = _NUMBERED.fullmatch(batch_id)
    if numbered is not None:
        return numbered[1], int(numbered[2])
    other = _OTHER.fullmatch(batch_id)
    return (other[1] if other else batch_id), None


def with_number(last: int, seen: int, number: int) -> tuple[int, int] | None:
    """Return `last` and `seen` of a sender once a batch is counted; None when it was, or is too old to tell."""
    if number > last:
        ahead = number - last
        return number, 1 | (seen << ahead if ahead < _SEEN_BITS else 0) & _ALL_SEEN
    behind = last - number
    if behind >= _SEEN_BITS or seen >> behind & 1:
        return None
    return last, seen | 1 << behind


def note(connection: sqlite3.Connection, batch_id: str, dropped: int, now: float) -> int | None:
    """Note that a batch is counted now.

    `dropped`: how many rows its sender has dropped since it started.

    Returns:
        How many of them are new; None when the batch was counted before, and nothing is noted.
    """
    name, number = parts_of(batch_id)
    found = connection.execute("SELECT last, seen, dropped FROM sender WHERE name = ?", (name,)).fetchone()
    last, seen, before = found or (0, 0, 0)
    if number is None:
        new = connection.execute("INSERT OR IGNORE INTO batch (id, received) VALUES (?, ?)", (batch_id, now))
        if new.rowcount == 0:
            return None
    else:
        marked = with_number(last, seen, number)
        if marked is None:
            return None
        last, seen = marked
    connection.execute(
        "INSERT INTO sender (name, last, seen, dropped, heard) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET "
        "last = excluded.last, seen = excluded.seen, dropped = excluded.dropped, heard = excluded.heard",
        (name, last, seen, max(before, dropped), now),
    )
    return max(0, dropped - before)
