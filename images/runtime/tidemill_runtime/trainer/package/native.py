"""Stored forms of a model, written and read by its family; what a family refuses is the user's error."""

from typing import Any

from tidemill_contracts.formats import FORMATS, loadable
from tidemill_runtime import frameworks
from tidemill_runtime.artifacts import Version
from tidemill_runtime.frameworks.base import Framework, StoredModel
from tidemill_runtime.trainer.errors import user_errors


def dump(estimator: Any, *, allow_pickle: bool, framework: Framework | None = None) -> StoredModel:
    """Return a model's native form, by its family or the one that recognises it.

    Raises:
        RunError: UserError, UntrustedType (names the type and the opt-in) or Unservable.
    """
    with user_errors():
        return (framework or frameworks.recognised(estimator)).store(estimator, allow_pickle=allow_pickle)


def load(stored: StoredModel) -> Any:
    """Return the model in a stored form; whoever loads a pickle has seen that spec allows it.

    Raises:
        RunError: UserError, UntrustedType.
    """
    with user_errors():
        return frameworks.of_format(stored.form).load(stored.form, stored.content)


def of_version(version: Version, *, allow_pickle: bool) -> StoredModel | None:
    """Return the native form of a verified version, None when it has none that may be loaded here."""
    for form in loadable("Native", version.manifest.formats, allow_pickle=allow_pickle):
        file = FORMATS[form].file
        return StoredModel(form, file, version.path(file).read_bytes())
    return None
