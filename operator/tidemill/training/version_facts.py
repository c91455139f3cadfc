"""What a ModelVersion says of the model itself, from the report of the pod that stored it: a run's or an import's."""

from __future__ import annotations

from typing import Any

from tidemill.api.v1alpha1.model_version import ModelColumn, ModelSignature
from tidemill_contracts import signatures
from tidemill_contracts.artifact import Signature
from tidemill_contracts.training import TrainingResult


def facts(result: TrainingResult) -> dict[str, Any]:
    """Fields of ModelVersionSpec, by name, of a report that was held against its spec."""
    assert result.digest and result.model_digest and result.uri  # noqa: S101 - checked before
    return {
        "digest": result.digest,
        "model_digest": result.model_digest,
        "uri": result.uri,
        "formats": list(result.formats),
        "task": result.task,
        "onnx": result.onnx,
        "onnx_check": result.onnx_check,
        "batching": result.batching,
        "signature": _signature(result.signature),
        "signature_digest": signatures.digest(result.signature) if result.signature else result.signature_digest,
        "metrics": {name: value for name, value in result.metrics.items() if value is not None},
    }


def _signature(found: Signature | None) -> ModelSignature | None:
    if found is None:
        return None
    columns = [
        [ModelColumn(name=c.name, datatype=c.datatype, shape=list(c.shape), used=c.used) for c in side]
        for side in (found.inputs, found.outputs)
    ]
    return ModelSignature(inputs=columns[0], outputs=columns[1])
