"""The forms of a version, ONNX and native: which of them a configuration allows, and loading one."""

from typing import Protocol

from tidemill_contracts import artifact
from tidemill_contracts.artifact import ModelManifest
from tidemill_contracts.inference import ServerConfig
from tidemill_contracts.runtimes import Choice
from tidemill_contracts.runtimes import choose as chosen
from tidemill_runtime.artifacts import ArtifactError, Version
from tidemill_runtime.model.errors import StartError
from tidemill_runtime.model.frame import Frame, Schema
from tidemill_runtime.model.prediction import Prediction


class Model(Protocol):
    """Something that answers frames; safe from several threads at once."""

    platform: str

    def predict(self, frame: Frame) -> Prediction:
        """Return one prediction per row; raises BadRequestError for rows that the model cannot take."""


def runtimes(manifest: ModelManifest, config: ServerConfig) -> Choice:
    """Return the formats to try, best first, and why.

    Raises:
        StartError: FormatUnsupported; says what the version has and what was asked for.
    """
    formats, report = manifest.formats, manifest.onnx_parity
    choice = chosen(
        config.runtime,
        formats,
        parity=None if report is None else report.passed,
        note="" if report is None else report.reason,
        allow_pickle=config.allow_pickle,
    )
    if not choice.formats:
        refused = "joblib" in formats and not config.allow_pickle
        hint = "; joblib is a pickle, and loading one runs code: spec.server.allowPickle allows it" if refused else ""
        raise StartError(
            "FormatUnsupported", f"runtime {config.runtime} cannot serve formats {', '.join(formats) or 'none'}{hint}"
        )
    return choice


def load_form(choice: str, version: Version, schema: Schema, threads: int) -> Model:
    """Return one form of a version, not proved yet.

    Raises:
        StartError: FormatUnsupported or ModelLoadFailed.
    """
    try:
        if choice == "onnx":
            from tidemill_runtime.frameworks.onnx_model import OnnxModel

            return OnnxModel(version.path(artifact.ONNX_FILE), schema, version.manifest, threads)
        from tidemill_runtime.frameworks.scikit_learn import native_model

        if not version.manifest.signature.frame:
            native_model.import_without_pandas()
        if choice == "joblib":
            estimator = native_model.load_joblib(version.path(artifact.PICKLE_FILE))
        else:
            estimator = native_model.load_skops(version.path(artifact.SKOPS_FILE))
        return native_model.NativeModel(estimator, schema, version.manifest)
    except ArtifactError as error:
        raise StartError(error.reason, str(error)) from error
