"""The unit tests as they are needed here: once as a whole, to see who executes what, then a few of them at a time."""

from __future__ import annotations

import gc
import json
import sys
from collections.abc import Callable, Collection, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import coverage
import pytest

from hack.mutants.faults import Fault, Module
from hack.mutants.planting import FaultyImport, LiveFunctions
from hack.mutants.processes import Limits, forked

NOTICED, SURVIVED, IMPORT_ANEW = 1, 0, 3
HYPOTHESIS_PROFILE = "mutants"
_SHARED = "shared fixture "
"""Who executes a line, where it is a fixture of several tests: which of them would notice could not be told."""
_ARGUMENTS = ["-q", "--capture=sys", f"--hypothesis-profile={HYPOTHESIS_PROFILE}", "-p", "no:cacheprovider"]


class SuiteError(Exception):
    """The tests cannot judge: they fail without any fault."""


@dataclass(frozen=True)
class Baseline:
    """What the tests do without a fault: seconds of each test, and which tests execute which line ("" at import)."""

    seconds: Mapping[str, float]
    executed: Mapping[str, Mapping[int, frozenset[str]]]

    def tests(self, paths: Iterable[Path], lines: range | None = None) -> list[str]:
        """Return those that execute one of some lines (or any) of some files, quickest first."""
        found: set[str] = set()
        for path in paths:
            for line, tests in self.executed.get(str(path), {}).items():
                if lines is None or line in lines:
                    found |= tests
        return sorted(found & self.seconds.keys(), key=lambda test: (self.seconds[test], test))

    def at_import(self, path: Path, lines: range) -> bool:
        """Whether one of some lines is executed before any test."""
        executed = self.executed.get(str(path), {})
        return any("" in executed.get(line, ()) for line in lines)

    def limits(self, tests: Iterable[str], more: float = 0.0) -> Limits:
        """Return how long a few tests may take on a busy machine, after `more` seconds of preparation."""
        usual = sum(self.seconds[test] for test in tests) + more
        return Limits(3.0 + 8.0 * usual, 3.0 + 4.0 * usual)


class _Profile:
    """Examples as always, but one failure is enough: its smallest example is not looked for."""

    @pytest.hookimpl(tryfirst=True)
    def pytest_configure(self) -> None:
        from hypothesis import HealthCheck, Phase, settings  # pytest wants to see this import itself

        settings.register_profile(
            HYPOTHESIS_PROFILE,
            derandomize=True,
            database=None,
            deadline=None,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=[HealthCheck.too_slow],
        )


class _Recorder:
    def __init__(self, measured: coverage.Coverage) -> None:
        self.seconds: dict[str, float] = {}
        self.failed: list[str] = []
        self._measured, self._running = measured, ""

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        self._to(item.nodeid)
        try:
            return (yield)
        finally:
            self._to("")

    def _to(self, running: str) -> None:
        self._running = running
        self._measured.switch_context(running)

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(
        self, fixturedef: pytest.FixtureDef[object], request: pytest.FixtureRequest
    ) -> Generator[None, object, object]:
        if not fixturedef.baseid or request.scope == "function":
            return (yield)
        self._measured.switch_context(f"{_SHARED}{request.fixturename}")
        try:
            return (yield)
        finally:
            self._measured.switch_context(self._running)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.seconds[report.nodeid] = self.seconds.get(report.nodeid, 0.0) + report.duration
        if report.failed:
            self.failed.append(report.nodeid)


def record(folders: Sequence[str], source: Path, faulty: Collection[str], answer: Path) -> int:
    """Run all tests and write the baseline into a file; return pytest's exit code, or how many fixtures are in the way.

    `faulty`: files in which faults will be planted. No fixture that tests share may execute a line of them.
    """
    measured = coverage.Coverage(data_file=None, config_file=False, include=[f"{source}/*"], messages=False)
    recorder = _Recorder(measured)
    measured.start()
    code = pytest.main([*_ARGUMENTS, *folders], plugins=[_Profile(), recorder])
    measured.stop()
    data = measured.get_data()
    executed = {path: data.contexts_by_lineno(path) for path in data.measured_files()}
    shared = sorted(
        {
            name
            for path in faulty
            for tests in executed.get(path, {}).values()
            for name in tests
            if name.startswith(_SHARED)
        }
    )
    found = {"seconds": recorder.seconds, "executed": executed, "failed": [*recorder.failed, *shared]}
    answer.write_text(json.dumps(found))
    return int(code) or len(shared)


def failed(answer: Path) -> list[str]:
    """Return the tests that failed, as far as `record` got."""
    return list(json.loads(answer.read_text())["failed"]) if answer.exists() else []


def baseline(answer: Path) -> Baseline:
    """Read what `record` wrote."""
    found = json.loads(answer.read_text())
    executed = {
        path: {int(line): frozenset(tests) for line, tests in lines.items()}
        for path, lines in found["executed"].items()
    }
    return Baseline(found["seconds"], executed)


class Warm:
    """A pytest session that has collected everything and runs none of it itself: it forks for every fault."""

    def __init__(
        self,
        faults: Sequence[tuple[Fault, Sequence[str], Limits]],
        modules: Mapping[str, Module],
        jobs: int,
        scratch: Path,
        tell: Callable[[int, int], None],
    ) -> None:
        """`tell`: called with a fault's place in `faults` and how its process ended (NOTICED, SURVIVED, …)."""
        self._faults, self._modules = faults, modules
        self._jobs, self._scratch, self._tell = jobs, scratch, tell

    def run(self, folders: Sequence[str]) -> int:
        """Collect, and judge all faults; return pytest's exit code."""
        return int(pytest.main([*_ARGUMENTS, *folders], plugins=[_Profile(), self]))

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Instead of running the tests."""
        items = {item.nodeid: item for item in session.items}
        live = LiveFunctions(frozenset(str(module.path) for module in self._modules.values()))
        gc.collect()
        gc.freeze()

        def work(number: int) -> int:
            fault, tests, _ = self._faults[number]
            if not live.plant(fault, self._modules[fault.module]):
                return IMPORT_ANEW
            return _run([items[test] for test in tests])

        tasks = ((number, limits) for number, (_, _, limits) in enumerate(self._faults))
        for number, code in forked(tasks, work, self._jobs, self._scratch):
            self._tell(number, code)
        return True


def _run(items: Sequence[pytest.Item]) -> int:
    failed = _FirstFailure()
    items[0].config.pluginmanager.register(failed)
    for item, following in zip(items, [*items[1:], None], strict=True):
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        if failed.seen:
            return NOTICED
    return SURVIVED


class _FirstFailure:
    seen = False

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.seen = self.seen or report.failed


class _Chosen:
    """Of what was collected only some tests, in their order."""

    def __init__(self, tests: Sequence[str]) -> None:
        self._place = {test: place for place, test in enumerate(tests)}

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = sorted((i for i in items if i.nodeid in self._place), key=lambda i: self._place[i.nodeid])


def run_anew(fault: Fault, module: Module, tests: Sequence[str]) -> int:
    """Import everything with the fault in it, then run some tests; for a process that has not imported it yet."""
    sys.meta_path.insert(0, FaultyImport(fault, module))
    files = list(dict.fromkeys(test.partition("::")[0] for test in tests))
    code = pytest.main([*_ARGUMENTS, "-x", *files], plugins=[_Profile(), _Chosen(tests)])
    if code == pytest.ExitCode.NO_TESTS_COLLECTED:
        raise SuiteError(f"none of {files} was collected")
    return SURVIVED if code == pytest.ExitCode.OK else NOTICED
