"""One JSON object a line, with what was given by `extra`, and the libraries' chatter left out."""

from __future__ import annotations

import io
import json
import logging
import sys
from collections.abc import Iterator

import pytest

from tidemill.engine.logs import JsonFormatter, configure


def line(**fields: object) -> dict[str, object]:
    record = logging.makeLogRecord({"name": "n", "levelname": "WARNING", "msg": "größer", "created": 0.5, **fields})
    text = JsonFormatter().format(record)
    assert "größer" in text, "people read it"
    found: dict[str, object] = json.loads(text)
    return found


def test_what_is_no_scalar_is_shown_as_text() -> None:
    assert line(count=3, share=0.5, ok=True, key=("a", 1)) == {
        "ts": "1970-01-01T00:00:00.500+00:00",
        "level": "warning",
        "logger": "n",
        "msg": "größer",
        "count": 3,
        "share": 0.5,
        "ok": True,
        "key": "('a', 1)",
    }


def test_fields_of_the_framework_are_left_out() -> None:
    assert line(_own=1, k8s_ref={}, settings_x=1).keys() == {"ts", "level", "logger", "msg"}


@pytest.fixture
def handlers() -> Iterator[None]:
    root, noisy = logging.getLogger(), [logging.getLogger(name) for name in ("aiohttp", "asyncio")]
    before = root.handlers[:], root.level, [one.level for one in noisy]
    yield
    root.handlers[:] = before[0]
    root.setLevel(before[1])
    for one, level in zip(noisy, before[2], strict=True):
        one.setLevel(level)


@pytest.mark.parametrize(("level", "noisy"), [("DEBUG", logging.WARNING), ("ERROR", logging.ERROR)])
def test_everything_goes_to_standard_error_as_json(
    handlers: None, monkeypatch: pytest.MonkeyPatch, level: str, noisy: int
) -> None:
    written = io.StringIO()
    monkeypatch.setattr(sys, "stderr", written)
    logging.getLogger().addHandler(logging.NullHandler())
    configure(level)
    assert len(logging.getLogger().handlers) == 1
    logging.getLogger("tidemill.x").error("told")
    assert json.loads(written.getvalue())["msg"] == "told"
    assert logging.getLogger().level == logging.getLevelName(level)
    assert [logging.getLogger(name).level for name in ("aiohttp", "asyncio")] == [noisy, noisy]
