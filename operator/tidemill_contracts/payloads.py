"""Where the rows of a deployment are kept, and what of them: `spec.logging.payloads` as the monitor gets it."""

import re
from typing import Final

from pydantic import Field

from tidemill_contracts.base import Document
from tidemill_contracts.storage import parse_uri

ID: Final = "prediction_id"
TIME: Final = "prediction_time"
VERSION: Final = "model_version"
CLIENT: Final = "client"
PREDICTION: Final = "prediction"
SCORE: Final = "prediction_score"
LABEL: Final = "label"
KEPT_ALWAYS: Final = (ID, TIME, VERSION)
"""Columns of every file, whatever `columns` says. Times are in seconds since the epoch, as floating-point numbers."""

RESERVED: Final = frozenset({*KEPT_ALWAYS, CLIENT, PREDICTION, SCORE, LABEL})
"""Columns of files that are no inputs. An input of such a name is written as `input.<name>`."""

ROWS: Final = "rows"
"""Folder of the files below `PayloadConfig.uri`."""

FILE: Final = re.compile(
    rf"{ROWS}/rows-(?P<day>[0-9]{{8}})-(?P<database>[0-9a-f]{{8}})-(?P<number>[0-9]{{12}})\.parquet"
)
"""Keys of files below `PayloadConfig.uri`: day of the newest row, random part of the database, number in it."""

ROWS_PER_FILE: Final = 20_000
BYTES_PER_FILE: Final = 32 << 20
"""Of the rows as JSON: the larger a file, the more memory its writing takes."""
STORAGE_SHARE: Final = 4
"""One part in so many of the monitor's volume may be taken by rows that wait to be written."""


class PayloadReport(Document):
    """How far the rows have come."""

    discarded: int = 0  # rows that went before they were written, for lack of room
    error: str = ""  # of the store; empty when the last look went well


class PayloadConfig(Document):
    """Which rows are written, and where to."""

    uri: str  # of a folder of this deployment alone
    secret: str | None = None  # mounted below storage.SECRET_ROOT
    columns: tuple[str, ...] | None = None  # None: all; empty: KEPT_ALWAYS only
    redact: tuple[str, ...] = ()  # columns whose values are replaced by keyed digests
    retention_seconds: int = Field(default=90 * 86_400, gt=0)  # of files
    wait_seconds: int = Field(default=3600, ge=0)  # for the label, before a row is written without one


def file_key(day: str, database: str, number: int) -> str:
    """Return the key of a file: what FILE takes apart."""
    return f"{ROWS}/rows-{day}-{database}-{number:012}.parquet"


def folder(uri: str, namespace: str, deployment: str) -> str:
    """Return the URI of the folder that one deployment has below what `spec.logging.payloads.uri` says.

    Raises:
        ValueError: that is no URI.
    """
    return str(parse_uri(uri).child(namespace, deployment))
