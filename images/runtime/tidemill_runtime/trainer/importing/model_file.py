"""A single file, ONNX or skops, that a notebook or another tool left: packaged as a version.

No data comes with it, so rows are made up of what the file says of its columns. The model's answers to them are the
sample that servers start with, and show what it gives, what it refuses and where it takes no missing value. There is no
reference profile.
"""

import logging
from pathlib import Path
from typing import Any

import pandas as pd

from tidemill_contracts import importing
from tidemill_contracts.artifact import SAMPLE_FILE, Lineage, ModelManifest, Signature
from tidemill_contracts.digests import canonical_json, sha256
from tidemill_contracts.formats import FORMATS, Format
from tidemill_contracts.importing import ImportConfig
from tidemill_contracts.training import TrainingResult
from tidemill_runtime import frameworks
from tidemill_runtime.artifacts import Allowance, TooLargeError
from tidemill_runtime.expansion import ExpansionError
from tidemill_runtime.frameworks.base import FileColumn, FileModel
from tidemill_runtime.redaction import summary
from tidemill_runtime.storage import base, folders
from tidemill_runtime.trainer.errors import RunError, user_errors
from tidemill_runtime.trainer.importing import stored_version
from tidemill_runtime.trainer.model import inspection
from tidemill_runtime.trainer.model.inspection import MAX_CATEGORIES, Model
from tidemill_runtime.trainer.package import (
    publish,
    reference_profile,
    signature_categories,
    signature_columns,
    signature_nulls,
)

log = logging.getLogger(__name__)
_ROWS = 3
_TRIED = 50  # rows that are asked one by one where not all are answered
_MADE_UP: dict[str, tuple[Any, ...]] = {
    "FP64": (0.0, 1.0, -1.0), "INT64": (0, 1, 2), "BOOL": (False, True), "BYTES": ("",),
}  # fmt: skip
_DTYPES = {"FP64": "float64", "INT64": "int64", "BOOL": "bool", "BYTES": "object"}
_NAMELESS = "the file does not name its columns; they are x0, x1, … in the order of the matrix"


def take(config: ImportConfig, form: Format, folder: Path) -> TrainingResult:
    """Package the file, write the version into the store and return its facts.

    Raises:
        RunError: DataInvalid (DigestMismatch, InvalidData, TooLarge), UserError (UntrustedType, Unservable).
        StorageError: the file is not there, or a store does not answer.
    """
    path = _download(config, folder / FORMATS[form].file)
    found = _read(config, form, path)
    content = path.read_bytes()
    model, rows = _asked(form, found, folder)
    files = {
        FORMATS[form].file: content,
        SAMPLE_FILE: canonical_json(reference_profile.sample(model, rows).model_dump(mode="json")),
    }
    manifest = ModelManifest(
        pipeline=config.pipeline,
        task=model.task,
        formats=(form,),
        files={name: sha256(stored) for name, stored in files.items()},
        model_digest=config.digest,
        signature=_signature(model, rows, found),
        metrics={},
        classes=None if model.classes is None else tuple(inspection.plain(value) for value in model.classes),
        lineage=Lineage(data={}, code="", image=""),
    )
    uri = publish.publish(config.store, config.store_secret, manifest, files)
    log.info("packaged as %s: %s", form, uri)
    return stored_version.result(manifest, manifest.digest(), uri, *(() if found.has_names else (_NAMELESS,)))


def _download(config: ImportConfig, path: Path) -> Path:
    parent, name = folders.open_parent(config.uri, config.secret)
    allowance = Allowance(importing.MOST_BYTES, config.uri)
    try:
        digest = base.download(parent, name, path, allowance.take)
    except TooLargeError as error:
        raise RunError("DataInvalid", "TooLarge", str(error)) from error
    if digest != config.digest:
        text = f"{config.uri} has digest {digest}, expected {config.digest}"
        raise RunError("DataInvalid", "DigestMismatch", text)
    return path


def _read(config: ImportConfig, form: Format, path: Path) -> FileModel:
    try:
        with user_errors():
            return frameworks.of_format(form).from_file(form, path)
    except (RunError, MemoryError):
        raise
    except ExpansionError as error:
        raise RunError("DataInvalid", "TooLarge", str(error)) from error
    except Exception as error:  # libraries raise many types for a file that is broken
        text = f"{config.uri} cannot be read as {form}: {summary(error)}"
        raise RunError("DataInvalid", "InvalidData", text) from error


def _asked(form: Format, found: FileModel, folder: Path) -> tuple[Model, pd.DataFrame]:
    """Return the model, and those of the rows that were made up for it which it answers.

    Raises:
        RunError: UserError Unservable; it answers none.
    """
    made = made_up(found.columns)
    target = None if found.classes is None else pd.Series(found.classes)
    framework = frameworks.of_format(form)
    model = inspection.inspect(found.trained, made, folder, framework=framework, target=target)
    error = model.refusal(made)
    if error is None:
        return model, made
    tried = [made.iloc[[place]] for place in range(min(len(made), _TRIED))]
    answered = [row for row in tried if model.refusal(row) is None]
    if not answered:
        text = f"the model answers no row that was made up of what its file says of its columns: {summary(error)}"
        raise RunError("UserError", "Unservable", text)
    return model, pd.concat(answered, ignore_index=True)


def made_up(columns: tuple[FileColumn, ...]) -> pd.DataFrame:
    """Return rows in which every known value of every column stands, of at most MAX_CATEGORIES."""
    values = {c.name: (c.values or _MADE_UP[c.datatype])[:MAX_CATEGORIES] for c in columns}
    rows = range(max([_ROWS, *map(len, values.values())]))
    return pd.DataFrame({c.name: _cycled(values[c.name], rows, _DTYPES[c.datatype]) for c in columns})


def _cycled(values: tuple[Any, ...], rows: range, dtype: str) -> "pd.Series[Any]":
    return pd.Series([values[row % len(values)] for row in rows], dtype=dtype)


def _signature(model: Model, rows: pd.DataFrame, found: FileModel) -> Signature:
    """Return what the model takes and gives, and which columns it does not use, like that of a version of a run.

    The categories are those that it knows, of a text that may be any none.
    """
    signature = inspection.signature(model, rows)
    open_ = {c.name for c in found.columns if not 0 < len(c.values) <= MAX_CATEGORIES}
    inputs = tuple(c.model_copy(update={"categories": None}) if c.name in open_ else c for c in signature.inputs)
    signature = signature.model_copy(update={"inputs": inputs})
    try:
        signature = signature_columns.noted(signature, model, rows)
        return signature_categories.noted(signature_nulls.noted(signature, model, rows), model, rows)
    except Exception as error:  # what is not known is left open: the model itself refuses it
        log.warning("what the model refuses was not found out: %s", summary(error))
        return signature
