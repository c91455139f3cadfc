"""Texts of strangers move neither a terminal nor the order in which they are read."""

from __future__ import annotations

import unicodedata

import pytest

from tidemill.core.text import clean

DIRECTIONS = [chr(c) for c in (0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A))]
CONTROLS = [
    chr(c) for c in range(0x10000) if unicodedata.category(chr(c)) in ("Cc", "Zl", "Zp") and chr(c) not in "\t\n"
]
"""Those categories are closed (Unicode's stability policy), and no plane above the first has any of them."""


@pytest.mark.parametrize("bad", [*DIRECTIONS, *CONTROLS], ids=ascii)
def test_what_moves_a_text_is_made_visible(bad: str) -> None:
    assert clean(f"a{bad}b") == "a\N{REPLACEMENT CHARACTER}b"


def test_all_else_stays() -> None:
    text = "a\tb\nc é 漢 עברית \N{GRINNING FACE} \N{ZERO WIDTH JOINER}"
    assert clean(text) == text
