"""A model's ONNX form compared with its native form, both as a server loads them, on rows made to tell them apart; and
whether the native form gives a row the same answer alone and in a batch.
"""

import logging
import tempfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from tidemill_contracts.artifact import Lineage, ModelManifest, ParityReport, Signature
from tidemill_contracts.formats import FORMATS
from tidemill_contracts.runtimes import PARITY_CHECK
from tidemill_runtime import frameworks
from tidemill_runtime.frameworks.base import Converted, StoredModel
from tidemill_runtime.model.datatypes import datatype
from tidemill_runtime.model.frame import Array, Schema
from tidemill_runtime.parity import rows
from tidemill_runtime.parity.check import Check
from tidemill_runtime.redaction import summary
from tidemill_runtime.trainer.model import inspection
from tidemill_runtime.trainer.model.inspection import Model
from tidemill_runtime.trainer.package import native, signature_categories, signature_nulls, signature_ranges

_log = logging.getLogger(__name__)
_LARGE = 2_000_000
"""Bytes of a native form up to which it is asked as many rows as there may be; a row costs a larger one more."""
_LEAST = 0.2
_LEAST_ROWS = 5000  # of the training rows, which are looked at however many columns there are


@dataclass(frozen=True)
class Verified:
    """What servers go by: the signature, the ONNX form if it was tried, and whether the native one may answer several
    requests together; None is not known, and servers look themselves."""

    signature: Signature
    converted: Converted | None = None
    batching: bool | None = None


def verify(
    form: StoredModel, model: Model, signature: Signature, training: pd.DataFrame, holdout: pd.DataFrame
) -> Verified:
    """Return what the checks of a model found.

    Nothing that the checks raise fails a run: a check that fails verifies nothing, and the native form serves.
    """
    try:
        noted = signature_categories.noted(signature_nulls.noted(signature, model, holdout), model, holdout)
        noted = signature_ranges.noted(noted, model, training)
        verification = Verification(form, model, noted, training, holdout)
        converted = model.framework.convert(model, holdout, verification.report)
    except Exception as error:  # estimators may be anybody's code
        return Verified(signature, Converted(None, _failed(error)))
    return Verified(noted if converted.content is None else verification.signature, converted, verification.batching())


def _failed(error: Exception) -> ParityReport:
    _log.warning("the check of the model's forms failed", exc_info=error)
    return ParityReport(passed=False, rows=0, reason=f"the check itself failed: {summary(error)}")


class Verification:
    """The check of one model.

    `signature`: what servers go by; of a graph that was compared last, with the ranges in which it answers.
    """

    def __init__(
        self, form: StoredModel, model: Model, signature: Signature, training: pd.DataFrame, holdout: pd.DataFrame
    ) -> None:
        self.signature = signature
        self._form = form
        self._model = model
        self._open = signature
        self._training = training
        self._holdout = holdout
        self._share = max(_LEAST, min(1.0, _LARGE / len(form.content)))
        self._check: Check | None = None

    def report(self, content: bytes) -> ParityReport:
        """Return how a graph compares; where that is not known, it is not verified."""
        try:
            return self._report(content)
        except Exception as error:  # the search for rows looks into estimators that may be anybody's code
            return _failed(error)

    def _report(self, content: bytes) -> ParityReport:
        self.signature = signature_ranges.narrowed(self._open, content, self._model, self._holdout)
        self._check = self._new_check()
        with tempfile.TemporaryDirectory(prefix="tidemill-onnx-") as folder:
            path = Path(folder) / FORMATS["onnx"].file
            path.write_bytes(content)
            described = manifest(self._model, self.signature)
            form = frameworks.of_format("onnx").open("onnx", path, Schema(self.signature), described, threads=1)
        with threadpool_limits(1):  # one row is asked at a time: threads would cost more than they save
            found = self._check.compared(form)
        return ParityReport(
            passed=found.passed, rows=found.rows, candidates=found.candidates, check=PARITY_CHECK, reason=found.reason
        )

    def batching(self) -> bool | None:
        """Return whether the native form gives every row that was tried the same answer alone and in a batch.

        None where that is not known.
        """
        try:
            check = self._check or self._new_check()
            with threadpool_limits(1):
                return not check.batch_difference()
        except Exception as error:
            _log.warning("whether requests may be answered together is left to servers", exc_info=error)
            return None

    @cached_property
    def _estimator(self) -> Any:
        return native.load(self._form)

    def _new_check(self) -> Check:
        framework, schema = self._model.framework, Schema(self.signature)
        native_form = framework.serve(self._estimator, schema, manifest(self._model, self.signature))
        steps = schema.known.of_used(framework.thresholds(self._estimator, schema.known.names))
        made = rows.blocks(schema, known(self._training, schema), steps, int(rows.LIMIT * self._share))
        with threadpool_limits(1):
            return Check(native_form, schema, made, alone=self._share)


def known(training: pd.DataFrame, schema: Schema) -> list[Array]:
    """Return rows as a server has them, one array per column; infinities, which no request holds, are left out.

    Of very many rows some, evenly, and those with the least and the greatest number of each column: a trainer that has
    room for its data has not room for several copies of them.
    """
    names = [c.name for c in schema.columns if c.kind == "number"]
    taken = _some(training, names, max(_LEAST_ROWS, rows.CELLS // max(1, schema.width)))
    finite = ~np.isinf(taken[names].to_numpy(dtype=np.float64, na_value=np.nan)).any(axis=1)
    taken = taken[finite] if finite.any() else taken
    return [_column(taken[column.name]) for column in schema.columns]


def _some(training: pd.DataFrame, names: list[str], most: int) -> pd.DataFrame:
    if len(training) <= most:
        return training
    places = [np.linspace(0, len(training) - 1, most).astype(np.int64)]
    for name in names:
        values = training[name].to_numpy(dtype=np.float64, na_value=np.nan)
        present = np.flatnonzero(np.isfinite(values))
        if len(present):
            places.append(present[[values[present].argmin(), values[present].argmax()]])
    return training.iloc[np.unique(np.concatenate(places))]


def _column(values: "pd.Series[Any]") -> Array:
    kind = datatype(values.dtype)
    if kind == "BYTES":
        texts = values.astype(object)
        found: Array = np.array(
            [str(v) if present else None for v, present in zip(texts, values.notna(), strict=True)], dtype=object
        )
        return found
    if kind == "INT64":
        return values.to_numpy()
    return values.to_numpy(dtype=np.float64, na_value=np.nan)


def manifest(model: Model, signature: Signature) -> ModelManifest:
    """Return what a server's models read of a manifest."""
    return ModelManifest(
        pipeline="",
        task=model.task,
        formats=("onnx",),
        files={},
        model_digest="",
        signature=signature,
        metrics={},
        classes=None if model.classes is None else tuple(inspection.plain(value) for value in model.classes),
        lineage=Lineage(data={}, code="", image=""),
    )
