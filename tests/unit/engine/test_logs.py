"""One JSON object a line, with what was given by `extra` and no credentials, and the libraries' chatter left out."""

from __future__ import annotations

import io
import json
import logging
import sys
from collections.abc import Iterator

import pytest

from tidemill.engine.logs import configure
from tidemill_contracts.logs import KEYS, JsonFormatter


def line(**fields: object) -> dict[str, object]:
    record = logging.makeLogRecord({"name": "n", "levelname": "WARNING", "msg": "größer", "created": 0.5, **fields})
    text = JsonFormatter().format(record)
    assert "größer" in text, "people read it"
    found: dict[str, object] = json.loads(text)
    return found


def test_what_is_no_scalar_is_shown_as_text() -> None:
    assert line(count=3, share=0.5, ok=True, key=("a", 1)) == {
        "time": "1970-01-01T00:00:00.500Z",
        "level": "warning",
        "logger": "n",
        "message": "größer",
        "count": 3,
        "share": 0.5,
        "ok": True,
        "key": "('a', 1)",
    }


def test_fields_of_the_framework_are_left_out() -> None:
    assert tuple(line(_own=1, k8s_ref={}, settings_x=1)) == KEYS


def test_no_field_takes_the_place_of_a_key() -> None:
    assert line(time="never", logger=7, error="none") == line()


def test_every_text_of_a_line_is_redacted() -> None:
    try:
        raise ValueError("secret")
    except ValueError:
        record = logging.makeLogRecord({"msg": "a %s", "args": ("secret",), "exc_info": sys.exc_info(), "of": "secret"})
    found = JsonFormatter(lambda text: text.replace("secret", "***")).format(record)
    assert (json.loads(found)["message"], json.loads(found)["of"]) == ("a ***", "***")
    assert "ValueError: ***" in json.loads(found)["error"]


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
    assert json.loads(written.getvalue())["message"] == "told"
    assert logging.getLogger().level == logging.getLevelName(level)
    assert [logging.getLogger(name).level for name in ("aiohttp", "asyncio")] == [noisy, noisy]
