"""The picture of how the code is laid out: both planes, drawn from the layers that `.importlinter` holds them to."""

from __future__ import annotations

import ast
import configparser
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

PICTURE = Path("docs") / "architecture.svg"
CONTRACT = "tidemill_contracts"
SOURCES = {"tidemill": "operator", CONTRACT: "operator", "tidemill_runtime": "images/runtime"}
WIDTH, GAP, MARGIN, ROW, HEAD = 980, 10, 16, 52, 34
WIDE = 140  # pixels from which a box has room for a sentence
CHARACTER = 6.0  # pixels of a character of the small text
STYLE = """
text { font: 13px system-ui, -apple-system, "Segoe UI", sans-serif; fill: #24292f }
.title { font-size: 15px; font-weight: 600 } .name { font-weight: 600 }
.small { font-size: 10px } .what { font-size: 11px; fill: #57606a }
.page { fill: #ffffff } .room { fill: #ddf4ff; stroke: #54aeff }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 } .what { fill: #9198a1 } .page { fill: #0d1117 } .room { fill: #121d2f; stroke: #1f6feb }
}"""


@dataclass(frozen=True)
class Layers:
    """A package and its rooms from top to bottom; those of one layer do not import each other."""

    package: str
    rows: tuple[tuple[str, ...], ...]


def contracts(root: Path) -> list[Layers]:
    """Return the contracts of type `layers` that hold a whole package of a plane, in the order of the file."""
    parser = configparser.ConfigParser()
    parser.read(root / ".importlinter")
    found = []
    for name in parser.sections():
        section = parser[name]
        if section.get("type") != "layers" or not section.getboolean("exhaustive", fallback=False):
            continue
        rows = tuple(tuple(room.strip() for room in line.split("|")) for line in section["layers"].split("\n") if line)
        found += [Layers(package, rows) for package in section["containers"].split()]
    return [one for one in found if one.package.split(".")[0] in SOURCES]


def purpose(root: Path, module: str) -> str:
    """Return the first sentence of a module's docstring."""
    path = root / SOURCES[module.split(".")[0]] / module.replace(".", "/")
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    text = ast.get_docstring(ast.parse(file.read_text())) or ""
    return " ".join(text.partition("\n\n")[0].split()).partition(". ")[0].rstrip(".")


def picture(root: Path) -> dict[Path, str]:
    """Return the picture by its path; nothing where a tree has no contracts."""
    return {root / PICTURE: draw(root)} if (root / ".importlinter").exists() else {}


def draw(root: Path) -> str:
    """Return the SVG document: the planes above their contract, then packages that have rooms of their own."""
    planes, inner = contracts(root)[:2], contracts(root)[2:]
    parts, top = _side_by_side(root, planes, 0)
    parts += _room(CONTRACT, purpose(root, CONTRACT), MARGIN, top, WIDTH - 2 * MARGIN)
    top += ROW + 2 * MARGIN
    for number in range(0, len(inner), 2):
        drawn, top = _side_by_side(root, inner[number : number + 2], top)
        parts += drawn
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{top}" viewBox="0 0 {WIDTH} {top}">'
    page = f'<rect class="page" width="{WIDTH}" height="{top}"/>'
    return "\n".join([head, f"<style>{STYLE}\n</style>", page, *parts, "</svg>"]) + "\n"


def _side_by_side(root: Path, both: Sequence[Layers], top: int) -> tuple[list[str], int]:
    """Return one or two panels and where the next may begin."""
    half = (WIDTH - 3 * MARGIN) // 2
    drawn = [_panel(root, one, MARGIN + number * (half + MARGIN), top, half) for number, one in enumerate(both)]
    return [part for parts, _ in drawn for part in parts], top + max(height for _, height in drawn)


def _panel(root: Path, one: Layers, x: int, top: int, width: int) -> tuple[list[str], int]:
    source = SOURCES[one.package.split(".")[0]]
    parts = [f'<text class="title" x="{x}" y="{top + 24}">{source}/{one.package.replace(".", "/")}</text>']
    for number, rooms in enumerate(one.rows):
        y = top + HEAD + number * (ROW + GAP)
        each = (width - GAP * (len(rooms) - 1)) / len(rooms)
        for place, room in enumerate(rooms):
            left = x + place * (each + GAP)
            parts += _room(room, purpose(root, f"{one.package}.{room}"), left, y, each)
    return parts, HEAD + len(one.rows) * (ROW + GAP) + MARGIN


def _room(name: str, what: str, x: float, y: int, width: float) -> list[str]:
    is_wide = width > WIDE
    lines = textwrap.wrap(what, int((width - 12) / CHARACTER), max_lines=2, placeholder=" …") if is_wide else []
    texts = [
        f'<text class="what" x="{x + 8:.0f}" y="{y + 32 + 13 * number}">{escape(line)}</text>'
        for number, line in enumerate(lines)
    ]
    box = f'<rect class="room" x="{x:.0f}" y="{y}" width="{width:.0f}" height="{ROW}" rx="4"/>'
    style = "name" if is_wide else "name small"
    title = f'<text class="{style}" x="{x + 8:.0f}" y="{y + 18}">{escape(name)}</text>'
    return [f"<g><title>{escape(what)}</title>{box}", title, *texts, "</g>"]
