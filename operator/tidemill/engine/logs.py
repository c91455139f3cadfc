"""The operator's log: one JSON object per line, with the key of the object that it is about."""

from __future__ import annotations

import logging
import sys

from tidemill_contracts.logs import JsonFormatter


def configure(level: str) -> None:
    """Sends everything to standard error as JSON; the libraries' own chatter only from WARNING on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for noisy in ("aiohttp", "asyncio"):
        logging.getLogger(noisy).setLevel(max(logging.WARNING, logging.getLevelName(level)))
