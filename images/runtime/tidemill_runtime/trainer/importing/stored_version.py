"""A version that was trained elsewhere: its folder is copied byte for byte, each file held against its digest.

The digest stays the same, so what is in the store already need not be read from its source again: an import that is
repeated, also by a namespace that was made anew, works when the source is gone.
"""

import logging
from pathlib import Path

from pydantic import ValidationError

from tidemill_contracts import importing
from tidemill_contracts.artifact import CODE_FILE, MARKER_FILE, REFERENCE_FILE, SAMPLE_FILE, ModelManifest
from tidemill_contracts.digests import digest_hex
from tidemill_contracts.formats import FORMATS, pickles
from tidemill_contracts.importing import ImportConfig
from tidemill_contracts.runtimes import VERIFIED
from tidemill_contracts.storage import Uri, parse_uri
from tidemill_contracts.training import TrainingResult
from tidemill_runtime import artifacts
from tidemill_runtime.artifacts import ArtifactError, TooLargeError, Version
from tidemill_runtime.storage import folders
from tidemill_runtime.storage.base import StorageError
from tidemill_runtime.trainer.errors import RunError
from tidemill_runtime.trainer.package import publish

NO_PROFILE = "the version has no reference profile, so a monitor cannot tell drift of it"
log = logging.getLogger(__name__)


def take(config: ImportConfig, folder: Path) -> TrainingResult:
    """Copy the version into the store, where it is not there already, and return what its manifest says.

    `folder`: an empty local one.

    Raises:
        RunError: DataInvalid (NotFound, Incomplete, DigestMismatch, InvalidManifest, TooLarge), UserError
            (PickleRefused).
        StorageError: a store does not answer, or refuses.
    """
    known = _in_store(config, folder / "known")
    version = known or _from_source(config, folder / "source")
    _check(version, config)
    uri = str(_place(config)) if known else publish.copy(config.store, config.store_secret, version)
    log.info("%s: %s", "already in the store" if known else "copied", uri)
    return result(version.manifest, version.digest, uri)


def _place(config: ImportConfig) -> Uri:
    return parse_uri(config.store).child(digest_hex(config.digest))


def _in_store(config: ImportConfig, folder: Path) -> Version | None:
    """Return the version as the store has it, None where it is not there, or not whole."""
    try:
        return artifacts.open_version(
            str(_place(config)), config.digest, config.store_secret, into=folder, most=importing.MOST_BYTES
        )
    except (ArtifactError, TooLargeError):
        return None
    except StorageError as error:
        if error.retriable:
            raise
        return None  # writing will say it better


def _from_source(config: ImportConfig, folder: Path) -> Version:
    try:
        uri = _source(config)
        log.info("source: %s", uri)
        return artifacts.open_version(uri, config.digest, config.secret, into=folder, most=importing.MOST_BYTES)
    except TooLargeError as error:
        raise RunError("DataInvalid", "TooLarge", str(error)) from error
    except ArtifactError as error:
        raise _refused(error) from error


def _source(config: ImportConfig) -> str:
    """Return the version's own folder: the one that the URI names, or the one below it that has the digest's name."""
    if importing.is_version_folder(config.uri, config.digest):
        return config.uri
    inner = digest_hex(config.digest)
    around = folders.open_folder(config.uri, config.secret)
    return str(around.uri.child(inner)) if around.head(f"{inner}/{MARKER_FILE}") else config.uri


def _refused(error: ArtifactError) -> RunError:
    """Return the failure for what a source holds; one literal each, as the table of failures is compared with them."""
    text = str(error)
    match error.reason:
        case "NotFound":
            return RunError("DataInvalid", "NotFound", text)
        case "Incomplete":
            return RunError("DataInvalid", "Incomplete", text)
        case "DigestMismatch":
            return RunError("DataInvalid", "DigestMismatch", text)
        case _:
            return RunError("DataInvalid", "InvalidManifest", text)


def _check(version: Version, config: ImportConfig) -> None:
    """Refuse a version that no server of this namespace could start with, or that only a pickle could serve.

    Raises:
        RunError: DataInvalid InvalidManifest, UserError PickleRefused.
    """
    manifest = version.manifest
    found = pickles(manifest.formats)
    if found:
        text = f"{config.uri} has the model as a pickle ({', '.join(found)}), and loading one runs code"
        raise RunError("UserError", "PickleRefused", f"{text}; train it without allowPickle, or export it as ONNX")
    problem = _problem(version)
    if problem:
        raise RunError("DataInvalid", "InvalidManifest", f"{config.uri}: {problem}")


def _problem(version: Version) -> str:
    manifest = version.manifest
    if not manifest.formats:
        return "the version has no form of a model"
    for form in manifest.formats:
        file = FORMATS[form].file
        if file and file not in manifest.files:
            return f"formats: {form}, but the manifest lists no {file}"
        if FORMATS[form].has_code and CODE_FILE not in manifest.files:
            return f"formats: {form}, but the manifest lists no {CODE_FILE}"
    if not any(FORMATS[form].runtime for form in manifest.formats):
        return ""  # no server loads it, so there are no rows to start one with
    try:
        sample = version.sample()
    except ArtifactError as error:
        return str(error)
    except ValidationError as error:
        first = error.errors()[0]
        return f"{SAMPLE_FILE}: {'.'.join(str(part) for part in first['loc'])}: {first['msg']}"
    names = {column.name for column in manifest.signature.inputs}
    if not sample.predictions or not names <= sample.columns.keys():
        return f"{SAMPLE_FILE} has no rows of the model's columns, with which a server starts"
    return ""


def result(manifest: ModelManifest, digest: str, uri: str, *remarks: str) -> TrainingResult:
    """Return what a version in the store is; `remarks` are further warnings."""
    report = manifest.onnx_parity
    onnx = None if report is None else VERIFIED if report.passed else report.reason
    return TrainingResult(
        outcome="Succeeded",
        digest=digest,
        model_digest=manifest.model_digest,
        uri=uri,
        formats=manifest.formats,
        task=manifest.task,
        metrics=manifest.metrics,
        signature=manifest.signature,
        frameworks=manifest.lineage.frameworks,
        onnx=onnx,
        onnx_check=None if report is None else report.check,
        batching=manifest.batching,
        lineage=manifest.lineage,
        warnings=(*remarks, *(() if REFERENCE_FILE in manifest.files else (NO_PROFILE,))),
    )
