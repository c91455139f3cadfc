"""`python -m hack.bench.alarms [name …]`: measure false alarms, delay and speed of drift, and print one table each."""

import argparse
import sys
from collections.abc import Sequence

from hack.bench.alarms import rates, speed
from hack.bench.table import missed, render

NAMES = ("false-alarms", "delay", "speed")
FULL, QUICK = rates.Size(months=40, runs=20), rates.Size(months=3, runs=3)
QUICK_ROWS = 50_000


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit codes: 0 every goal was met, 1 one was missed (0 with --no-strict), 2 wrong usage."""
    parser = argparse.ArgumentParser(prog="python -m hack.bench.alarms", description=sys.modules[__name__].__doc__)
    parser.add_argument("names", nargs="*", default=[], help=f"any of {', '.join(NAMES)}; default: all")
    parser.add_argument("--quick", action="store_true", help="small sizes: a look in a minute or two")
    parser.add_argument(
        "--strict", action=argparse.BooleanOptionalAction, default=True, help="exit 1 when a goal was missed"
    )
    parsed = parser.parse_args(arguments)
    unknown = set(parsed.names) - set(NAMES)
    if unknown:
        parser.error(f"unknown benchmark {', '.join(sorted(unknown))}: expected {', '.join(NAMES)}")
    size = QUICK if parsed.quick else FULL
    work = {
        "false-alarms": lambda: rates.false_alarms(size),
        "delay": lambda: rates.delays(size),
        "speed": lambda: speed.compare(QUICK_ROWS if parsed.quick else speed.FULL_ROWS),
    }
    found: list[str] = []
    for name in parsed.names or NAMES:
        print(f"\n## {name}\n", flush=True)
        rows = work[name]()
        print(render(rows), flush=True)
        found += [f"{name}: {sentence}" for sentence in missed(rows)]
    for sentence in found:
        print(f"missed: {sentence}", file=sys.stderr)
    return 1 if found and parsed.strict else 0


if __name__ == "__main__":
    sys.exit(main())
