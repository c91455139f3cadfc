"""Stored forms of a model, written and read by its family; what a family refuses is the user's error."""

from collections.abc import Mapping
from typing import Any

from tidemill_contracts.artifact import CODE_FILE, ModelCode
from tidemill_contracts.formats import FORMATS, loadable
from tidemill_runtime import frameworks
from tidemill_runtime.artifacts import Version
from tidemill_runtime.frameworks.base import NO_CODE, Framework, StoredModel
from tidemill_runtime.trainer.errors import user_errors


def dump(
    estimator: Any, *, allow_pickle: bool, framework: Framework | None = None, code: Mapping[str, str] = NO_CODE
) -> StoredModel:
    """Return a model's native form, by its family or the one that recognises it.

    `code`: sources of the training code's modules by name.

    Raises:
        RunError: UserError, UntrustedType (names the type and what would help) or Unservable.
    """
    with user_errors():
        return (framework or frameworks.recognised(estimator)).store(estimator, allow_pickle=allow_pickle, code=code)


def load(stored: StoredModel) -> Any:
    """Return the model in a stored form; whoever loads a pickle has seen that spec allows it.

    The code that a model needs is this run's own: see `trainer.run.champion`.

    Raises:
        RunError: UserError, UntrustedType.
    """
    with user_errors():
        return frameworks.of_format(stored.form).load(stored.form, stored.content, modules(stored))


def modules(stored: StoredModel) -> dict[str, str]:
    """Return the sources of the modules that a model needs, by name."""
    return {} if stored.code is None else ModelCode.from_json(stored.code).modules


def of_version(version: Version, *, allow_pickle: bool) -> StoredModel | None:
    """Return the native form of a verified version, None when it has none that may be loaded here."""
    for form in loadable("Native", version.manifest.formats, allow_pickle=allow_pickle, allow_code=True):
        file = FORMATS[form].file
        code = version.path(CODE_FILE).read_bytes() if FORMATS[form].has_code else None
        return StoredModel(form, file, version.path(file).read_bytes(), code)
    return None
