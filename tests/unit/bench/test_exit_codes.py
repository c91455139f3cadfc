"""A goal that is missed is not silent: it is named at the end, and the exit code says so unless told otherwise."""

import argparse
import sys
from types import ModuleType

import pytest
from hack.bench import __main__ as bench
from hack.bench.table import Row, render

MET = Row("speed", 5, "s", goal="≤ 10 s", met=True)
UNJUDGED = Row("throughput", 1000, "requests/s")
MISSED = Row("writes per run", 6.06, "writes", goal="≤ 6", met=False)


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch) -> list[Row]:
    """What the only benchmark finds."""
    found = [MET, UNJUDGED]
    module = ModuleType("hack.bench.one")

    def run(_: argparse.Namespace) -> list[Row]:
        return found

    module.run = run  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "hack.bench.one", module)
    monkeypatch.setattr(bench, "BENCHES", ("one",))
    return found


def test_goals_that_are_met_are_success(rows: list[Row], capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.main([]) == 0
    assert capsys.readouterr().err == ""


def test_a_missed_goal_fails_and_is_named(rows: list[Row], capsys: pytest.CaptureFixture[str]) -> None:
    rows.append(MISSED)
    assert bench.main([]) == 1
    printed = capsys.readouterr()
    assert printed.err == "missed: one: writes per run: 6.06 writes, goal ≤ 6\n"
    assert "MISSED: ≤ 6" in printed.out


def test_who_only_wants_to_look_is_told_all_the_same(rows: list[Row], capsys: pytest.CaptureFixture[str]) -> None:
    rows.append(MISSED)
    assert bench.main(["--no-strict", "one"]) == 0
    assert "missed: one" in capsys.readouterr().err


def test_an_unknown_benchmark_is_wrong_usage(rows: list[Row], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        bench.main(["two"])
    assert ended.value.code == 2
    assert "expected one" in capsys.readouterr().err


def test_a_goal_without_verdict_is_not_missed() -> None:
    assert "MISSED" not in render([Row("median", 9, "s", goal="≤ 5 s")])
