"""`python -m hack.mutants [--part NAME] [--only GLOB ...] [--sample N] [--seed N] [--jobs N] [--goal PERCENT]`."""

from __future__ import annotations

import argparse
import fnmatch
import os
import random
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from hack.mutants import listed, report
from hack.mutants.faults import Module, read
from hack.mutants.judging import Judge
from hack.mutants.planting import module_name
from hack.mutants.suite import SuiteError

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Part:
    """Where faults are planted, and who has to notice them."""

    source: Path
    """The folder that names of modules begin below."""
    package: str
    targets: tuple[str, ...]
    """Globs below `source`."""
    tests: tuple[str, ...]
    """Files and folders, from the root of the repository."""
    imported_before: tuple[str, ...]
    """What takes long to import and has no fault in it."""


_STATISTICS = (
    "calibration_error",
    "detection",
    "detector",
    "estimate",
    "fairness",
    "gaming_evidence",
    "labels",
    "performance",
    "powered",
    "quality",
    "significance",
    "stattests",
)
PARTS = {
    "operator": Part(
        ROOT / "operator",
        "tidemill",
        (
            "tidemill/**/policy/**/*.py",
            "tidemill/engine/*.py",
            # Decisions of training that runs and imports share.
            "tidemill/training/registered.py",
            "tidemill/training/report_validation.py",
            "tidemill/training/retry_pauses.py",
            "tidemill/training/recording/policy.py",
        ),
        ("tests/unit",),
        ("aiohttp.web", "kopf", "prometheus_client", "yaml", "tidemill.api.v1alpha1"),
    ),
    "statistics": Part(
        ROOT / "images" / "runtime",
        "tidemill_runtime",
        (
            "tidemill_runtime/monitor/stattests/*.py",
            *(
                f"tidemill_runtime/monitor/{name}.py"
                for name in ("detector", "fairness", "intervals", "label_mix", "powered", "quality", "two_rates")
            ),
        ),
        tuple(f"tests/runtime/test_monitor_{name}.py" for name in _STATISTICS),
        (
            "aiohttp.web",
            "numpy",
            "pandas",
            "prometheus_client",
            "scipy.stats",
            "sklearn.metrics",
            "tidemill_contracts.monitoring",
        ),
    ),
}


def modules(part: Part) -> dict[str, Module]:
    """The modules in which faults are planted, by name."""
    paths = sorted({path for pattern in part.targets for path in part.source.glob(pattern)})
    return {name: read(name, path) for path in paths if (name := module_name(path, part.source))}


def main() -> int:
    """0 when as much was noticed as the goal asks for, 1 when not, 2 when it could not be judged."""
    arguments = _arguments()
    part = PARTS[arguments.part]
    known = modules(part)
    every = [fault for module in known.values() for fault in module.faults]
    excused = listed.equivalent(package=part.package)
    if unknown := listed.unknown(excused, every):
        print("\n".join(f"error: {listed.FILE.name} names a fault that does not exist: {name}" for name in unknown))
        return 2
    faults = [f for f in every if _is_chosen(f.module, arguments.only) and listed.key(f) not in excused]
    if arguments.sample and arguments.sample < len(faults):
        chosen = random.Random(arguments.seed).sample(range(len(faults)), arguments.sample)
        faults = [faults[place] for place in sorted(chosen)]
    if arguments.list:
        print("\n".join(fault.name for fault in faults))
        return 0
    started = time.monotonic()
    os.chdir(ROOT)
    sys.path.insert(0, str(ROOT))
    print(f"planting {len(faults)} faults, {arguments.jobs} at a time", file=sys.stderr)
    try:
        with tempfile.TemporaryDirectory(prefix="mutants-") as scratch:
            tests = arguments.tests or part.tests
            judge = Judge(known, part.source / part.package, tests, arguments.jobs, Path(scratch), part.imported_before)
            results = judge.results(faults)
    except SuiteError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(report.text(results, len(excused), time.monotonic() - started, arguments.goal))
    return 0 if report.share(results) >= arguments.goal else 1


def _is_chosen(module: str, globs: list[str]) -> bool:
    return any(fnmatch.fnmatch(module, glob) for glob in globs)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m hack.mutants")
    parser.add_argument("--part", default="operator", choices=sorted(PARTS), help="where faults are planted")
    parser.add_argument("--sample", type=int, metavar="N", help="so many faults, chosen by the seed, instead of all")
    parser.add_argument("--seed", type=int, default=13, metavar="N")
    parser.add_argument(
        "--only", default=["*"], nargs="+", metavar="GLOB", help="only modules of such names: '*.engine.queue'"
    )
    parser.add_argument("--tests", nargs="+", metavar="FOLDER", help="only these may notice, not all of the part's")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, metavar="N")
    parser.add_argument("--goal", type=float, default=95.0, metavar="PERCENT", help="how many must be noticed")
    parser.add_argument("--list", action="store_true", help="name the faults, plant none")
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())
