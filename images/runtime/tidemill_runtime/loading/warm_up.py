"""From a verified version to a model that repeats the recorded answers to the version's sample rows.

`forms` says which forms may serve; the one that does is decided here alone, and so is what is warm: a model that
does not repeat the answers recorded at training never serves.
"""

import logging
import math
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tidemill_contracts import artifact
from tidemill_contracts.artifact import ModelManifest, Sample
from tidemill_contracts.formats import Runtime
from tidemill_contracts.inference import ServerConfig
from tidemill_contracts.runtimes import FAILED, OUTDATED, FallbackReason
from tidemill_runtime import artifacts
from tidemill_runtime.artifacts import ArtifactError, Version
from tidemill_runtime.frameworks.base import ServedModel
from tidemill_runtime.loading import recheck
from tidemill_runtime.loading.forms import load_form, runtimes
from tidemill_runtime.model.errors import BadRequestError, StartError
from tidemill_runtime.model.frame import Frame, Schema, array_of, frame_of_values, shown
from tidemill_runtime.model.prediction import Prediction
from tidemill_runtime.predictionlog.record_batches import VersionFiles
from tidemill_runtime.storage.base import StorageError

_log = logging.getLogger(__name__)
_ROUNDS = 7
_TIMING_SECONDS = 0.2
_MANY_ROWS = 64
TOLERANCE = 1e-3  # of a value or of the sample's mean; ONNX computes in single precision, parity was held to 1e-4


@dataclass(frozen=True)
class WarmModel:
    """A model that has answered its sample rows. Costs are seconds, measured after the first call."""

    model: ServedModel
    schema: Schema
    manifest: ModelManifest
    seconds_per_call: float
    seconds_per_row: float
    background: Frame  # the sample rows: what is usual, for explanations
    reason: str = ""  # why this form serves: half a sentence
    fallback: FallbackReason | None = None  # why not the form that came first
    batching: bool = True  # False: its answers depend on who else is in the batch

    @property
    def runtime(self) -> Runtime:
        """What serves."""
        return "ONNX" if self.model.platform == "onnxruntime_onnx" else "Native"

    def seconds(self, rows: int) -> float:
        """Return about how long a prediction of `rows` rows takes."""
        return self.seconds_per_call + self.seconds_per_row * rows


def open_verified(config: ServerConfig, into: Path | None = None) -> Version:
    """Return the verified local copy of the configured version; whoever calls removes its folder.

    Raises:
        StartError: DigestMismatch and other refusals for good, ArtifactUnavailable when another try may help.
    """
    try:
        return artifacts.open_version(config.uri, config.digest, config.secret, into=into)
    except ArtifactError as error:
        raise StartError(error.reason, str(error)) from error
    except StorageError as error:
        raise StartError("ArtifactUnavailable", f"{error.reason}: {error}", retryable=error.retriable) from error


def load(version: Version, config: ServerConfig, threads: int) -> WarmModel:
    """Return the model of a version, warm, in the form that the configuration requests.

    With `runtime: Auto`, ONNX serves when its parity check passed at training and its warm-up passes here;
    otherwise the native form does. What an older check verified is looked at again first.

    Raises:
        StartError: FormatUnsupported, ModelLoadFailed or WarmUpMismatch.
    """
    logged = config.log.columns if config.log is not None else ()
    schema = Schema(version.manifest.signature, ignores_others=config.extra_columns == "Ignore", logged=logged)
    choice = runtimes(version.manifest, config)
    reason = choice.reason
    fallback: FallbackReason | None = None
    for name in choice.formats[:-1]:
        found = recheck.difference(version, choice.formats[-1]) if name == "onnx" else ""
        if found:
            reason, fallback = f"{OUTDATED}: {found}", OUTDATED
            _log.warning("%s is not served: %s", name, reason)
            continue
        try:
            warm = _warm_up(load_form(name, version, schema, threads), schema, version)
        except StartError as error:
            _log.warning("%s is not served, trying %s: %s", name, choice.formats[-1], error)
            reason, fallback = f"its {name} form failed in the server: {error}", FAILED
        else:
            return replace(warm, reason=reason)
    warm = _warm_up(load_form(choice.formats[-1], version, schema, threads), schema, version)
    return replace(warm, reason=reason, fallback=fallback)


