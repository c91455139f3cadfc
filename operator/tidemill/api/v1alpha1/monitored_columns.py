"""What a ModelMonitor states about single columns: exceptions, by name."""

from typing import Annotated

from pydantic import Field

from tidemill.api.base import Model, Ratio
from tidemill_contracts.monitoring import ColumnType


class MonitoredColumn(Model):
    """What is different for one feature."""

    name: Annotated[str, Field(min_length=1, max_length=256)]
    """Name of the feature. A column that the model does not use is no feature."""
    type: ColumnType | None = None
    """How the feature is judged. Category: values are names and have no order, also where they are whole numbers.
    Number: values are quantities. Ignore: the feature is not counted and not judged. If not set, texts are categories
    and numbers are quantities, but whole numbers whose name ends in id, code or the like are categories, and drift is
    not judged where nearly every row has a value of its own."""
    max_missing_increase: Ratio | None = None
    """Maximum increase of the share of missing or mistyped values over the share in the training data. It replaces
    spec.quality.maxMissingIncrease for this feature; 1 turns the check off. If not set, that one applies."""
    decisive: bool = False
    """Whether drift of this feature alone makes a window count as drifted, whatever driftedShare is. If not set, it
    counts like every other feature."""
