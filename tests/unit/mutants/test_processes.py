"""Forked processes: their answers, their limits, and what is left of them."""

import os
import time
from pathlib import Path

from hack.mutants.faults import Fault, read
from hack.mutants.processes import BROKEN, TIMED_OUT, Limits, forked
from hack.mutants.report import Result, share, text

ENOUGH = Limits(60.0, 60.0)


def test_answers_come_as_the_processes_end(tmp_path: Path) -> None:
    done = dict(forked([(number, ENOUGH) for number in range(5)], lambda number: number, 2, tmp_path))
    assert done == {0: 0, 1: 1, 2: 2, 3: 3, 4: 4}
    assert list(tmp_path.iterdir()) == []


def test_a_process_that_raises_is_no_answer(tmp_path: Path) -> None:
    assert list(forked([("", ENOUGH)], lambda text: len(text) // len(text), 1, tmp_path)) == [("", BROKEN)]


def test_a_process_that_waits_for_ever_is_ended(tmp_path: Path) -> None:
    began = time.monotonic()
    found = list(forked([(600, Limits(0.1, 60.0))], lambda seconds: time.sleep(seconds) or 0, 1, tmp_path))
    assert found == [(600, TIMED_OUT)]
    assert time.monotonic() - began < 60


def test_pytest_writes_into_a_folder_that_goes_with_the_process(tmp_path: Path) -> None:
    def work(task: str) -> int:
        folder = Path(os.environ["PYTEST_DEBUG_TEMPROOT"])
        (folder / task).touch()
        return int(folder.parent == tmp_path)

    assert list(forked([("a", ENOUGH)], work, 1, tmp_path)) == [("a", 1)]
    assert list(tmp_path.iterdir()) == []


def faults(folder: Path) -> tuple[Fault, ...]:
    path = folder / "planted.py"
    path.write_text("def f(a):\n    return a < 3\n")
    return read("planted", path).faults


def test_the_report_shows_what_nobody_noticed(tmp_path: Path) -> None:
    first, second, third, *_ = faults(tmp_path)
    results = [Result(first, "noticed", 2), Result(second, "time", 2), Result(third, "survived", 2)]
    assert round(share(results), 1) == 66.7
    shown = text(results, 1, 12.0, 95.0)
    assert f"planted:2 f [survived, 2 tests]\n  - {third.before}\n  + {third.after}\n" in shown
    assert first.after not in shown
    assert "66.7 % of 3 planted faults were noticed (goal 95 %) in 12 s; 1 that change nothing" in shown
