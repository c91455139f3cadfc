"""The whole page: one file without scripts and without anything from elsewhere, of at most 2 MB."""

from collections.abc import Callable, Iterator, Sequence
from itertools import count
from typing import Final
from urllib.parse import quote

from tidemill_contracts.counts import counted
from tidemill_runtime.monitor.page import findings, sections
from tidemill_runtime.monitor.page.content import PageContent
from tidemill_runtime.monitor.page.markup import Markup, element, joined
from tidemill_runtime.monitor.page.style import SHEET

MAX_BYTES: Final = 2_000_000
MEDIA_TYPE: Final = "text/html; charset=utf-8"
POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
"""What a browser may load for the page, in its head and as a header of the answer: nothing but its own styles."""
_ROOM: Final = 4_000  # for the end of the page
_Section = Callable[[PageContent, Iterator[int]], Markup]
SECTIONS: Final[Sequence[tuple[str, str, _Section]]] = (
    ("summary", "Summary", sections.summary),
    ("objectives", "Objectives", findings.objectives),
    ("performance", "Performance", sections.realised),
    ("estimates", "Performance without labels", findings.estimates),
    ("segments", "Segments", sections.segments),
    ("fairness", "Fairness", findings.fairness),
    ("quality", "Data quality", sections.quality),
    ("drift", "Drift over time", sections.over_time),
    ("clients", "Clients that may game the system", findings.clients),
)
"""Id, heading and content of each part; the distributions follow, as many as fit."""


def render(content: PageContent, *, links: bool = False) -> str:
    """Return the page. Columns that have no room are counted; they are in the JSON.

    `links`: to the pages of other versions and to the JSON, at the monitor's address.
    """
    numbers = count(1)
    parts = [joined(element("h2", heading, id=name), section(content, numbers)) for name, heading, section in SECTIONS]
    title = f"Model monitor {content.namespace}/{content.monitor}"
    start = joined(_head(title), Markup("<body>"), element("h1", title), _contents(), Markup("<main>"), *parts)
    start = joined(start, element("h2", "Distributions", id="distributions"), _of(content))
    size = len(start.encode()) + _ROOM
    shown: list[Markup] = []
    for one in content.distributions:
        part = sections.one_distribution(one, numbers, content.windows)
        size += len(part.encode())
        if size > MAX_BYTES:
            break
        shown.append(part)
    left = len(content.distributions) - len(shown)
    note = element("p", f"{counted(left, 'column')} more in the JSON: there is no room here.") if left else Markup()
    end = joined(note, Markup("</main>"), _links(content) if links else Markup(), Markup("</body></html>\n"))
    return "".join((start, *shown, end))


def _head(title: str) -> Markup:
    return joined(
        Markup('<!doctype html><html lang="en"><head><meta charset="utf-8">'),
        Markup('<meta name="viewport" content="width=device-width, initial-scale=1">'),
        Markup('<meta name="color-scheme" content="light dark"><meta name="referrer" content="no-referrer">'),
        Markup(f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'),
        element("title", title),
        Markup(f"<style>{SHEET}</style></head>"),
    )


def _contents() -> Markup:
    """Return links to the parts of the page."""
    names = [*((name, heading) for name, heading, _ in SECTIONS), ("distributions", "Distributions")]
    items = (element("li", element("a", heading, href=f"#{name}")) for name, heading in names)
    return element("nav", element("ul", *items), aria_label="Contents")


def _of(content: PageContent) -> Markup:
    shown = content.shown
    if shown is None:
        return element("p", "There is no window yet.")
    of = (
        "the training data"
        if shown.baseline is None or shown.baseline.start is None
        else (f"windows from {sections.moment(shown.baseline.start)} to {sections.moment(shown.baseline.end or 0.0)}")
    )
    return element("p", f"The window {sections.span(shown)}, compared with {of}; drifted columns first.")


def _links(content: PageContent) -> Markup:
    """Return links to the JSON of this version and to the pages of all."""
    chosen = quote(content.digest or "", safe="")
    items = [element("li", element("a", "This page as JSON", href=f"report.json?digest={chosen}"))]
    items += [
        element("li", element("a", f"Version {name}", href=f"report.html?digest={quote(digest, safe='')}"))
        for name, digest in content.versions
    ]
    return element("nav", element("h2", "Other views"), element("ul", *items), aria_label="Other views")
