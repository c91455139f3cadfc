"""Colours and styles of the page, for light and dark screens and for paper. All inside the file: nothing is fetched."""

from collections.abc import Mapping
from typing import Final

Colours = Mapping[str, str]

LIGHT: Final[Colours] = {
    "back": "#ffffff",
    "text": "#1b1f24",
    "quiet": "#57606a",
    "line": "#6e7781",
    "now": "#0b5cad",
    "before": "#8a4b00",
    "limit": "#b3261e",
}
DARK: Final[Colours] = {
    "back": "#14181d",
    "text": "#e6e9ed",
    "quiet": "#a3adb8",
    "line": "#8b96a2",
    "now": "#6cb6ff",
    "before": "#f0b060",
    "limit": "#ff8f84",
}
"""Texts have a contrast of at least 4.5 to `back`, lines and shapes of at least 3 (WCAG 2.2, 1.4.3 and 1.4.11)."""


def _variables(colours: Colours) -> str:
    return "".join(f"--{name}:{value};" for name, value in colours.items())


SHEET: Final = (
    f":root{{color-scheme:light dark;{_variables(LIGHT)}}}"
    f"@media (prefers-color-scheme:dark){{:root{{{_variables(DARK)}}}}}"
    f"@media print{{:root{{{_variables(LIGHT)}}}}}"
    """
body{margin:0 auto;max-width:60rem;padding:1rem;background:var(--back);color:var(--text);
font:1rem/1.5 system-ui,sans-serif;overflow-wrap:anywhere}
a{color:var(--now)} h2{margin-top:2.5rem;border-top:1px solid var(--line);padding-top:1rem}
figure{margin:1rem 0} figcaption,.quiet,caption{color:var(--quiet);text-align:left}
svg{width:100%;height:auto;display:block} svg text{fill:var(--text);font:12px system-ui,sans-serif}
.wide{overflow-x:auto} table{border-collapse:collapse;width:100%;margin:.5rem 0}
th,td{border-bottom:1px solid var(--line);padding:.2rem .6rem;text-align:left;vertical-align:top;min-width:4rem}
td{font-variant-numeric:tabular-nums}
dl{display:grid;grid-template-columns:minmax(8rem,max-content) 1fr;gap:.2rem 1rem} dt{color:var(--quiet)} dd{margin:0}
summary{cursor:pointer} :focus-visible{outline:3px solid var(--now);outline-offset:2px}
.axis{stroke:var(--line);stroke-width:1} .now{fill:var(--now)} .before{fill:none;stroke:var(--before);stroke-width:1.5}
.path{fill:none;stroke:var(--now);stroke-width:2} .guess{fill:none;stroke:var(--before);stroke-width:2;
stroke-dasharray:6 4} .dot{fill:var(--now)} .ring{fill:var(--back);stroke:var(--before);stroke-width:2}
.range{stroke:var(--now);stroke-width:1} .limit{stroke:var(--limit);stroke-width:1.5;stroke-dasharray:2 3}
@media print{details>*{display:block}}
"""
)
