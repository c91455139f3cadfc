"""The picture of a recorded comparison: plain SVG, readable on a light and on a dark page."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

from hack.bench.serving.results import Results

WIDTH, COLUMN, GAP = 960, 468, 24
LABEL, VALUE = 186, 62  # widths, in a column
ROW, HEAD, FOOT = 20, 46, 18
TOP, BOTTOM = 58, 34
USERS = 16
SHORT = {"iris": "Logistic regression", "mixed": "Scaler, one-hot, mixed columns", "forest": "Random forest of 100"}
LEFT_OUT = ("echo",)  # so far above the rest that their bars would be of one length; the table has it
STYLE = """
text { font: 12px system-ui, -apple-system, "Segoe UI", sans-serif; fill: #24292f }
.title { font-size: 16px; font-weight: 600 } .head { font-weight: 600 } .quiet { fill: #57606a }
.own { fill: #0969da } .peer { fill: #8c959f } .floor { fill: #d0d7de } .page { fill: #ffffff }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 } .quiet { fill: #9198a1 }
  .own { fill: #4493f8 } .peer { fill: #6e7681 } .floor { fill: #3d444d } .page { fill: #0d1117 }
}"""


@dataclass(frozen=True)
class Bar:
    """One server in a panel."""

    label: str
    kind: str
    value: float


@dataclass(frozen=True)
class Panel:
    """Bars on one scale, from zero."""

    title: str
    bars: Sequence[Bar]
    shown: Callable[[float], str]

    @property
    def height(self) -> int:
        """Pixels."""
        return HEAD + ROW * len(self.bars) + FOOT


def draw(results: Results) -> str:
    """Return the SVG document."""
    panels = [panel for panel in _panels(results) if panel.bars]
    columns: list[list[Panel]] = [[], []]
    for panel in panels:
        min(columns, key=lambda column: sum(one.height for one in column)).append(panel)
    height = TOP + max(sum(one.height for one in column) for column in columns) + BOTTOM
    box, settings = results.document["machine"], results.document["settings"]
    below = (
        f"{box['processor']}, {box['cores']} cores shared by generator and server; medians of {settings['rounds']} "
        f"interleaved rounds; every answer checked. {results.document['began'][:10]}"
    )
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        'role="img" aria-labelledby="title">',
        '<title id="title">Tidemill beside MLServer, KServe and BentoML</title>',
        f"<style>{STYLE}\n</style>",
        f'<rect class="page" width="{WIDTH}" height="{height}" rx="6"/>',
        _text(GAP / 2, 26, "The same models on the same cores: Tidemill, peers, floors", "title"),
        *_legend(GAP / 2, 44),
    ]
    for number, column in enumerate(columns):
        y = TOP
        for panel in column:
            parts += _panel(panel, GAP / 2 + number * COLUMN, y)
            y += panel.height
    parts += [_text(GAP / 2, height - 14, below, "quiet"), "</svg>", ""]
    return "\n".join(parts)


def _panels(results: Results) -> list[Panel]:
    throughput = []
    for model in results.models:
        figures = {key: results.closed(model, key, USERS, 1) for key in _drawn(results, model)}
        bars = [_bar(results, key, one.median) for key, one in figures.items() if one is not None]
        bars.sort(key=lambda bar: -bar.value)
        title = f"{SHORT[model]}: requests/s, one row, {USERS} users"
        throughput.append(Panel(title, bars, lambda value: f"{value:,.0f}"))
    return [*throughput, _latencies(results), _cold(results)]


def _latencies(results: Results) -> Panel:
    model = results.models[0]
    figures = {key: results.open(model, key, 1, "p99") for key in _drawn(results, model)}
    bars = [_bar(results, key, one.median / 1000) for key, one in figures.items() if one is not None]
    bars.sort(key=lambda bar: bar.value)
    return Panel(f"{SHORT[model]}: p99 of one row at half load, ms", bars, lambda value: f"{value:.2f}")


def _cold(results: Results) -> Panel:
    measured = {one["server"] for one in results.document["cold"]} - set(LEFT_OUT)
    figures = {key: results.cold(key) for key in results.servers if key in measured}
    bars = [_bar(results, key, one.median) for key, one in figures.items() if one is not None]
    bars.sort(key=lambda bar: bar.value)
    return Panel("Cold start to the first right answer, s", bars, lambda value: f"{value:.2f}")


def _drawn(results: Results, model: str) -> list[str]:
    return [key for key in results.of(model) if key not in LEFT_OUT]


def _bar(results: Results, key: str, value: float) -> Bar:
    one = results.servers[key]
    return Bar(one["label"], one["kind"], value)


def _panel(panel: Panel, x: float, y: float) -> list[str]:
    parts = [_text(x, y + 30, panel.title, "head")]
    room, most = COLUMN - GAP - LABEL - VALUE, max(bar.value for bar in panel.bars)
    for number, bar in enumerate(panel.bars):
        top = y + HEAD + number * ROW
        width = max(room * bar.value / most, 1) if most else 1
        parts += [
            _text(x, top + 11, bar.label, "" if bar.kind == "own" else "quiet"),
            f'<rect class="{bar.kind}" x="{x + LABEL:g}" y="{top}" width="{width:.1f}" height="{ROW - 6}" rx="2"/>',
            _text(x + LABEL + width + 6, top + 11, panel.shown(bar.value), "" if bar.kind == "own" else "quiet"),
        ]
    return parts


def _legend(x: float, y: float) -> list[str]:
    parts = []
    for kind, text, width in (("own", "Tidemill, everything on", 168), ("peer", "peers", 66), ("floor", "floors", 60)):
        parts += [
            f'<rect class="{kind}" x="{x:g}" y="{y}" width="10" height="10" rx="2"/>',
            _text(x + 15, y + 9, text, "quiet"),
        ]
        x += width
    return parts


def _text(x: float, y: float, text: str, kind: str = "") -> str:
    css = f' class="{kind}"' if kind else ""
    return f'<text{css} x="{x:g}" y="{y:g}">{escape(text)}</text>'
