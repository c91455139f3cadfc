"""Log lines: one JSON object a line, with the same keys in every process; docs/logs.md has them."""

import json
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

KEYS = ("time", "level", "logger", "message")
"""What every line has, in this order."""
ERROR = "error"
"""The key of a traceback, on lines that have one."""
_OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", *KEYS, ERROR}
_FOREIGN = ("_", "k8s_", "settings")  # what kopf hangs on records for handlers of its own


class JsonFormatter(logging.Formatter):
    """Formats a record: `KEYS`, then each field given by `extra=` (object, action, …), then `ERROR`.

    `redact` is asked for every text that a line holds. Fields are shown as they are when they are numbers or
    booleans, else as text; a field with the name of a key is left out.
    """

    def __init__(self, redact: Callable[[str], str] = str) -> None:
        super().__init__()
        self._redact = redact

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, without a newline at its end."""
        line = common(record.created, record.levelname.lower(), record.name, self._redact(record.getMessage()))
        for name, value in vars(record).items():
            if name not in _OWN and not name.startswith(_FOREIGN):
                line[name] = value if isinstance(value, int | float) else self._redact(str(value))
        if record.exc_info:
            line[ERROR] = self._redact(self.formatException(record.exc_info))
        return json.dumps(line, ensure_ascii=False)


def common(seconds: float, level: str, logger: str, message: str) -> dict[str, Any]:
    """Return what every line starts with: `KEYS`. `seconds` are since the epoch, `level` is debug, info, warning, …"""
    when = datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return dict(zip(KEYS, (when, level, logger, message), strict=True))
