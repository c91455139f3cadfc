"""The forms of a version, ONNX and native: which of them a configuration allows, and loading one."""

from tidemill_contracts.artifact import ModelManifest
from tidemill_contracts.formats import FORMATS, Format, pickles, with_code
from tidemill_contracts.inference import ServerConfig
from tidemill_contracts.runtimes import Choice, choose
from tidemill_runtime import frameworks
from tidemill_runtime.artifacts import ArtifactError, Version
from tidemill_runtime.frameworks.base import ServedModel
from tidemill_runtime.model.errors import StartError
from tidemill_runtime.model.frame import Schema


def runtimes(manifest: ModelManifest, config: ServerConfig) -> Choice:
    """Return the formats to try, best first, and why.

    Raises:
        StartError: FormatUnsupported; says what the version has and what was requested.
    """
    formats, report = manifest.formats, manifest.onnx_parity
    choice = choose(
        config.runtime,
        formats,
        parity=None if report is None else report.passed,
        note="" if report is None else report.reason,
        allow_pickle=config.allow_pickle,
        allow_code=config.allow_code,
    )
    if not choice.formats:
        text = f"runtime {config.runtime} cannot serve formats {', '.join(formats) or 'none'}"
        refused = () if config.allow_pickle else pickles(formats)
        if refused:
            text += (
                f"; {' and '.join(refused)} is a pickle, and loading one runs code: spec.server.allowPickle allows it"
            )
        if not config.allow_code and with_code(formats):
            text += (
                "; its model has functions or classes of its training code: spec.server.allowCode allows to run them"
            )
        raise StartError("FormatUnsupported", text)
    return choice


def load_form(form: Format, version: Version, schema: Schema, threads: int) -> ServedModel:
    """Return one form of a version, not verified yet.

    Raises:
        StartError: FormatUnsupported or ModelLoadFailed.
    """
    try:
        path = version.path(FORMATS[form].file)
    except ArtifactError as error:
        raise StartError(error.reason, str(error)) from error
    return frameworks.of_format(form).open(form, path, schema, version.manifest, threads)
