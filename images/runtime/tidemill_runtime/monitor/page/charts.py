"""Pictures of the page as SVG. Each has a title, a description in words, and a table with its numbers beside it.

Series differ by shape as well as by colour: filled or outlined bars, full or dashed lines, dots or rings.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from tidemill_runtime.monitor.page.content import Bin
from tidemill_runtime.monitor.page.markup import Markup, element, joined

WIDTH: Final = 640
HEIGHT: Final = 200
_LEFT, _RIGHT, _TOP, _BOTTOM = 60, 10, 14, 24
Values = Sequence[float | None]


@dataclass(frozen=True)
class Line:
    """One series over time. `low` and `high`: ends of intervals, as many as values, or none."""

    name: str
    values: Values
    low: Values = ()
    high: Values = ()
    dashed: bool = False


def figure(number: int, title: str, description: str, drawing: Markup, caption: str, numbers: Markup) -> Markup:
    """Return a picture with its texts and its table. `number`: of the picture on the page, for ids."""
    heads = joined(element("title", title, id=f"t{number}"), element("desc", description, id=f"d{number}"))
    svg = element(
        "svg",
        heads,
        drawing,
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        role="img",
        aria_labelledby=f"t{number} d{number}",
    )
    shown = element("details", element("summary", f"Numbers: {title}"), numbers)
    return element("figure", svg, element("figcaption", caption), shown)


def bars(bins: Sequence[Bin]) -> Markup:
    """Return bars of the present (filled) beside those of the reference (outlined), one pair a bin."""
    largest = max((max(one.reference, one.current) for one in bins), default=0.0) or 1.0
    step = (WIDTH - _LEFT - _RIGHT) / max(len(bins), 1)
    parts = [_axes(0.0, largest, as_percent=True)]
    for place, one in enumerate(bins):
        x = _LEFT + place * step
        parts.append(_bar(x + 0.1 * step, 0.38 * step, one.reference / largest, "before"))
        parts.append(_bar(x + 0.52 * step, 0.38 * step, one.current / largest, "now"))
    if bins:
        parts.append(_text(_LEFT, HEIGHT - 6, _short(bins[0].label), "start"))
    if len(bins) > 1:
        parts.append(_text(WIDTH - _RIGHT, HEIGHT - 6, _short(bins[-1].label), "end"))
    return joined(*parts)


def lines(series: Sequence[Line], limits: Sequence[tuple[str, float]], ends: tuple[str, str]) -> Markup:
    """Return lines over windows; a window without a value is a gap. `ends`: words for the first and last window."""
    known = [v for line in series for part in (line.values, line.low, line.high) for v in part if _is_known(v)]
    known += [value for _, value in limits]
    bottom, top = _span([value for value in known if value is not None])
    parts = [
        _axes(bottom, top),
        _text(_LEFT, HEIGHT - 6, ends[0], "start"),
        _text(WIDTH - 10, HEIGHT - 6, ends[1], "end"),
    ]
    for name, value in limits:
        y = _y((value - bottom) / (top - bottom))
        parts.append(element("line", x1=_LEFT, y1=y, x2=WIDTH - _RIGHT, y2=y, class_="limit"))
        parts.append(_text(WIDTH - _RIGHT, max(y - 3, 10.0), f"{name} {value:.4g}", "end"))
    return joined(*parts, *(_line(line, bottom, top) for line in series))


def _line(line: Line, bottom: float, top: float) -> Markup:
    count = max(len(line.values) - 1, 1)
    parts: list[Markup] = []
    path, is_open = [], False
    for place, value in enumerate(line.values):
        if value is None or not math.isfinite(value):
            is_open = False
            continue
        x = round(_LEFT + (WIDTH - _LEFT - _RIGHT) * place / count, 1)
        y = _y((value - bottom) / (top - bottom))
        path.append(f"{'L' if is_open else 'M'}{x} {y}")
        is_open = True
        low = line.low[place] if line.low else None
        high = line.high[place] if line.high else None
        if low is not None and high is not None and not line.dashed:
            ends = [_y((bound - bottom) / (top - bottom)) for bound in (low, high)]
            parts.append(element("line", x1=x, y1=ends[0], x2=x, y2=ends[1], class_="range"))
        parts.append(element("circle", cx=x, cy=y, r=4 if line.dashed else 3, class_="ring" if line.dashed else "dot"))
    drawn = element("path", d=" ".join(path), class_="guess" if line.dashed else "path") if path else Markup()
    return joined(drawn, *parts)


def _is_known(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _span(values: Sequence[float]) -> tuple[float, float]:
    """Return the ends of an axis that has room for these values, never equal."""
    low, high = min(values, default=0.0), max(values, default=1.0)
    room = 0.05 * (high - low) or max(abs(low) * 0.05, 1e-9)
    return low - room, high + room


def _axes(bottom: float, top: float, *, as_percent: bool = False) -> Markup:
    low, high = (f"{100 * v:.3g} %" if as_percent else f"{v:.4g}" for v in (bottom, top))
    return joined(
        element("line", x1=_LEFT, y1=_TOP, x2=_LEFT, y2=HEIGHT - _BOTTOM, class_="axis"),
        element("line", x1=_LEFT, y1=HEIGHT - _BOTTOM, x2=WIDTH - _RIGHT, y2=HEIGHT - _BOTTOM, class_="axis"),
        _text(_LEFT - 6, _TOP + 8, high, "end"),
        _text(_LEFT - 6, HEIGHT - _BOTTOM, low, "end"),
    )


def _bar(x: float, width: float, share: float, name: str) -> Markup:
    y = _y(share)
    height = round(HEIGHT - _BOTTOM - y, 1)
    return element("rect", x=round(x, 1), y=y, width=round(width, 1), height=height, class_=name)


def _y(share: float) -> float:
    return round(HEIGHT - _BOTTOM - (HEIGHT - _TOP - _BOTTOM) * min(max(share, 0.0), 1.0), 1)


def _text(x: float, y: float, text: str, anchor: str) -> Markup:
    return element("text", text, x=x, y=y, text_anchor=anchor)


def _short(text: str) -> str:
    return text if len(text) <= 36 else f"{text[:35]}…"
