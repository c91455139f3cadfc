"""One training run from configuration to result: data, train, evaluate, champion, package, publish, prune.

Nothing is visible in the store before publish, and a failure in prune does not undo a version.
"""

import logging
import random
from typing import Any

import numpy as np
import pandas as pd

from tidemill_contracts.counts import counted
from tidemill_contracts.training import TrainerConfig, TrainingResult
from tidemill_runtime.datasets import tables
from tidemill_runtime.trainer.errors import RunError
from tidemill_runtime.trainer.model import inspection, metrics
from tidemill_runtime.trainer.model.inspection import Model
from tidemill_runtime.trainer.model.metrics import Metrics
from tidemill_runtime.trainer.package.candidate import Candidate
from tidemill_runtime.trainer.report import shutdown
from tidemill_runtime.trainer.run import data_phase
from tidemill_runtime.trainer.run.data_phase import Progress, Split
from tidemill_runtime.trainer.run.finish import judge_and_publish, note_classes
from tidemill_runtime.trainer.usercode import function, parameters
from tidemill_runtime.trainer.usercode.function import UserCode

log = logging.getLogger(__name__)


def run(config: TrainerConfig, progress: Progress) -> TrainingResult:
    """Train, judge and publish one version.

    Raises:
        RunError, DataError, StorageError, ArtifactError, MemoryError: see `errors.classify`.
    """
    random.seed(config.seed)
    np.random.seed(config.seed % 2**32)  # what scikit-learn falls back on
    function.check_digest(config.code)
    with shutdown.scratch("tidemill-run-") as work:
        with progress.phase("data"):
            data = data_phase.load(config, work, progress)
        if config.code.command is not None:
            from tidemill_runtime.trainer.run import program

            return program.execute(config, data, work, progress)
        with data.explained():
            return _function(config, data, progress)


def _function(config: TrainerConfig, data: Split, progress: Progress) -> TrainingResult:
    with progress.phase("train"):
        code = function.load(config.code)
        arguments = parameters.bind(code.train, config.parameters, config.seed)
        given, truth = data.given(data.train), data.truth(data.train)
        estimator = function.call(code.train, code.root, given, truth, **arguments)
        training, holdout = _both_features(code, data)
        model = inspection.inspect(estimator, training, code.root)
        log.info("train: %s, %s", type(estimator).__name__, model.task)
    truth_holdout = data.truth(data.holdout)
    note_classes(progress, model, truth_holdout)

    def score(other: Model) -> tuple[Metrics, list[str]]:
        given_holdout = data.given(data.with_left_out(data.holdout, other.columns))
        rows = data.with_left_out(holdout, other.columns)
        return metrics.score(other, rows, given_holdout, truth_holdout, code)

    judged = Candidate(model, training, holdout, score, {}, None, {}, data.left_out)
    return judge_and_publish(config, judged, code.root, progress)


def _both_features(code: UserCode, data: Split) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return training and held-out rows as the model takes them, in columns that a server can rebuild from JSON.

    What `features` makes is reduced like tables on reading (a join leaves gaps, and booleans with gaps are objects),
    both parts together, so that a column is of one type though only one part has the gap.
    """
    training, holdout = _features(code, data, data.train), _features(code, data, data.holdout)
    if code.features is None:
        return training, holdout
    if list(training.columns) != list(holdout.columns):
        different = sorted(set(training.columns) ^ set(holdout.columns)) or ["their order"]
        text = f"features returned other columns for the held-out rows than for the training rows: {different[:10]}"
        raise RunError("UserError", "InvalidFeatures", text)
    both = pd.concat([training, holdout], ignore_index=True)
    plain = pd.DataFrame({name: tables.normal(both[name]) for name in both.columns}, index=both.index)
    return plain.iloc[: len(training)].copy(), plain.iloc[len(training) :].reset_index(drop=True)


def _features(code: UserCode, data: Split, part: pd.DataFrame) -> pd.DataFrame:
    """Return the rows that the model takes: the split input's columns, or what the user's `features` makes of them.

    Raises:
        RunError: UserError; `features` fails, or InvalidFeatures when it returns no DataFrame of as many rows.
    """
    if code.features is None:
        return data.features(part)
    found: Any = function.call(code.features, code.root, data.given(part))
    if not isinstance(found, pd.DataFrame) or len(found) != len(part):
        what = counted(len(found), "row") if isinstance(found, pd.DataFrame) else type(found).__name__
        wanted = f"a DataFrame with one row for each of the {counted(len(part), 'row')} of {data.name!r}"
        raise RunError("UserError", "InvalidFeatures", f"features returned {what}, expected {wanted}")
    named = found.reset_index(drop=True)
    named.columns = pd.Index([str(column) for column in named.columns])
    if not named.columns.is_unique:
        twice = ", ".join(named.columns[named.columns.duplicated()].unique()[:10])
        raise RunError("UserError", "InvalidFeatures", f"features returned columns more than once: {twice}")
    return named
