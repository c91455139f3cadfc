"""A model's ONNX form held against its native form, both as a server loads and asks them, on rows made to tell them
apart; and whether the native form gives a row the same answer alone and in company.
"""

import io
import logging
import tempfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from tidemill_contracts.artifact import ONNX_FILE, Lineage, ModelManifest, ParityReport, Signature
from tidemill_contracts.runtimes import PARITY_CHECK
from tidemill_runtime.model.frame import Array, Schema
from tidemill_runtime.parity import rows
from tidemill_runtime.parity.check import Check
from tidemill_runtime.parity.thresholds import thresholds
from tidemill_runtime.trainer.model import inspection
from tidemill_runtime.trainer.model.inspection import Model, datatype
from tidemill_runtime.trainer.onnx import convert
from tidemill_runtime.trainer.onnx.convert import Converted
from tidemill_runtime.trainer.package import native, signature_categories, signature_nulls, signature_ranges
from tidemill_runtime.trainer.package.native import Native

_log = logging.getLogger(__name__)
_LARGE = 2_000_000
"""Bytes of a native form up to which it is asked as many rows as there may be; a row costs a larger one more."""
_LEAST = 0.2
_LEAST_ROWS = 5000  # of the training rows, which are looked at however many columns there are


@dataclass(frozen=True)
class Proved:
    """What servers go by: the signature, the ONNX form if it was tried, and whether the native one may answer several
    requests together; None is not known, and servers look themselves."""

    signature: Signature
    converted: Converted | None = None
    batching: bool | None = None


def proved(form: Native, model: Model, signature: Signature, training: pd.DataFrame, holdout: pd.DataFrame) -> Proved:
    """Return what a model proves of itself.

    Nothing that the checks raise fails a run: a check that fails verifies nothing, and the native form serves.
    """
    try:
        noted = signature_categories.noted(signature_nulls.noted(signature, model, holdout), model, holdout)
        noted = signature_ranges.noted(noted, model, training)
        proof = Proof(form, model, noted, training, holdout)
        converted = convert.convert(model, holdout, proof.report)
    except Exception as error:  # estimators may be anybody's code
        return Proved(signature, Converted(None, _failed(error)))
    return Proved(noted if converted.content is None else proof.signature, converted, proof.batching())


def _failed(error: Exception) -> ParityReport:
    _log.warning("the check of the model's forms failed", exc_info=error)
    return ParityReport(passed=False, rows=0, reason=f"the check itself failed: {convert.told(error)}")


class Proof:
    """The check of one model.

    `signature`: what servers go by; of a graph that was compared last, with the ranges in which it answers.
    """

    def __init__(
        self, form: Native, model: Model, signature: Signature, training: pd.DataFrame, holdout: pd.DataFrame
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
        """Return how a graph compares; where that cannot be told, it is not verified."""
        try:
            return self._report(content)
        except Exception as error:  # the search for rows looks into estimators that may be anybody's code
            return _failed(error)

    def _report(self, content: bytes) -> ParityReport:
        from tidemill_runtime.frameworks.onnx_model import OnnxModel

        self.signature = signature_ranges.narrowed(self._open, content, self._model, self._holdout)
        self._check = self._new_check()
        with tempfile.TemporaryDirectory(prefix="tidemill-onnx-") as folder:
            path = Path(folder) / ONNX_FILE
            path.write_bytes(content)
            form = OnnxModel(path, Schema(self.signature), manifest(self._model, self.signature), threads=1)
        with threadpool_limits(1):  # one row is asked at a time: threads would cost more than they save
            found = self._check.compared(form)
        return ParityReport(
            passed=found.passed, rows=found.rows, candidates=found.candidates, check=PARITY_CHECK, reason=found.reason
        )

    def batching(self) -> bool | None:
        """Return whether the native form gives every row that was tried the same answer alone and in company.

        None where that cannot be told.
        """
        try:
            check = self._check or self._new_check()
            with threadpool_limits(1):
                return not check.company()
        except Exception as error:
            _log.warning("whether requests may be answered together is left to servers", exc_info=error)
            return None

    @cached_property
    def _estimator(self) -> Any:
        return _loaded(self._form)

    def _new_check(self) -> Check:
        from tidemill_runtime.frameworks.scikit_learn.native_model import NativeModel

        schema = Schema(self.signature)
        native_form = NativeModel(self._estimator, schema, manifest(self._model, self.signature))
        steps = thresholds(self._estimator, schema.names)
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


def _loaded(form: Native) -> Any:
    if form.form == "skops":
        return native.load_skops(form.content)
    import joblib

    return joblib.load(io.BytesIO(form.content))


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
