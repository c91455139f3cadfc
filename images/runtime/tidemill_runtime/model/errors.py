"""What a request, and what a start, may fail with.

Every refusal of a request is a `ServingError` with the HTTP status that adapters send; `message` is
written for the client and never holds internals. A start fails with `StartError`, whose reason ends
in the termination message of the container.
"""

from collections.abc import Sequence

from tidemill_runtime.redaction import redact

EXIT_NOT_RETRYABLE = 42  # another start cannot help: a person or the operator must act
EXIT_RETRYABLE = 1


class ServingError(Exception):
    """A request is answered with an error. `retry_after` (seconds) becomes the header of that name."""

    status = 500

    def __init__(self, message: str, *, retry_after: int | None = None) -> None:
        message = redact(message)  # here, because every way of answering ends in `message`
        super().__init__(message)
        self.message = message
        self.retry_after = retry_after

    def fields(self) -> list[tuple[str, str]]:
        """Return the headers that tell a client what to do, names in lower case."""
        return [] if self.retry_after is None else [("retry-after", str(self.retry_after))]


class BadRequestError(ServingError):
    """The client sent what cannot be predicted; the message names the field."""

    status = 400


class UnauthenticatedError(ServingError):
    """The client does not show who it is."""

    status = 401

    def fields(self) -> list[tuple[str, str]]:
        """Return how a client shows it."""
        return [*super().fields(), ("www-authenticate", "Bearer")]


class ForbiddenError(ServingError):
    """The client is known, and may not do this."""

    status = 403


class NotFoundError(ServingError):
    """Unknown path, model, version or prediction."""

    status = 404


class SlowClientError(ServingError):
    """The body did not arrive in time."""

    status = 408


class TooLargeError(ServingError):
    """The body is larger than the server takes."""

    status = 413


class UnsupportedEncodingError(ServingError):
    """The body is encoded in a way that is not read; `accepted` are those that are (RFC 9110, 15.5.16)."""

    status = 415

    def __init__(self, message: str, accepted: Sequence[str]) -> None:
        super().__init__(message)
        self.accepted = ", ".join(accepted)

    def fields(self) -> list[tuple[str, str]]:
        """Return what is accepted."""
        return [*super().fields(), ("accept-encoding", self.accepted)]


class UnavailableError(ServingError):
    """Loading, draining, overloaded or out of time: the same request may work soon."""

    status = 503

    def __init__(self, message: str, *, retry_after: int = 1) -> None:
        super().__init__(message, retry_after=retry_after)


class OutOfTimeError(UnavailableError):
    """Admitted, but not answered within the time that a request has."""


class StartError(Exception):
    """The server cannot become ready. `reason` is one PascalCase word, see docs/serving-protocol.md."""

    def __init__(self, reason: str, message: str, *, retryable: bool = False) -> None:
        super().__init__(redact(message))
        self.reason = reason
        self.retryable = retryable

    @property
    def exit_code(self) -> int:
        """42 when another start of the same container cannot help, else 1."""
        return EXIT_RETRYABLE if self.retryable else EXIT_NOT_RETRYABLE

    def __str__(self) -> str:
        return f"{self.reason}: {super().__str__()}"


class PredictError(StartError):
    """A data set cannot be scored; reasons and exit codes as those of a start, see docs/batch-prediction.md."""
