"""`python -m hack.bench [name …]`: run the named benchmarks, or all, and print one table each."""

import argparse
import importlib
import sys
from collections.abc import Sequence

from hack.bench.table import missed, render

BENCHES = ("operator", "memory", "burst", "loop", "hotpath", "bodies", "serving", "monitoring", "images")


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit codes: 0 every goal was met, 1 one was missed (0 with --no-strict), 2 wrong usage."""
    parser = argparse.ArgumentParser(prog="python -m hack.bench", description=sys.modules["hack.bench"].__doc__)
    parser.add_argument("names", nargs="*", default=[], help=f"any of {', '.join(BENCHES)}; default: all")
    parser.add_argument(
        "--strict", action=argparse.BooleanOptionalAction, default=True, help="exit 1 when a goal was missed"
    )
    parsed = parser.parse_args(arguments)
    unknown = set(parsed.names) - set(BENCHES)
    if unknown:
        parser.error(f"unknown benchmark {', '.join(sorted(unknown))}: expected {', '.join(BENCHES)}")
    found: list[str] = []
    for name in parsed.names or BENCHES:
        print(f"\n## {name}\n", flush=True)
        rows = importlib.import_module(f"hack.bench.{name}").run(parsed)
        print(render(rows), flush=True)
        found += [f"{name}: {sentence}" for sentence in missed(rows)]
    for sentence in found:
        print(f"missed: {sentence}", file=sys.stderr)
    return 1 if found and parsed.strict else 0


if __name__ == "__main__":
    sys.exit(main())
