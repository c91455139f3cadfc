"""Clients that may game a system: what a monitor looks for, and what it reports of each client.

A client is named by its keyed hash alone. Limits are stated; a share is beyond its limit when chance is excluded.
"""

from typing import Final, Literal

from pydantic import Field

from tidemill_contracts.base import Document

MAX_CLIENTS: Final = 256
"""Clients that are told apart; all further ones are counted together and not judged."""
REPORTED_CLIENTS: Final = 20
PERIOD_SECONDS: Final = 30 * 86_400
"""Evidence is collected for so long, then anew."""
MAX_LABEL_DIFFERENCE: Final = 0.1
FALSE_ALARMS_PER_MONTH: Final = 0.2

Kind = Literal["PredictionRate", "NearDuplicates", "LabelShare", "ForeignLabels", "LabelMix"]
TESTED: Final[tuple[Kind, ...]] = ("NearDuplicates", "LabelShare", "ForeignLabels", "LabelMix")
"""The kinds that are statistical tests, which share the false alarms. PredictionRate counts against a limit."""


class GamingConfig(Document):
    """What is looked for; a limit that is None is not judged."""

    max_predictions_per_minute: int | None = None
    max_near_duplicate_share: float | None = None
    max_label_share_of_client: float | None = None
    max_foreign_label_share: float | None = None
    max_label_difference: float = MAX_LABEL_DIFFERENCE
    false_alarms_per_month: float = Field(default=FALSE_ALARMS_PER_MONTH, gt=0)


class GamingFinding(Document):
    """One thing that is suspected of one client."""

    kind: Kind
    began: float  # seconds since the epoch: rows of the client from here on are marked
    found: float  # when the evidence was last complete
    value: float  # rows in the worst minute, or the share
    limit: float
    of: int  # rows or labels that the value is of; of PredictionRate: seconds
    expected: float | None = None  # of LabelMix: the value for labels of others at the same scores


class ClientReport(Document):
    """The figures of one client in this period; shares are None where they are of nothing."""

    client: str
    findings: tuple[GamingFinding, ...] = ()
    rows: int = 0
    most_per_minute: int = 0  # within the last hour
    near_duplicate_share: float | None = None  # at least so many; of rows
    probing_share: float | None = None  # of rows that followed another row: those that differ in one column
    boundary_share: float | None = None  # of rows with a probability, two classes: those with one of at most 0.55
    labels: int = 0
    label_share: float | None = None  # of all labels
    foreign_label_share: float | None = None  # of labels for predictions of a known client: those of another client


class GamingReport(Document):
    """What is known of clients: of all versions together."""

    period_start: float | None = None  # None: no client was seen yet
    clients: tuple[ClientReport, ...] = ()  # at most REPORTED_CLIENTS: suspected ones first, then the busiest
    known: int = 0  # clients that are told apart
    suspected: int = 0
    boundary_share: float | None = None  # of the rows of all clients
