"""Rules of alerts under `promtool test rules`: series as they would be scraped, and what fires when."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from tests.support import prometheus

STEP = 30
"""Seconds between two scrapes, and between two evaluations of the rules."""

Rule = Mapping[str, Any]


def series(name: str, labels: Mapping[str, str]) -> str:
    """A series as PromQL writes it."""
    matchers = ",".join(f'{key}="{value}"' for key, value in labels.items())
    return f"{name}{{{matchers}}}"


def shown(start: int, end: int, value: str = "1") -> str:
    """Samples of a series that is there from `start` to `end` (seconds, both included), then marked as gone."""
    before, samples = start // STEP, (end - start) // STEP
    return f"{f'_x{before - 1} ' if before else ''}{value}x{samples} stale"


def at(seconds: int, rule: Rule, labels: Mapping[str, str] | None) -> dict[str, Any]:
    """Whether the alert of a rule fires at a time. `labels`: those that its expression gives; None: it is silent."""
    found: dict[str, Any] = {"eval_time": f"{seconds}s", "alertname": rule["alert"], "exp_alerts": []}
    if labels is not None:
        texts = dict(rule["annotations"])
        for key, value in labels.items():
            texts = {name: text.replace("{{ $labels." + key + " }}", value) for name, text in texts.items()}
        found["exp_alerts"] = [{"exp_labels": {**labels, **rule["labels"]}, "exp_annotations": texts}]
    return found


def case(samples: Iterable[tuple[str, str]], expected: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """One case: (series, samples), and what is expected of it."""
    listed = [{"series": one, "values": values} for one, values in samples]
    return {"interval": f"{STEP}s", "input_series": listed, "alert_rule_test": list(expected)}


def check(folder: Path, rules: Sequence[Rule], cases: Sequence[dict[str, Any]]) -> None:
    """Run the cases; AssertionError with what promtool said when one of them fails."""
    path, tests = folder / "rules.yaml", folder / "cases.yaml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "tested", "rules": [dict(rule) for rule in rules]}]}))
    tests.write_text(
        yaml.safe_dump({"rule_files": [str(path)], "evaluation_interval": f"{STEP}s", "tests": list(cases)})
    )
    run("test", "rules", tests)


def run(*arguments: Any) -> str:
    """What promtool prints; AssertionError when it fails."""
    command = [str(prometheus.binary("promtool")), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
