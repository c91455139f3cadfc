"""Kept rows as an input of training: which of them a run takes, and what it took.

The rows of a ModelDeployment are Parquet files that a monitor adds one after another (`payloads`). A revision says up
to which file rows were taken, so that a run that is made later, or once more, takes the same ones whatever came
meanwhile: `sha256:<digest of the listing>;<database>-<number>[,…][;without-<digits>]`, the last part where rows of
clients were left out.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from pydantic import Field

from tidemill_contracts import payloads
from tidemill_contracts.base import Document
from tidemill_contracts.digests import canonical_json, digest_hex, sha256

MIN_NEW_ROWS: Final = 100
MAX_ROWS: Final = 200_000
DATABASES: Final = 16
"""Monitors of one deployment, one made anew after another, whose files are read: those with the newest rows."""
VERSIONS: Final = 10
"""Versions whose rows a run counts; further ones are counted together, as OTHERS."""
OTHERS: Final = "others"
LAST_TIME: Final = 253_402_300_799
"""The end of the year 9999, in seconds since the epoch: a row with a later time is none of a monitor's."""
_REVISION: Final = re.compile(
    r"(sha256:[0-9a-f]{64});([0-9a-f]{8}-\d{1,18}(?:,[0-9a-f]{8}-\d{1,18})*)(?:;without-([0-9a-f]{8}))?"
)


class RowsInput(Document):
    """Where the kept rows of a deployment are, and which of them are taken."""

    uri: str  # of the folder of the deployment, as PayloadConfig has it
    secret: str | None = None  # mounted below storage.SECRET_ROOT
    columns: tuple[str, ...] | None = None  # inputs that may be taken; None: all
    min_new_rows: int = Field(default=MIN_NEW_ROWS, ge=1)
    max_rows: int = Field(default=MAX_ROWS, ge=1)
    suspected: tuple[str, ...] = ()  # clients, as the column of that name has them
    leave_out: bool = False  # whether rows of `suspected` are left out; they are counted in any case
    known: str | None = None  # of a probe: the revision that the last run took


class RowsTaken(Document):
    """What a run took of the kept rows of a deployment."""

    rows: int
    first: float  # time of the oldest prediction in seconds since the epoch
    last: float  # of the newest
    versions: dict[str, int] = Field(default_factory=dict)  # who predicted -> rows; OTHERS beyond VERSIONS
    suspected: int = 0  # rows among them of clients that a monitor suspected when the run was decided
    left_out: int = 0  # rows with a label of such clients that were left out


class Revision(NamedTuple):
    """The parts of a revision."""

    listing: str
    cut: Mapping[str, int]  # database of a monitor -> its last file that is taken
    without: str  # digits of the clients that were left out; empty: none were


def parse(text: str | None) -> Revision | None:
    """Return the parts of a revision; None where it is none of kept rows."""
    found = _REVISION.fullmatch(text or "")
    if found is None:
        return None
    cut = (part.split("-") for part in found[2].split(","))
    return Revision(found[1], {database: int(number) for database, number in cut}, found[3] or "")


def revision(listing: str, cut: Mapping[str, int], without: str) -> str:
    """Return the text of a revision; it has at most 440 characters with DATABASES in `cut`."""
    parts = ",".join(f"{database}-{number}" for database, number in sorted(cut.items()))
    return ";".join([listing, parts, *([f"without-{without}"] if without else [])])


def without(rows: RowsInput) -> str:
    """Return the digits that stand for the clients whose rows are left out; empty where none are."""
    clients: Sequence[str] = sorted(set(rows.suspected)) if rows.leave_out else ()
    return digest_hex(sha256(canonical_json(list(clients))))[:8] if clients else ""


class File(NamedTuple):
    """What the name of a file says, in the order of files: by the day of their newest row, then as written."""

    day: str
    number: int
    database: str
    key: str


def file(key: str) -> File | None:
    """Return what the key of a file says; None of what no monitor has written."""
    found = payloads.FILE.fullmatch(key)
    return File(found["day"], int(found["number"]), found["database"], key) if found else None
