"""The exceptions that decide how a failed reconcile is handled.

Why: the engine sorts failures into three kinds and must be able to tell them apart without knowing any slice.
Raise `Stalled` when a human must act, `Waiting` when time or another object will help; every other exception is
retried with exponential backoff. This module must not import anything of the project.

    TidemillError
    ├── Stalled     status gets Stalled=True and Ready=False; nothing happens until the object changes, or
    │               `retry_after_seconds` have passed where nobody would say that the cause is gone
    ├── Waiting     status gets Reconciling=True and Ready=False; looked at again after `retry_after_seconds`
    └── ApiError    an answer of the API server other than 2xx; `status` is the HTTP code
"""

from __future__ import annotations


class TidemillError(Exception):
    """Base of every exception that this project raises on purpose."""


class Stalled(TidemillError):  # noqa: N818 - reads as the condition that it becomes
    """A human must act: the object is not looked at again until it, or something that it refers to, changes."""

    def __init__(self, reason: str, message: str, retry_after_seconds: float | None = None) -> None:
        """`reason`: a documented PascalCase word; `message`: a sentence that names field and allowed values.

        `retry_after_seconds`: when to look again although nothing was reported; None: not at all.
        """
        super().__init__(f"{reason}: {message}")
        self.reason = reason
        self.message = message
        self.retry_after_seconds = retry_after_seconds


class Waiting(TidemillError):  # noqa: N818 - reads as the state that it describes
    """Something expected has not happened yet: the object is looked at again after `retry_after_seconds`."""

    def __init__(self, reason: str, message: str, retry_after_seconds: float = 10.0) -> None:
        """`reason` and `message` as for `Stalled`; `retry_after_seconds` is in seconds and positive."""
        super().__init__(f"{reason}: {message}")
        self.reason = reason
        self.message = message
        self.retry_after_seconds = retry_after_seconds


class ApiError(TidemillError):
    """The API server answered something other than 2xx, or did not answer at all (`status` 0)."""

    def __init__(
        self,
        status: int,
        reason: str,
        message: str,
        retry_after_seconds: float | None = None,
        causes: frozenset[str] = frozenset(),
    ) -> None:
        """`reason` is metav1.Status.reason ("Conflict", "Invalid"); `retry_after_seconds` is the Retry-After header.

        `causes`: the reasons in metav1.Status.details.causes ("NamespaceTerminating").
        """
        super().__init__(f"{status} {reason}: {message}")
        self.status = status
        self.reason = reason
        self.message = message
        self.retry_after_seconds = retry_after_seconds
        self.causes = causes

    @property
    def is_not_found(self) -> bool:
        """The object (or its kind) does not exist."""
        return self.status == 404

    @property
    def is_conflict(self) -> bool:
        """The object changed or exists already, or a precondition (uid, resourceVersion) does not hold."""
        return self.status == 409

    @property
    def is_transient(self) -> bool:
        """Asking again later may help: no answer, time-out, too many requests, or a failing server."""
        return self.status in (0, 408, 409, 429) or self.status >= 500
