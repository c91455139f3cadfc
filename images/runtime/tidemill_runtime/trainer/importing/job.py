"""One import, from its configuration to a version in the store. Nothing that the model holds is run as code."""

import logging

from tidemill_contracts import importing
from tidemill_contracts.importing import ImportConfig
from tidemill_contracts.training import TrainingResult
from tidemill_runtime.trainer.errors import RunError
from tidemill_runtime.trainer.importing import stored_version
from tidemill_runtime.trainer.report import shutdown

log = logging.getLogger(__name__)


def run(config: ImportConfig) -> TrainingResult:
    """Copy what the configuration names and return the facts of the version that it is now.

    Raises:
        RunError, StorageError, MemoryError: nothing visible is left behind.
    """
    if config.uri.endswith(importing.PICKLE_SUFFIXES):
        text = f"{config.uri} is a pickle, and loading one runs code: store the model with skops or as ONNX"
        raise RunError("UserError", "PickleRefused", text)
    form = importing.file_format(config.uri)
    with shutdown.scratch("tidemill-import-") as folder:
        if form is None:
            return stored_version.take(config, folder)
        from tidemill_runtime.trainer.importing import model_file  # the numeric libraries; a copy needs none

        return model_file.take(config, form, folder)
