"""HTML from parts: what is not Markup is text and is escaped, so no name or value of the data becomes an element.

Names of elements and of attributes come from this package only.
"""

import html
from typing import Final

MAX_TEXT: Final = 200
"""Characters of one text of the data; the JSON has the whole."""


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def cleaned(value: object) -> str:
    """Return a value as one line: what is invisible, or turns the direction of writing, as U+FFFD; cut to MAX_TEXT."""
    text = str(value)
    shown = "".join(c if c.isprintable() else "\ufffd" for c in text[:MAX_TEXT])
    return shown if len(text) <= MAX_TEXT else f"{shown}…"


def escaped(value: object) -> Markup:
    """Return a value as HTML text, which may also stand in a quoted attribute."""
    return value if isinstance(value, Markup) else Markup(html.escape(cleaned(value), quote=True))


def joined(*parts: object) -> Markup:
    """Return parts one after the other."""
    return Markup("".join(escaped(part) for part in parts))


def element(name: str, *children: object, **attributes: object) -> Markup:
    """Return an element. A trailing underscore of an attribute's name goes, others are hyphens; None: left out."""
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escaped(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    return Markup(f"<{name}{written}>{joined(*children)}</{name}>")


def table(caption: str, head: list[str], rows: list[list[object]], **attributes: object) -> Markup:
    """Return a table whose columns and rows have headers; the first cell of a row is the row's."""
    heads = joined(*(element("th", text, scope="col") for text in head))
    body = joined(
        *(element("tr", element("th", row[0], scope="row"), *(element("td", cell) for cell in row[1:])) for row in rows)
    )
    inner = element(
        "table",
        element("caption", caption),
        element("thead", element("tr", heads)),
        element("tbody", body),
        **attributes,
    )
    # A table that is wider than the screen scrolls by itself, and by keyboard.
    return element("div", inner, class_="wide", tabindex=0, role="region", aria_label=caption)
