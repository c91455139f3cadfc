"""What leaves a run: one JSON document as the container's termination message, at most 4,096 bytes.

A document that is too long loses its least important parts in a fixed order; the outcome, the digest
and the first lines of a failure always fit. It must never be cut by the kubelet, which would leave no
JSON at all.
"""

import os
from pathlib import Path

from tidemill_contracts import signatures
from tidemill_contracts.artifact import Lineage
from tidemill_contracts.records import RecordsResult
from tidemill_contracts.training import (
    TERMINATION_MESSAGE_LIMIT,
    TERMINATION_MESSAGE_PATH,
    Failure,
    ProbeResult,
    TrainingResult,
)
from tidemill_runtime import redaction

PATH_ENV = "TIDEMILL_TERMINATION_LOG"  # replaces the contract's path outside a pod

_FIXED = frozenset(
    {"outcome", "category", "digest", "model_digest", "signature_digest", "uri", "formats", "task", "type"}
)  # no free text


def write(document: TrainingResult | ProbeResult | RecordsResult) -> None:
    """Write the termination message, without credentials; a model's signature has its digest beside it."""
    if isinstance(document, TrainingResult) and document.signature is not None:
        document = document.model_copy(update={"signature_digest": signatures.digest(document.signature)})
    document = type(document).model_validate(redaction.redacted(document.model_dump(), _FIXED))
    if isinstance(document, TrainingResult):
        text = fit_result(document)
    else:
        text = fit_probe(document) if isinstance(document, ProbeResult) else fit_records(document)
    Path(os.environ.get(PATH_ENV) or TERMINATION_MESSAGE_PATH).write_text(text, encoding="utf-8")


def fit_result(result: TrainingResult, limit: int = TERMINATION_MESSAGE_LIMIT) -> str:
    """Return the result as JSON of at most `limit` bytes."""
    steps = (
        lambda r: r,
        lambda r: _shortened(r, message=2400, warning=200, warnings=5),
        lambda r: r.model_copy(update={"lineage": _brief(r.lineage), "holdout_classes": _rarest(r.holdout_classes)}),
        lambda r: r.model_copy(update={"signature": r.signature and signatures.brief(r.signature)}),
        lambda r: r.model_copy(update={"signature": None}),
        lambda r: r.model_copy(update={"frameworks": {}}),
        lambda r: _shortened(r, message=1500, warning=120, warnings=3),
        lambda r: r.model_copy(update={"seconds": {}}),
        lambda r: _shortened(r, message=800, warning=80, warnings=1),
        lambda r: r.model_copy(update={"metrics": _first(r.metrics), "champion_metrics": _first(r.champion_metrics)}),
        lambda r: r.model_copy(update={"data": {}, "kept_rows": {}, "lineage": None, "holdout_classes": {}}),
        lambda r: _shortened(r, message=300, warning=0, warnings=0),
    )
    for step in steps:
        result = step(result)
        text = result.to_json()
        if len(text.encode()) <= limit:
            return text
    return TrainingResult(
        outcome=result.outcome, failure=result.failure, digest=result.digest, uri=result.uri
    ).to_json()


def fit_probe(result: ProbeResult, limit: int = TERMINATION_MESSAGE_LIMIT) -> str:
    """Return a probe's result as JSON of at most `limit` bytes: revisions whole, error texts as long as fits."""
    for length in (1000, 300, 100, 20, 0):
        short = ProbeResult(
            revisions=result.revisions, errors={name: cut(text, length) for name, text in result.errors.items()}
        )
        text = short.to_json()
        if len(text.encode()) <= limit:
            return text
    return ProbeResult(errors={"": "too many inputs for one termination message"}).to_json()


def fit_records(result: RecordsResult) -> str:
    """Return a result of reading or writing records as JSON that fits: the start and the end of its error."""
    return result.model_copy(update={"error": cut(result.error, 1000) if result.error else None}).to_json()


def cut(text: str, length: int) -> str:
    """Return text of at most `length` UTF-8 bytes: the start and, where it was cut, the more telling end."""
    if len(text.encode()) <= length:
        return text
    if length < 40:
        return text.encode()[:length].decode(errors="ignore")
    head = text.encode()[: length // 2 - 2].decode(errors="ignore")
    tail = text.encode()[-(length - length // 2 - 3) :].decode(errors="ignore")
    return f"{head} … {tail}"


def _shortened(result: TrainingResult, *, message: int, warning: int, warnings: int) -> TrainingResult:
    failure = result.failure
    if failure is not None:
        failure = Failure(category=failure.category, reason=failure.reason, message=cut(failure.message, message))
    note = cut(result.champion_note, max(warning, 80)) if result.champion_note else result.champion_note
    overlap = cut(result.champion_overlap, max(warning, 200)) if result.champion_overlap else result.champion_overlap
    onnx = cut(result.onnx, max(warning, 80)) if result.onnx else result.onnx
    kept = tuple(cut(text, warning) for text in result.warnings[:warnings])
    shorter = {"champion_note": note, "champion_overlap": overlap, "onnx": onnx, "warnings": kept}
    return result.model_copy(update={"failure": failure, **shorter})


def _brief(lineage: Lineage | None) -> Lineage | None:
    """Return a lineage without what may be long: it is in the manifest."""
    return lineage and lineage.model_copy(update={"parameters": {}, "data_digests": {}, "frameworks": {}})


def _rarest(classes: dict[str, int]) -> dict[str, int]:
    """Return the two first classes, which have the fewest rows."""
    return dict(list(classes.items())[:2])


def _first(metrics: dict[str, float | None] | None) -> dict[str, float | None] | None:
    """Return the first metrics; the caller has put those that a gate asks for first."""
    return None if metrics is None else dict(list(metrics.items())[:12])
