"""JSON lines of the data plane's processes, without credentials; requests are not logged here (metrics count them)."""

import contextlib
import logging
import sys
from collections.abc import Iterator
from typing import TextIO

from tidemill_contracts.logs import JsonFormatter
from tidemill_runtime.redaction import redact


def configure() -> None:
    """Send records of level INFO and above to standard error, uvicorn's from WARNING."""
    logging.basicConfig(level=logging.INFO, handlers=[_handler(sys.stderr)], force=True)
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    access = logging.getLogger("uvicorn.access")
    access.handlers, access.propagate = [], False


@contextlib.contextmanager
def beside_other_code() -> Iterator[None]:
    """Send our own records of level INFO and above to standard output meanwhile, and leave those of other code alone.

    In a training pod the root logger belongs to the training code.
    """
    ours = logging.getLogger("tidemill_runtime")
    before = ours.handlers, ours.level, ours.propagate
    ours.handlers, ours.propagate = [_handler(sys.stdout)], False
    ours.setLevel(logging.INFO)
    try:
        yield
    finally:
        ours.handlers, ours.propagate = before[0], before[2]
        ours.setLevel(before[1])


def _handler(stream: TextIO) -> logging.Handler:
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter(redact))
    return handler
