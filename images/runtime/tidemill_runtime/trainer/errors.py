"""Classifies errors of a run: reason, category, and whether a retry can help.

Exit 42 ends the Job at once (the same code on the same data fails again); any other code is retried.
"""

import contextlib
from collections.abc import Iterator

from tidemill_contracts.failures import RETRIED, FailureCategory
from tidemill_contracts.training import EXIT_NOT_RETRIABLE, Failure
from tidemill_runtime.artifacts import ArtifactError
from tidemill_runtime.datasets.errors import DataError
from tidemill_runtime.frameworks.base import FrameworkError
from tidemill_runtime.storage.base import StorageError

EXIT_RETRIABLE = 1


class RunError(Exception):
    """A run cannot go on; `category` and `reason` are what status shows."""

    def __init__(self, category: FailureCategory, reason: str, message: str) -> None:
        super().__init__(message)
        self.category = category
        self.reason = reason


@contextlib.contextmanager
def user_errors() -> Iterator[None]:
    """Raise what a family of models refuses as the user's error."""
    try:
        yield
    except FrameworkError as error:
        raise RunError("UserError", error.reason, str(error)) from error


def classify(error: BaseException) -> tuple[Failure, int]:
    """Return the failure that status shows, and the exit code of the process."""
    if isinstance(error, RunError):
        code = EXIT_RETRIABLE if error.category in RETRIED else EXIT_NOT_RETRIABLE
        return Failure(category=error.category, reason=error.reason, message=str(error)), code
    if isinstance(error, DataError):
        return Failure(category="DataInvalid", reason=error.reason, message=str(error)), EXIT_NOT_RETRIABLE
    if isinstance(error, StorageError):
        return _storage(error)
    if isinstance(error, ArtifactError):
        return Failure(category="UserError", reason=error.reason, message=str(error)), EXIT_NOT_RETRIABLE
    if isinstance(error, MemoryError):
        text = f"the run asked for more memory than the container may have: {error}".rstrip(": ")
        return Failure(category="OutOfMemory", reason="MemoryError", message=text), EXIT_NOT_RETRIABLE
    text = f"{type(error).__name__}: {error}"
    return Failure(category="Infrastructure", reason="InternalError", message=text), EXIT_RETRIABLE


def _storage(error: StorageError) -> tuple[Failure, int]:
    if error.retriable:
        return Failure(category="Infrastructure", reason=error.reason, message=str(error)), EXIT_RETRIABLE
    category: FailureCategory = "DataInvalid" if error.reason == "NotFound" else "UserError"
    return Failure(category=category, reason=error.reason, message=str(error)), EXIT_NOT_RETRIABLE
