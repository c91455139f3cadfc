"""Which rows of a run are held out: what a run is asked for, what it reports, and what a version keeps of it.

`Stratified` is the split of pipelines without `spec.evaluation.split`: exact shares of every class, by a rank of the
rows' content. The others are what `spec.evaluation.split.type` names. How each is computed:
`tidemill_runtime.trainer.run.holdout_sides`.
"""

from typing import Final, Literal

from pydantic import Field

from tidemill_contracts.base import Document

SplitType = Literal["Hash", "Group", "Time", "Column"]
HoldoutType = Literal["Stratified", "Hash", "Group", "Time", "Column"]

SIDES: Final = ("train", "test")
"""The values of the column of a split of type Column, as they are written: the side of the row."""
CUT_LIMIT: Final = 64
"""Characters of the first held-out time."""
OVERLAP_LIMIT: Final = 1024
"""Characters of the sentence on a champion that may have learned held-out rows."""
FEW_ROWS: Final = 20
"""Held-out rows of a class below which the run says that metrics of that class are uncertain."""


class HoldoutSplit(Document):
    """How the rows of a run are divided, as its pipeline asks for it."""

    type: SplitType
    column: str | None = None  # of every type but Hash
    keep_column: bool = False  # whether training code gets the column


class HoldoutReport(Document):
    """How the rows were divided, as a run reports it. Not there where nothing was asked for."""

    type: SplitType
    cut: str | None = None  # of Time: the first held-out time, a number or ISO 8601 in UTC
    groups: dict[str, int] = Field(default_factory=dict)  # of Group: numbers of groups, train and holdout


class Holdout(Document):
    """How the rows of a version were divided, with all that is needed to tell whether it has learned given rows."""

    type: HoldoutType
    ratio: float | None = None  # asked for; None: Column, where the data says it
    column: str | None = None
    cut: str | None = None  # of Time: rows from this time on were held out
    columns: str | None = None  # digest of the names of the columns by whose values rows were divided
    rows: str | None = None  # of Column: digest of the held-out rows, in any order
