"""docs/metrics.md has every metric of servers and monitors with its labels and its help text, and no other."""

from __future__ import annotations

import re
from pathlib import Path

from tidemill_contracts import metrics

PAGE = Path(__file__).resolve().parents[2] / "docs" / "metrics.md"
ROW = re.compile(r"^\| `(\w+)` \| (\w+) \| ([^|]*) \| ([^|]*) \|$", re.MULTILINE)


def kind(name: str) -> str:
    if name.endswith("_total"):
        return "counter"
    return "histogram" if name.endswith("_duration_seconds") else "gauge"


def test_the_page_has_the_table_of_metrics() -> None:
    known = [m for m in vars(metrics).values() if isinstance(m, metrics.Metric)]
    said = {
        (name, of, tuple(re.findall(r"`(\w+)`", labels)), text)
        for name, of, labels, text in ROW.findall(PAGE.read_text())
    }

    assert said == {(m.name, kind(m.name), m.labels, m.help) for m in known}


def test_metrics_of_monitors_and_of_servers_are_apart() -> None:
    servers, _, monitors = PAGE.read_text().partition("## Monitor\n")

    assert "`monitor`" not in "".join(labels for _, _, labels, _ in ROW.findall(servers))
    assert all("`monitor`" in labels for _, _, labels, _ in ROW.findall(monitors))
