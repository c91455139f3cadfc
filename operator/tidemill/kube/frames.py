"""Cuts what the API server sends into single objects, so that never more than one of them is held in memory.

Why own code: a list is one JSON text of any size, and an object of 1.5 MB in small pieces takes twenty times that as
Python values. Here a list is cut at its items and a watch at its lines; each piece is parsed, reduced and forgotten
before the next one. The cutting only follows strings and braces; whether a piece is JSON is the parser's business.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

Obj = dict[str, Any]

MAX_FRAME_BYTES = 32 << 20
"""An object that is larger cannot come from etcd, which takes 1.5 MiB: written out as JSON that is 10 MB at most."""

# Possessive throughout: no byte is looked at more than twice, whatever the text is. Objects without objects inside are
# passed over as a whole, since a loop of Python over each brace would be ten times slower.
_FLAT = rb'[^{}"]++|"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_PLAIN = re.compile(rb"(?:" + _FLAT + rb"|\{(?:" + _FLAT + rb")*+\})*+", re.DOTALL)
_IN_STRING = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+', re.DOTALL)
_ITEMS = re.compile(rb'"items"\s*:\s*\[')


class FrameError(ValueError):
    """More bytes without an end than any stored object can have."""


class LineSplitter:
    """A watch's body, cut into lines."""

    def __init__(self) -> None:
        """Holds nothing yet."""
        self._rest = bytearray()

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """The lines that `chunk` completes, without their ends; empty ones are left out."""
        searched = len(self._rest)
        self._rest += chunk
        while (end := self._rest.find(b"\n", searched)) >= 0:
            line = bytes(memoryview(self._rest)[:end])
            del self._rest[: end + 1]
            searched = 0
            if line.strip():
                yield line
        if len(self._rest) > MAX_FRAME_BYTES:
            raise FrameError(f"a line of more than {MAX_FRAME_BYTES} bytes")


class ItemSplitter:
    """A list's body, cut into its items; what is around them is small and kept until the end."""

    def __init__(self) -> None:
        """Holds nothing yet."""
        self._rest = bytearray()
        self._around = bytearray()
        self._at = 0  # how far the rest was looked at
        self._depth = 0
        self._in_items = self._after_items = self._in_string = False

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """The items that `chunk` completes, as JSON texts."""
        self._rest += chunk
        if not self._in_items and not self._after_items:
            found = _ITEMS.search(self._rest)
            if found is not None:
                self._around += memoryview(self._rest)[: found.end()]
                del self._rest[: found.end()]
                self._in_items = True
        while self._in_items and (item := self._next()) is not None:
            yield item
        if len(self._rest) + len(self._around) > MAX_FRAME_BYTES:
            raise FrameError(f"an item of more than {MAX_FRAME_BYTES} bytes")

    def envelope(self) -> Obj:
        """The list without its items, once all of it was fed; ValueError when it is not a whole list."""
        if self._in_items:
            raise ValueError("the list ended within its items")
        found = json.loads(bytes(self._around + self._rest))
        if not isinstance(found, dict) or not isinstance(found.get("metadata"), dict):
            raise ValueError("the answer is no list of Kubernetes")
        return found

    def _next(self) -> bytes | None:
        """The next whole item; None when it has not all arrived, or the items have ended."""
        rest = self._rest
        if self._depth == 0 and not self._begin():
            return None
        while self._at < len(rest):
            if self._in_string:
                if not self._skip_string():
                    return None
                continue
            match = _PLAIN.match(rest, self._at)
            self._at = match.end() if match else self._at
            if self._at >= len(rest):
                return None
            byte = rest[self._at]
            self._at += 1
            if byte == 0x22:  # a string whose end has not arrived
                self._in_string = True
            else:
                self._depth += 1 if byte == 0x7B else -1
                if self._depth == 0:
                    return self._cut()
        return None

    def _begin(self) -> bool:
        """Goes to the next item's brace; False when there is none (yet)."""
        rest = self._rest
        while rest and rest[0] in b", \t\r\n":
            del rest[0]
        if not rest:
            return False
        if rest[0] == 0x7B:
            self._at, self._depth = 1, 1
            return True
        self._in_items, self._after_items = False, True
        return False

    def _skip_string(self) -> bool:
        """Goes behind the string's end; False when that has not arrived."""
        match = _IN_STRING.match(self._rest, self._at)
        self._at = match.end() if match else self._at
        if self._at >= len(self._rest) or self._rest[self._at] != 0x22:
            return False  # also before a lone backslash: what it escapes comes with the next chunk
        self._at += 1
        self._in_string = False
        return True

    def _cut(self) -> bytes:
        item = bytes(memoryview(self._rest)[: self._at])
        del self._rest[: self._at]
        self._at = 0
        return item
