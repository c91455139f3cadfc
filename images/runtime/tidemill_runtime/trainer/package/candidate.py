"""A trained model on its way to a version: what is needed to judge it and to write it down."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from tidemill_runtime.frameworks.base import StoredModel
from tidemill_runtime.trainer.model.inspection import Model
from tidemill_runtime.trainer.model.metrics import Metrics


@dataclass(frozen=True)
class Candidate:
    """A model with everything needed to judge it and to write it down."""

    model: Model
    training: pd.DataFrame  # rows as the model takes them
    holdout: pd.DataFrame
    score: Callable[[Model], tuple[Metrics, list[str]]]  # the same for candidate and champion
    reported: Metrics  # what a program reports about its own model
    form: StoredModel | None  # None: made here
    others: dict[str, bytes]  # further files of the version
    truth: "pd.Series[Any] | None" = None  # labels of the held-out rows
    left_out: pd.DataFrame = field(default_factory=pd.DataFrame)  # of held-out rows: what a champion may take besides