def _warm_up(model: ServedModel, schema: Schema, version: Version) -> WarmModel:
    sample = version.sample()
    rows = len(sample.predictions)
    if rows == 0:
        raise StartError("WarmUpMismatch", f"{artifact.SAMPLE_FILE} has no rows to warm the model up on")
    try:
        schema.check_names(sample.columns, artifact.SAMPLE_FILE)
        frame = _frame(sample, schema, range(rows))
        compare(model.predict(frame), sample)
        one = _cost(model, _frame(sample, schema, [0]))
        many = max(rows, _MANY_ROWS)
        per_row = (_cost(model, _frame(sample, schema, [i % rows for i in range(many)])) - one) / (many - 1)
    except BadRequestError as error:
        raise StartError("WarmUpMismatch", f"{artifact.SAMPLE_FILE} is refused: {error.message}") from error
    except StartError:
        raise
    except Exception as error:  # a model's own code; without its warm-up it does not serve
        raise StartError(
            "WarmUpMismatch", f"the model failed on its sample: {type(error).__name__}: {error}"
        ) from error
    batching = recheck.batching(model, schema, version)
    return WarmModel(model, schema, version.manifest, one, max(0.0, per_row), frame, batching=batching)


def _frame(sample: Sample, schema: Schema, rows: Any) -> Frame:
    if schema.is_numeric:  # the form in which most requests arrive
        values = [sample.columns[name][i] for i in rows for name in schema.names]
        return frame_of_values(values, len(rows), schema, artifact.SAMPLE_FILE)
    arrays = [array_of([sample.columns[c.name][i] for i in rows], c, artifact.SAMPLE_FILE) for c in schema.columns]
    return Frame(schema, len(rows), arrays=arrays)


def compare(answer: Prediction, sample: Sample) -> None:
    """Compare an answer with the recorded one.

    Raises:
        StartError: WarmUpMismatch, with the first row that differs.
    """
    got = answer.prediction.tolist()
    flat = [v for row in sample.predictions for v in (row if isinstance(row, list) else [row])]
    numbers = [abs(value) for value in flat if isinstance(value, float)]
    scale = sum(numbers) / len(numbers) if numbers else 0.0
    for row, (expected, value) in enumerate(zip(sample.predictions, got, strict=True)):
        if not _is_same(expected, value, scale):
            raise StartError(
                "WarmUpMismatch", f"row {row} of {artifact.SAMPLE_FILE}: expected {shown(expected)}, got {shown(value)}"
            )


def _is_same(expected: Any, value: Any, scale: float) -> bool:
    if isinstance(expected, list):
        return (
            isinstance(value, list)
            and len(value) == len(expected)
            and all(_is_same(e, v, scale) for e, v in zip(expected, value, strict=True))
        )
    if isinstance(expected, float) and isinstance(value, (int, float)):
        return math.isclose(expected, value, rel_tol=TOLERANCE, abs_tol=TOLERANCE * scale)
    if expected is None:  # NaN at training; of versions from before, also a row of several targets
        return value is None or isinstance(value, list) or (isinstance(value, float) and math.isnan(value))
    return bool(expected == value)


def _cost(model: ServedModel, frame: Frame) -> float:
    """Return the shortest of a few timings, in seconds: what else the machine does is no cost of the model's."""
    timings: list[float] = []
    while len(timings) < _ROUNDS and sum(timings) < _TIMING_SECONDS:
        started = time.perf_counter()
        model.predict(frame)
        timings.append(time.perf_counter() - started)
    return min(timings)


def profile_files(version: Version) -> VersionFiles | None:
    """Return `reference.json` and the manifest, None for a version that was made elsewhere without a profile."""
    if artifact.REFERENCE_FILE not in version.manifest.files:
        return None
    return VersionFiles(version.reference(), (version.folder / artifact.MANIFEST_FILE).read_bytes())
