"""The second half of a run, the same for functions and programs: judge, package, publish, prune, report."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tidemill_contracts.training import TrainerConfig, TrainingResult
from tidemill_runtime.storage.base import StorageError
from tidemill_runtime.trainer.model import metrics as model_metrics
from tidemill_runtime.trainer.model.inspection import Model
from tidemill_runtime.trainer.model.metrics import Metrics
from tidemill_runtime.trainer.package import publish, version
from tidemill_runtime.trainer.package.candidate import Candidate
from tidemill_runtime.trainer.package.version import Package
from tidemill_runtime.trainer.run import champion, data_phase
from tidemill_runtime.trainer.run.champion import Comparison
from tidemill_runtime.trainer.run.data_phase import Progress

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)


def note_classes(progress: Progress, model: Model, truth: "pd.Series[Any] | None") -> None:
    """Note how many held-out rows the classes of a model have, and warn where they are few."""
    progress.holdout_classes = model_metrics.rows_by_class(model, truth)
    data_phase.warn_of_few_rows(progress, model_metrics.positive_class(model))


def judge_and_publish(config: TrainerConfig, judged: Candidate, root: Path, progress: Progress) -> TrainingResult:
    """Score a model and the champion, package and publish the model, and return the result.

    Raises:
        RunError, StorageError, MemoryError.
    """
    with progress.phase("evaluate"):
        metrics, remarks = judged.score(judged.model)
        metrics.update(judged.reported)
        for remark in remarks:
            progress.warn(remark)
        log.info("evaluate: %s", ", ".join(f"{name} {value}" for name, value in metrics.items()) or "no metrics")
    with progress.phase("champion"):
        rows = data_phase.beside(judged.holdout, judged.left_out)
        compared = champion.judge(config, rows, lambda other: judged.score(other)[0], root, progress.holdout)
        log.info("champion: %s", compared.text)
    with progress.phase("package"):
        packed = version.pack(config, judged, metrics, progress.read, progress.holdout)
        for remark in packed.remarks:
            progress.warn(remark)
        log.info("package: %s; onnx: %s", ", ".join(packed.manifest.formats), packed.onnx)
    return finish(config, packed, compared, progress)


def finish(config: TrainerConfig, packed: Package, compared: Comparison, progress: Progress) -> TrainingResult:
    """Publish a packaged version, prune old ones, and return the result.

    Raises:
        StorageError: the version could not be written.
    """
    manifest = packed.manifest
    with progress.phase("publish"):
        uri = publish.publish(config.store, config.store_secret, manifest, packed.files)
        log.info("publish: %s", uri)
    _prune(config, manifest.digest(), progress)
    for name in config.gate_metrics:
        if manifest.metrics.get(name) is None:
            has = ", ".join(sorted(manifest.metrics)) or "none"
            progress.warn(f"a gate asks for metric {name!r}, which this run did not produce; it produced {has}")
    return TrainingResult(
        outcome="Succeeded",
        digest=manifest.digest(),
        model_digest=manifest.model_digest,
        uri=uri,
        formats=manifest.formats,
        task=manifest.task,
        metrics=_gates_first(manifest.metrics, config),
        champion_metrics=_gates_first(compared.metrics, config) if compared.metrics is not None else None,
        champion_note=compared.note,
        champion_overlap=compared.overlap,
        holdout=progress.split,
        rows=progress.rows,
        holdout_classes=progress.holdout_classes,
        data=progress.data,
        kept_rows=progress.kept_rows,
        signature=manifest.signature,
        frameworks=manifest.lineage.frameworks,
        seconds=progress.seconds,
        onnx=packed.onnx,
        onnx_check=None if manifest.onnx_parity is None else manifest.onnx_parity.check,
        batching=manifest.batching,
        warnings=tuple(progress.warnings),
    )


def _prune(config: TrainerConfig, digest: str, progress: Progress) -> None:
    if config.keep is None:
        return
    kept = [*config.keep, digest, *([config.champion.digest] if config.champion is not None else [])]
    with progress.phase("prune"):
        try:
            removed = publish.prune(config.store, config.store_secret, tuple(kept))
            log.info("prune: removed %d versions", len(removed))
        except StorageError as error:  # the version stands; the next run prunes again
            progress.warn(f"old versions were not removed: {error}")


def _gates_first(metrics: Metrics, config: TrainerConfig) -> Metrics:
    """Return metrics with those that a gate asks for in front, where a shortened message keeps them."""
    first = {name: metrics[name] for name in config.gate_metrics if name in metrics}
    return {**first, **metrics}
