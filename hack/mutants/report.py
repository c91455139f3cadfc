"""What came out, as text: a table of modules, and every fault that nobody noticed, as a difference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hack.mutants.faults import Fault


@dataclass(frozen=True)
class Result:
    """What became of one fault: noticed, time (a test took far too long), survived, or not executed by any test."""

    fault: Fault
    outcome: str
    tests: int  # that might have noticed

    @property
    def noticed(self) -> bool:
        """Whether a test failed, or did not end."""
        return self.outcome in ("noticed", "time")


def share(results: Sequence[Result]) -> float:
    """Return how many of all faults were noticed, in percent; 100 of none."""
    return 100.0 * sum(r.noticed for r in results) / len(results) if results else 100.0


def text(results: Sequence[Result], listed: int, seconds: float, goal: float) -> str:
    """Return the report."""
    lines = []
    for result in results:
        if not result.noticed:
            fault = result.fault
            lines.append(
                f"{fault.module}:{fault.line} {fault.function or '(module)'} [{result.outcome}, {result.tests} tests]"
            )
            lines += [f"  - {fault.before}", f"  + {fault.after}"]
    lines += ["", f"{'module':58} {'faults':>7} {'noticed':>8} {'time':>6} {'missed':>7} {'percent':>8}"]
    for module in dict.fromkeys(r.fault.module for r in results):
        lines.append(_row(module, [r for r in results if r.fault.module == module]))
    lines += [_row("all", results), ""]
    lines.append(
        f"{share(results):.1f} % of {len(results)} planted faults were noticed (goal {goal:g} %) in {seconds:.0f} s; "
        f"{listed} that change nothing are listed in hack/mutants/equivalent.toml"
    )
    return "\n".join(lines)


def _row(name: str, results: Sequence[Result]) -> str:
    noticed, late = sum(r.noticed for r in results), sum(r.outcome == "time" for r in results)
    return f"{name:58} {len(results):7} {noticed:8} {late:6} {len(results) - noticed:7} {share(results):8.1f}"
