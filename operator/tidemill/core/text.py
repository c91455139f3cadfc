"""Texts that pods and other strangers wrote, as they may stand in a status, an event or a log line."""

from __future__ import annotations

import re

_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def clean(text: str) -> str:
    """The text with control characters made visible, but line ends and tabs.

    None of them may move a terminal, nor may those of directions show a text in another order than it is read.
    """
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)
