"""Plants faults one after the other, runs for each the tests that may notice it, and says what became of it."""

from __future__ import annotations

import ast
import importlib
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from hack.mutants import suite
from hack.mutants.faults import Fault, Module
from hack.mutants.processes import TIMED_OUT, Limits, forked
from hack.mutants.report import Result

ANEW_SECONDS = 3.0
"""How long the imports and the collection of a few files take, where a process begins without them."""
_BASELINE_SECONDS, _ALL_SECONDS = 600.0, 7200.0  # of the processor's time
_BUSY = 6.0  # times as long by the clock, on a machine that does other things as well
_SHOWN_EACH = 100
_NAMED = 5  # tests that fail without any fault


class Progress:
    """Says now and then how many faults are judged, also from a process whose standard error leads nowhere."""

    def __init__(self, most: int) -> None:
        """Make it where standard error is still that of the caller."""
        self._most, self._done = most, 0
        self._descriptor = os.dup(sys.__stderr__.fileno()) if sys.__stderr__ is not None else -1

    def one(self) -> None:
        """One more is judged."""
        self._done += 1
        if self._descriptor >= 0 and self._done % _SHOWN_EACH == 0:
            os.write(self._descriptor, f"  {self._done} of {self._most}\n".encode())


class Judge:
    """Knows which tests execute which line; needs a process that has not imported the modules with faults."""

    def __init__(
        self,
        modules: Mapping[str, Module],
        source: Path,
        tests: Sequence[str],
        jobs: int,
        scratch: Path,
        imported_before: Sequence[str],
    ) -> None:
        """`modules` by name; `source`: the folder of packages; `tests`: files or folders, from the working directory.

        `imported_before`: modules without faults that take long to import.

        Raises suite.SuiteError when the tests fail without any fault.
        """
        self._modules, self._source, self._tests = modules, source, tests
        self._jobs, self._scratch = jobs, scratch
        self._results: dict[Fault, Result] = {}
        for name in imported_before:
            importlib.import_module(name)
        recorded = scratch / "baseline.json"
        faulty = {str(module.path) for module in modules.values()}
        code = self._apart(lambda: suite.record(tests, source, faulty, recorded), _BASELINE_SECONDS)
        if code != 0:
            names = ", ".join(suite.failed(recorded)[:_NAMED]) or f"pytest ended with {code}"
            raise suite.SuiteError(f"the tests in {', '.join(tests)} fail without any fault: {names}")
        self._base = suite.baseline(recorded)

    def results(self, faults: Sequence[Fault]) -> list[Result]:
        """Judge faults; in their order."""
        self._results.clear()
        of_functions = [fault for fault in faults if fault.function]
        anew = [fault for fault in faults if not fault.function] + self._warm(of_functions)
        anew += [fault for fault in of_functions if self._may_be_noticed_at_import(fault)]
        self._anew(anew)
        return [self._results[fault] for fault in faults]

    def _may_be_noticed_at_import(self, fault: Fault) -> bool:
        """Whether nobody noticed a fault that came after the line had done its work for a table of a test's cases."""
        found = self._results.get(fault)
        return found is not None and not found.noticed and self._base.at_import(fault.path, fault.lines)

    def _warm(self, faults: Sequence[Fault]) -> list[Fault]:
        """Judge faults of functions; returns those that need the module to be imported with the fault."""
        tasks = []
        for fault in faults:
            if tests := self._base.tests([fault.path], fault.lines):
                tasks.append((fault, tests, self._base.limits(tests)))
            else:
                self._results[fault] = Result(fault, "not executed", 0)
        answers = self._scratch / "warm"
        with answers.open("w", buffering=1, encoding="utf-8") as out:
            shown = Progress(len(faults))

            def tell(number: int, code: int) -> None:
                print(number, code, file=out)
                shown.one()

            session = suite.Warm(tasks, self._modules, self._jobs, self._scratch, tell)
            self._apart(lambda: session.run(self._tests), _ALL_SECONDS)
        anew = []
        lines = answers.read_text(encoding="utf-8").splitlines()
        if len(lines) != len(tasks):
            raise suite.SuiteError(
                f"{len(tasks) - len(lines)} faults were not judged: the tests could not be collected"
            )
        for number, code in (map(int, line.split()) for line in lines):
            fault, tests, _ = tasks[number]
            if code == suite.IMPORT_ANEW:
                anew.append(fault)
            else:
                self._results[fault] = Result(fault, _outcome(code), len(tests))
        return anew

    def _anew(self, faults: Sequence[Fault]) -> None:
        """Judge faults with processes that import the module with its fault, and everything that uses it."""
        tasks = []
        for fault in faults:
            if tests := self._of_module(fault):
                tasks.append(((fault, tests), self._base.limits(tests, ANEW_SECONDS)))
            else:
                self._results[fault] = Result(fault, "not executed", 0)

        def work(task: tuple[Fault, list[str]]) -> int:
            return suite.run_anew(task[0], self._modules[task[0].module], task[1])

        shown = Progress(len(tasks))
        for (fault, tests), code in forked(tasks, work, self._jobs, self._scratch):
            shown.one()
            self._results[fault] = Result(fault, _outcome(code), len(tests))

    def _of_module(self, fault: Fault) -> list[str]:
        """Return the tests that may notice a fault of the module itself: of files that import it, or execute a user."""
        files = {str(path) for folder in self._tests for path in _users(fault.module, Path(folder))}
        direct = [test for test in self._base.seconds if test.partition("::")[0] in files]
        near, far = self._base.tests([fault.path]), self._base.tests(_users(fault.module, self._source))
        return list(dict.fromkeys([*direct, *near, *far]))

    def _apart(self, work: Callable[[], int], seconds: float) -> int:
        """Do something in a process of its own, so that this one imports nothing."""
        [(_, code)] = forked([(None, Limits(_BUSY * seconds, seconds))], lambda _: work(), 1, self._scratch)
        return code


def _users(module: str, source: Path) -> list[Path]:
    """The files that import a module; `source`: a folder, or one file."""
    package, _, last = module.rpartition(".")
    found = []
    for path in sorted(source.glob("**/*.py")) if source.is_dir() else [source]:
        imports = [n for n in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(n, ast.ImportFrom)]
        if any(n.module == module or (n.module == package and any(a.name == last for a in n.names)) for n in imports):
            found.append(path)
    return found


def _outcome(code: int) -> str:
    outcomes = {suite.NOTICED: "noticed", suite.SURVIVED: "survived", TIMED_OUT: "time"}
    if code not in outcomes:
        raise suite.SuiteError(f"a fault could not be planted (its process ended with {code})")
    return outcomes[code]
