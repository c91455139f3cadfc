"""The data phase of a run: every input fetched, parsed and judged, and the target's input split.

Also what a run keeps score in, `Progress`, which outlives a failed run so that its report can say how
far it came.
"""

import logging
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tidemill_contracts import schemes
from tidemill_contracts.counts import does
from tidemill_contracts.feedback import RowsTaken
from tidemill_contracts.holdout import Holdout, HoldoutReport
from tidemill_contracts.storage import parse_uri
from tidemill_contracts.training import TrainerConfig
from tidemill_runtime.datasets import expectations, feedback, sources, tables
from tidemill_runtime.datasets.errors import DataError
from tidemill_runtime.trainer.errors import RunError
from tidemill_runtime.trainer.package.version import DataRead
from tidemill_runtime.trainer.run import holdout_checks, holdout_sides

log = logging.getLogger(__name__)
_MOST_NAMED = 8
"""Columns that a warning names."""


@dataclass
class Progress:
    """What a run has found so far; `seconds` by phase, `data` revisions and `digests` by input name.

    `holdout_classes`: held-out rows of the rarest classes, as in `TrainingResult`.
    """

    seconds: dict[str, float] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)
    holdout_classes: dict[str, int] = field(default_factory=dict)
    data: dict[str, str] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)
    kept_rows: dict[str, RowsTaken] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    holdout: Holdout | None = None
    split: HoldoutReport | None = None

    @property
    def read(self) -> DataRead:
        """What was read, for the record of the version."""
        return DataRead(self.data, self.digests, self.kept_rows)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Time a phase and log it, whether it ends well or not."""
        log.info("%s: started", name)
        started = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] = round(time.monotonic() - started, 3)
            log.info("%s: ended after %.2f s", name, self.seconds[name])

    def warn(self, text: str) -> None:
        """Keep a warning for the result and print it."""
        self.warnings.append(text)
        log.warning("%s", text)


@dataclass(frozen=True)
class Split:
    """The data of a run: the split input's two parts (target included), and the other inputs whole.

    A split column that training code does not get is in neither part.
    """

    name: str  # of the input that was split
    train: pd.DataFrame
    holdout: pd.DataFrame
    others: dict[str, pd.DataFrame]
    target: str | None
    left_out: pd.DataFrame  # the split column of the held-out rows, where it is in neither part

    def with_left_out(self, held_out: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
        """Return held-out rows with the split column, where a model takes it: a champion from before the split may."""
        return beside(held_out, self.left_out[[name for name in self.left_out.columns if name in columns]])

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Add to an error of the user's code that names the split column why it is not there."""
        try:
            yield
        except RunError as error:
            named = [name for name in self.left_out.columns if repr(name) in str(error)]
            if not named or error.reason != "CodeFailed":
                raise
            why = f"training code does not get {named[0]!r}, the column of evaluation.split; keepColumn: true gives it"
            raise RunError(error.category, error.reason, f"{error}\n{why}") from error

    def features(self, part: pd.DataFrame) -> pd.DataFrame:
        """Return one part without the target."""
        return part.drop(columns=[self.target]) if self.target is not None else part

    def given(self, part: pd.DataFrame) -> Any:
        """Return what the user's functions get for one part: features, or a dict of them by input name."""
        features = self.features(part)
        return {**self.others, self.name: features} if self.others else features

    def truth(self, part: pd.DataFrame) -> "pd.Series[Any] | None":
        """Return the target column of one part."""
        return part[self.target] if self.target is not None else None


def beside(rows: pd.DataFrame, more: pd.DataFrame) -> pd.DataFrame:
    """Return rows with those columns of `more`, of the same rows, that they have not."""
    names = more.columns.difference(rows.columns)
    return rows.assign(**{name: more[name] for name in names}) if len(names) else rows


