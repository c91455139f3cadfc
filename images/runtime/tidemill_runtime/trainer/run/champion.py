"""Scoring the champion on the candidate's own holdout, so that a gate compares like with like.

Where that cannot be done (another format, other columns) the metrics recorded at its training stand in,
and the note says so: a verdict never mixes the two silently.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from tidemill_contracts.artifact import ColumnSpec
from tidemill_contracts.holdout import OVERLAP_LIMIT, Holdout
from tidemill_contracts.training import Champion, TrainerConfig
from tidemill_runtime import artifacts, frameworks
from tidemill_runtime.artifacts import ArtifactError, Version
from tidemill_runtime.storage.base import SECRET_NOT_FOUND, StorageError
from tidemill_runtime.trainer.errors import RunError
from tidemill_runtime.trainer.model import inspection
from tidemill_runtime.trainer.model.inspection import Model
from tidemill_runtime.trainer.model.metrics import Metrics
from tidemill_runtime.trainer.package import native, signature_columns
from tidemill_runtime.trainer.report import shutdown
from tidemill_runtime.trainer.run import champion_overlap
from tidemill_runtime.trainer.usercode import function

Score = Callable[[Model], Metrics]


@dataclass(frozen=True)
class Comparison:
    """What a candidate is compared with. Nothing is set without a champion."""

    metrics: Metrics | None = None
    note: str | None = None  # why they are recorded ones; None: they were computed on the same holdout
    overlap: str | None = None  # why the champion may have learned rows that it was scored on
    is_rescored: bool = False

    @property
    def text(self) -> str:
        """What the log says of it."""
        if self.metrics is None:
            return "none"
        return "; ".join(filter(None, (self.note or f"scored on the same holdout: {self.metrics}", self.overlap)))


def judge(
    config: TrainerConfig, features: pd.DataFrame, score: Score, root: Path, holdout: Holdout | None
) -> Comparison:
    """Return the champion's metrics on the candidate's holdout, else its recorded ones.

    `features`: held-out rows; `holdout`: how they were chosen.

    Raises:
        StorageError: the store does not answer now; the run is tried again rather than judged on old numbers.
    """
    champion = config.champion
    if champion is None:
        return Comparison()
    with shutdown.scratch("tidemill-champion-") as folder:
        try:
            version = artifacts.open_version(champion.uri, champion.digest, config.store_secret, into=folder)
        except ArtifactError as error:
            return recorded(champion, f"it could not be verified: {error}")
        except StorageError as error:
            if error.retriable and error.reason != SECRET_NOT_FOUND:  # the run's Secret may be for another store
                raise
            return recorded(champion, f"it could not be read: {error}")
        compared = _score(champion, version, config, features, score, root)
        if not compared.is_rescored or holdout is None:
            return compared
        why = champion_overlap.overlap(holdout, config.seed, version.manifest.lineage)
        return compared if why is None else replace(compared, overlap=_may_have_learned(champion, why))


def _score(
    champion: Champion, version: Version, config: TrainerConfig, features: pd.DataFrame, score: Score, root: Path
) -> Comparison:
    signature = version.manifest.signature
    wanted = signature.used_inputs if signature.frame else signature.inputs  # in a matrix every column has its place
    absent = [column.name for column in wanted if column.name not in features.columns]
    if absent:
        return recorded(champion, f"it takes columns that the data no longer has: {', '.join(absent[:10])}")
    try:
        stored = native.of_version(version, allow_pickle=config.allow_pickle)
        changed = [] if stored is None else _changed(native.modules(stored), function.modules(config.code))
        if changed:  # it would answer by this run's code, and what it brings itself is not run in a run
            return recorded(champion, f"its model needs code that changed since: {', '.join(changed)}")
        trained = None if stored is None else native.load(stored)
    except Exception as error:  # loading runs the code of an older scikit-learn model: any error means the same
        return recorded(champion, f"it does not load here: {type(error).__name__}: {error}")
    if stored is None:
        return recorded(champion, f"format {', '.join(version.manifest.formats)} cannot be scored here")
    try:
        family = frameworks.of_format(stored.form)
        model = inspection.inspect(trained, _taken(features, signature.inputs), root, framework=family)
        found = score(replace(model, columns=tuple(column.name for column in wanted)))
    except RunError as error:
        return recorded(champion, f"it cannot be scored on this holdout: {error}")
    # A metric that only the champion's own program could compute is taken from its record.
    absent = [name for name in config.gate_metrics if name not in found and champion.metrics.get(name) is not None]
    note = f"recorded {', '.join(absent)} of {champion.version} used: not computed here" if absent else None
    return Comparison({**found, **{name: champion.metrics[name] for name in absent}}, note, is_rescored=True)


def _changed(needed: Mapping[str, str], present: Mapping[str, str]) -> list[str]:
    return [f"{name}.py" for name, source in needed.items() if present.get(name) != source]


def _taken(features: pd.DataFrame, inputs: Sequence[ColumnSpec]) -> pd.DataFrame:
    """Return the columns that a champion was fitted on; those that it does not use may be gone from the data."""
    gone = {c.name: signature_columns.empty(c.datatype) for c in inputs if c.name not in features.columns}
    return features.assign(**gone)[[c.name for c in inputs]]


def recorded(champion: Champion, why: str) -> Comparison:
    """Return the comparison with the metrics that a champion's own run recorded, and why."""
    return Comparison(dict(champion.metrics), f"recorded metrics of {champion.version} are used: {why}")


def _may_have_learned(champion: Champion, why: str) -> str:
    return f"{champion.version} may have been trained on rows that are held out here: {why}"[:OVERLAP_LIMIT]
