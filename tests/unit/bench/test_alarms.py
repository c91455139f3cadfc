"""The benchmark of monitoring: when an alarm begins, kinds of columns, and goals that are judged at full size only."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hack.bench.alarms import __main__ as bench
from hack.bench.alarms import columns, rates, speed, windows

from tidemill_contracts.monitoring import DriftConfig, TestConfig


@pytest.mark.parametrize(
    ("drifted", "needed", "out_of", "expected"),
    [
        ("....", 1, 1, []),
        ("x.xx", 1, 1, [0, 2]),
        ("x.xx.", 2, 2, [3]),
        ("x.x.x", 2, 3, [2, 4]),
        ("x.x..xx", 2, 3, [2, 6]),
    ],
)
def test_an_alarm_begins_once(drifted: str, needed: int, out_of: int, expected: list[int]) -> None:
    assert windows.alarms([mark == "x" for mark in drifted], needed, out_of) == expected


def test_there_are_ten_kinds_of_columns() -> None:
    table = columns.table(np.random.default_rng(0), 200)
    assert table.shape == (200, 10)
    assert table["half missing"].isna().any()
    layout = windows.layout_of(table)
    config = rates.monitor(DriftConfig(features=TestConfig()), 60)
    verdict = windows.judged(config, layout, table, 3)
    assert verdict.judged and verdict.closed and verdict.rows == 200
    assert [feature.name for feature in verdict.features] == list(columns.KINDS)


def test_a_shift_is_that_of_one_column() -> None:
    table = columns.features(np.random.default_rng(0), 4_000, 30, 0.5)
    assert table.shape == (4_000, 30)
    assert list(table.n0.describe()[["mean", "std"]]) == pytest.approx([0.5, 1.0], abs=0.05)
    assert abs(table.n1.mean()) < 0.05


def test_a_false_alarm_rate_stands_beside_the_stated_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rates, "WINDOWS_A_MONTH", 2)
    monkeypatch.setattr(rates, "WINDOW_ROWS", 40)
    monkeypatch.setattr(rates, "TRAINING_ROWS", 200)
    found = rates.false_alarms(rates.Size(months=1, runs=1))
    assert [row.floor for row in found if row.goal] == [rates.STATED] * 2
    assert len(found) == 2 + len(columns.KINDS)


@pytest.mark.parametrize(("seconds", "met"), [(1.0, True), (3.0, False)])
def test_goals_of_speed_are_judged_at_full_size(seconds: float, met: bool) -> None:
    own: dict[str, Any] = {"seconds": 9.0, "cpu_seconds": seconds, "mebibytes": 150.0}
    peer: dict[str, Any] = {"seconds": 90.0, "cpu_seconds": 60.0, "mebibytes": 2_000.0}
    full = speed.rows_of(speed.FULL_ROWS, own, own, peer, "Evidently")
    assert [row.met for row in full] == [met, None, True, True]
    assert full[0].ratio == pytest.approx(60 / seconds)
    assert [row.met for row in speed.rows_of(1_000, own, own, peer, "Evidently")] == [None] * 4


def test_an_unknown_name_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        bench.main(["spead"])
    assert "unknown benchmark spead" in capsys.readouterr().err
