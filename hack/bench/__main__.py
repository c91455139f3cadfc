"""`python -m hack.bench [name …]`: run the named benchmarks, or all, and print one table each."""

import argparse
import importlib
import sys

from hack.bench.table import render

BENCHES = ("operator", "loop", "serving", "monitoring")


def main() -> int:
    """Run the benchmarks and return 1 when a goal was missed and --strict is given."""
    parser = argparse.ArgumentParser(prog="python -m hack.bench", description=sys.modules["hack.bench"].__doc__)
    parser.add_argument("names", nargs="*", default=[], help=f"any of {', '.join(BENCHES)}; default: all")
    parser.add_argument("--strict", action="store_true", help="exit 1 when a goal was missed")
    arguments = parser.parse_args()
    unknown = set(arguments.names) - set(BENCHES)
    if unknown:
        parser.error(f"unknown benchmark {', '.join(sorted(unknown))}: expected {', '.join(BENCHES)}")
    missed = False
    for name in arguments.names or BENCHES:
        print(f"\n## {name}\n", flush=True)
        rows = importlib.import_module(f"hack.bench.{name}").run(arguments)
        print(render(rows), flush=True)
        missed = missed or any(row.met is False for row in rows)
    return 1 if missed and arguments.strict else 0


sys.exit(main())
