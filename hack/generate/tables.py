"""Tables of the documentation that say what a table of `tidemill_contracts` says, each between two markers of a page.

Everything outside of the markers is written by people.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Final

from hack.generate import alerts
from tidemill_contracts.alerts import MONITOR
from tidemill_contracts.drift_tests import DRIFT_TESTS
from tidemill_contracts.failures import CATEGORIES, FAILURES, POD_REASONS, START_REASONS
from tidemill_contracts.formats import FORMATS
from tidemill_contracts.model_metrics import METRICS
from tidemill_contracts.next_steps import CATEGORIES as FIRST_LOOKS
from tidemill_contracts.next_steps import CONDITIONS, PODS, STARTS, Step
from tidemill_contracts.schemes import SCHEMES
from tidemill_runtime.frameworks import FRAMEWORKS


def render(text: str, name: str, table: str) -> str:
    """Return a page with the table of this name renewed; a page without its markers gets both at its end."""
    begin = f"<!-- {name}: begin; written by `make generate`, edits are lost -->\n"
    end = f"<!-- {name}: end -->\n"
    if begin not in text or end not in text:
        return f"{text}\n{begin}{table}{end}"
    before, rest = text.split(begin, 1)
    return f"{before}{begin}{table}{end}{rest.split(end, 1)[1]}"


def pages(root: Path) -> dict[Path, str]:
    """Return the text of every page that holds such a table, as far as the page exists below `root`."""
    found: dict[Path, str] = {}
    for name, (page, table) in TABLES.items():
        path = root / page
        if path in found or path.exists():
            found[path] = render(found.get(path) or path.read_text(), name, "\n" + "".join(table()) + "\n")
    return found


def _rows(head: str, rows: Iterable[Iterable[str]]) -> Iterator[str]:
    columns = head.split(" | ")
    yield f"| {head} |\n| {' | '.join('---' for _ in columns)} |\n"
    for row in rows:
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |\n"


def _metrics() -> Iterator[str]:
    yield from _rows(
        "metric | task | better | range | formula | needs | monitors",
        (
            (f"`{m.name}`", m.task, m.better, m.range, m.formula, m.needs, "yes" if m.monitored else "no")
            for m in METRICS
        ),
    )


def _drift_tests() -> Iterator[str]:
    yield from _rows(
        "test | columns | score | range | usual threshold",
        ((f"`{t.name}`", t.columns, t.score, t.range, f"{t.threshold} ({t.because})") for t in DRIFT_TESTS),
    )


def _formats() -> Iterator[str]:
    needs = {
        name: ["`spec.allowPickle` of the pipeline, and to be served of the deployment"] * row.is_pickle
        + ["`spec.code.command`"] * row.is_from_programs
        + ["functions or classes of the training code; to be served `spec.server.allowCode` of the deployment"]
        * row.has_code
        for name, row in FORMATS.items()
    }
    yield from _rows(
        "format | file | models | `spec.server.runtime` | only with",
        (
            (
                f"`{name}`",
                f"`{row.file}`" if row.file else "any other `model.*`",
                FRAMEWORKS[row.framework].name,
                f"`{row.runtime}`" if row.runtime else "not served",
                ", ".join(needs[name]),
            )
            for name, row in FORMATS.items()
        ),
    )


_REVISIONS = {True: "digest of the content", False: "digest of names, etags and sizes"}


def _schemes() -> Iterator[str]:
    yield from _rows(
        "URI | what is read as data | revision | may be used for | ports",
        (
            (
                f"`{s.form}`",
                s.reads,
                _REVISIONS[s.exact] if "data" in s.uses else "",
                ", ".join(s.uses),
                ", ".join(map(str, s.ports)),
            )
            for s in SCHEMES
        ),
    )


def _secret_keys() -> Iterator[str]:
    yield from _rows(
        "scheme | keys",
        ((f"`{s.name}://`", ", ".join(f"`{key.name}`" for key in s.secret)) for s in SCHEMES if s.secret),
    )


def _categories() -> Iterator[str]:
    yield from _rows("category | who", ((f"`{c.name}`", c.who) for c in CATEGORIES))


def _failures() -> Iterator[str]:
    retried = {c.name for c in CATEGORIES if c.is_retried}
    yield from _rows(
        "reason | category | found by | meaning and what to do | retried",
        (
            (
                f"`{f.reason}`",
                f"`{f.category}`",
                f.by,
                f.help,
                "no" if f.is_final or f.category not in retried else "by the pipeline" if f.is_final_for_job else "yes",
            )
            for f in FAILURES
        ),
    )


def _pod_reasons() -> Iterator[str]:
    of = {
        "waiting": "container",
        "ended": "container",
        "pod": "pod",
        "controller": "Job, Deployment",
        "event": "pod (events)",
    }
    yield from _rows("reason | of | meaning and what to do", ((f"`{r.name}`", of[r.of], r.help) for r in POD_REASONS))


def _start_reasons() -> Iterator[str]:
    yield from _rows(
        "reason | exit code | meaning and what to do",
        ((f"`{r.name}`", "1" if r.is_retried else "42", r.help) for r in START_REASONS),
    )


def _steps(steps: Iterable[Step]) -> Iterator[str]:
    yield from _rows("reason | what to do | next command", ((f"`{s.reason}`", s.todo, f"`{s.command}`") for s in steps))


def _first_looks() -> Iterator[str]:
    yield from _rows(
        "category | who can do something | next command",
        ((f"`{c.name}`", c.who, f"`{FIRST_LOOKS[c.name]}`") for c in CATEGORIES),
    )


def _alerts() -> Iterator[str]:
    yield from _rows(
        "alert | severity | follows | fires after",
        (
            (
                f"[`{a.name}`](runbooks.md#{a.name.lower()})",
                a.severity,
                alerts.follows(a),
                alerts.duration(a.hold),
            )
            for a in MONITOR
        ),
    )


TABLES: Final[dict[str, tuple[str, Callable[[], Iterator[str]]]]] = {
    "metrics of models": ("docs/training-code.md", _metrics),
    "schemes of URIs": ("docs/training-code.md", _schemes),
    "keys of Secrets": ("docs/training-code.md", _secret_keys),
    "drift tests": ("docs/monitoring-statistics.md", _drift_tests),
    "categories of failures": ("docs/conditions-training.md", _categories),
    "reasons of failures": ("docs/conditions-training.md", _failures),
    "reasons of pods": ("docs/conditions-serving.md", _pod_reasons),
    "reasons of a server's start": ("docs/serving-protocol.md", _start_reasons),
    "alerts of a monitor": ("docs/conditions-monitoring.md", _alerts),
    "runbooks": ("docs/runbooks.md", alerts.runbooks),
    "formats": ("docs/training-code.md", _formats),
    **{
        f"next steps of {kind or 'every kind'}": ("docs/what-to-do.md", partial(_steps, steps))
        for kind, steps in CONDITIONS.items()
    },
    "next steps of pods": ("docs/what-to-do.md", partial(_steps, PODS)),
    "next steps of a server's start": ("docs/what-to-do.md", partial(_steps, STARTS)),
    "next steps of failed runs": ("docs/what-to-do.md", _first_looks),
}
"""By the name in the markers: the page, and what makes the table."""
