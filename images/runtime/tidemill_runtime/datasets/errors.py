"""The one error of bad data, apart so that modules need not import one another for it."""


class DataError(Exception):
    """Data that no second try makes good. `reason` is a PascalCase word for status; the message names the place."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