def load(config: TrainerConfig, work: Path, progress: Progress) -> Split:
    """Fetch, parse, judge and split the inputs.

    Raises:
        DataError, StorageError.
    """
    found: dict[str, pd.DataFrame] = {}
    for number, source in enumerate(config.data):
        folder = work / f"input-{number}"
        fetched = sources.fetch(source, folder)
        if source.rows is not None:
            table, progress.kept_rows[source.name] = feedback.read(source, fetched)
        else:
            table = tables.read(source, fetched)
        shutil.rmtree(folder, ignore_errors=True)
        log.info("input %s: %d rows, %d columns, revision %s", source.name, *table.shape, fetched.revision)
        expectations.check(source.name, table, source.expectations)
        _warn_of_empty_columns(source.name, table, progress)
        found[source.name] = table
        progress.data[source.name] = fetched.revision
        progress.digests[source.name] = fetched.digest
        is_bundled = schemes.BY_NAME[parse_uri(source.uri).scheme].place == "bundled"
        if source.revision is not None and source.revision != fetched.revision and not is_bundled:
            progress.warn(f"input {source.name!r} changed since the run was decided: trained on {fetched.revision}")
    return _split(config, found, progress)


def _warn_of_empty_columns(name: str, table: pd.DataFrame, progress: Progress) -> None:
    """Warn of columns without any value: training code takes them without a word, and no model learns from them."""
    empty = [str(column) for column in table.columns[table.isna().all()]] if len(table) else []
    if not empty:
        return
    shown = [repr(column[:60]) for column in empty[:_MOST_NAMED]]
    if len(empty) > _MOST_NAMED:
        shown.append(f"{len(empty) - _MOST_NAMED} more")
    has = "column {} has" if len(empty) == 1 else "columns {} have"
    progress.warn(f"input {name!r}: {has.format(schemes.listed(shown, 'and'))} no value in any row")


def _split(config: TrainerConfig, found: dict[str, pd.DataFrame], progress: Progress) -> Split:
    name = next(iter(found)) if config.target is None else expectations.find_target(config.target, found)
    table = found.pop(name)
    if config.target is not None:
        table = _usable(table, config.target, progress)
    split = config.split
    left_out = [split.column] if split is not None and split.column is not None and not split.keep_column else []
    apart = left_out if config.target is None else [config.target, *left_out]
    if table.columns.drop(apart, errors="ignore").empty and not found:
        named = [f"the target {config.target!r}"] if config.target is not None else []
        named += [f"the split column {column!r}" for column in left_out]
        raise DataError("NoFeatures", f"input {name!r} has no column but {' and '.join(named)}")
    sides = holdout_sides.divide(table, config.target, split, config.holdout_ratio, config.seed)
    progress.holdout, progress.split = sides.holdout, sides.report
    for text in sides.warnings:
        progress.warn(text)
    train, holdout = table[~sides.mask].reset_index(drop=True), table[sides.mask].reset_index(drop=True)
    progress.rows.update(train=len(train), holdout=len(holdout))
    log.info("split: %d rows to train on, %d held out; %s", len(train), len(holdout), sides.holdout.to_json())
    columns = holdout[left_out]
    return Split(name, train.drop(columns=left_out), holdout.drop(columns=left_out), found, config.target, columns)


def warn_of_few_rows(progress: Progress, positive: str | None) -> None:
    """Warn where the holdout has fewer than 20 rows of a class; `positive`: the positive one, where there are two."""
    text = holdout_checks.few_rows(progress.holdout_classes, progress.rows["holdout"], positive)
    if text is not None:
        progress.warn(text)


def _usable(table: pd.DataFrame, target: str, progress: Progress) -> pd.DataFrame:
    """Return the rows that have a target; an infinite one is refused."""
    missing = table[target].isna().to_numpy()
    expectations.check_finite_target(table[target])
    if not missing.any():
        return table
    first, rows = int(np.flatnonzero(missing)[0]) + 1, int(missing.sum())
    left_out = does(rows, f"row without a value of {target!r}", "is", "are", f"rows without a value of {target!r}")
    progress.warn(f"{left_out} left out, first row {first}")
    return table[~missing].reset_index(drop=True)
