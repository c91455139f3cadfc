"""The data phase of a run: every input fetched, parsed and judged, and the target's input split.

Also what a run keeps score in, `Progress`, which outlives a failed run so that its report can say how
far it came.
"""

import logging
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tidemill_contracts import schemes
from tidemill_contracts.counts import does
from tidemill_contracts.storage import parse_uri
from tidemill_contracts.training import TrainerConfig
from tidemill_runtime.datasets import expectations, sources, tables
from tidemill_runtime.datasets.errors import DataError
from tidemill_runtime.trainer.run import holdout_split

log = logging.getLogger(__name__)


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
    warnings: list[str] = field(default_factory=list)

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
    """The data of a run: the split input's two parts (target included), and the other inputs whole."""

    name: str  # of the input that was split
    train: pd.DataFrame
    holdout: pd.DataFrame
    others: dict[str, pd.DataFrame]
    target: str | None

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


def load(config: TrainerConfig, work: Path, progress: Progress) -> Split:
    """Fetch, parse, judge and split the inputs.

    Raises:
        DataError, StorageError.
    """
    found: dict[str, pd.DataFrame] = {}
    for number, source in enumerate(config.data):
        folder = work / f"input-{number}"
        fetched = sources.fetch(source, folder)
        table = tables.read(source, fetched)
        shutil.rmtree(folder, ignore_errors=True)
        log.info("input %s: %d rows, %d columns, revision %s", source.name, *table.shape, fetched.revision)
        expectations.check(source.name, table, source.expectations)
        found[source.name] = table
        progress.data[source.name] = fetched.revision
        progress.digests[source.name] = fetched.digest
        is_bundled = schemes.BY_NAME[parse_uri(source.uri).scheme].place == "bundled"
        if source.revision is not None and source.revision != fetched.revision and not is_bundled:
            progress.warn(f"input {source.name!r} changed since the run was decided: trained on {fetched.revision}")
    return _split(config, found, progress)


def _split(config: TrainerConfig, found: dict[str, pd.DataFrame], progress: Progress) -> Split:
    name = next(iter(found)) if config.target is None else expectations.find_target(config.target, found)
    table = found.pop(name)
    if config.target is not None:
        table = _usable(table, config.target, progress)
        if len(table.columns) == 1 and not found:
            raise DataError("NoFeatures", f"input {name!r} has no column but the target {config.target!r}")
    held_out = holdout_split.holdout(table, config.target, config.holdout_ratio, config.seed)
    train, holdout = table[~held_out].reset_index(drop=True), table[held_out].reset_index(drop=True)
    progress.rows.update(train=len(train), holdout=len(holdout))
    log.info("split: %d rows to train on, %d held out", len(train), len(holdout))
    return Split(name, train, holdout, found, config.target)


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
