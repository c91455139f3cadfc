"""What a TrainingPipeline's status says of the records of its versions in the artifact store."""

from typing import Annotated

from pydantic import Field

from tidemill.api.base import Model, Time


class RecordsRead(Model):
    """The last look for records of earlier versions in the artifact store."""

    time: Time
    """Time of the look."""
    restored: Annotated[int, Field(ge=0)] = 0
    """Number of versions that were registered again."""
    refused: Annotated[int, Field(ge=0)] = 0
    """Number of records that were not believed: without a signature of this operator's key, of another namespace or
    pipeline, not readable, or beside no complete version."""
    unreadable: Annotated[list[Annotated[str, Field(max_length=200)]] | None, Field(max_length=3)] = None
    """Some of the refused records that could not be read: paths below the pipeline's folder. Not set if all could."""
    numbers: Annotated[int, Field(ge=0)] = 0
    """Highest number that a record names, also one that was not restored or not believed. No version gets it again."""
    unlisted: Annotated[int | None, Field(ge=1)] = None
    """Number of the restored versions that no record of which versions exist (versions.json) names, because that is
    missing or was not believed. Versions that were pruned or deleted may be among them. Not set if there are none."""
    more: Annotated[int | None, Field(ge=1)] = None
    """Number of further records that were not looked at, because there are more than 200 beside those that
    versions.json names. Not set if there are none."""
    error: Annotated[str | None, Field(max_length=1024)] = None
    """Why the store could not be read, or what lies there is too much to tell which versions there were. Not set if it
    was read. It is tried again every minute."""


class RecordsWritten(Model):
    """The last time that the records of versions were written to the artifact store."""

    time: Time
    """Time of the writing."""
    digest: Annotated[str | None, Field(max_length=71)] = None
    """Digest of all records that are in the store. Not set until they were written once."""
    versions: Annotated[int | None, Field(ge=0)] = None
    """Number of versions that the store names as existing. Not set until an operator that records it has written."""
    error: Annotated[str | None, Field(max_length=1024)] = None
    """Why the records could not be written. Not set if they were. It is tried again every ten minutes."""


class Records(Model):
    """Records of versions in the artifact store, from which an empty namespace finds its versions again."""

    read: RecordsRead | None = None
    """The last look for records of earlier versions. Not set if there was none."""
    written: RecordsWritten | None = None
    """The last time that records were written. Not set if there was none."""
    missing_since: Time | None = None
    """Time since when versions are missing that the store names as existing. They are struck off half a minute later,
    and do not come back when the pipeline is created again."""
