"""`python -m hack.bench.serving.beside TREE...`: our server of this checkout beside that of other checkouts.

For judging whether a special path is worth its code: take it out in another work tree and compare. All servers load
the same models, fitted once by this checkout; loads are interleaved, ratios are to this checkout's server.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from hack.bench.serving import comparison, models
from hack.bench.serving.comparison import Settings
from hack.bench.serving.progress import Progress
from hack.bench.serving.results import Figure, Results
from hack.bench.serving.servers import OWN, Launch, Place, Server
from hack.tools.paths import REPOSITORY

SOURCES = ("images/runtime", "operator")


def main(arguments: Sequence[str] | None = None) -> int:
    """Print one line for each load; the exit code is 0."""
    parser = argparse.ArgumentParser(prog="python -m hack.bench.serving.beside", description=__doc__)
    parser.add_argument("trees", nargs="+", type=Path, metavar="TREE", help="a checkout of the project")
    parser.add_argument("--rounds", type=int, default=7, help="rounds that medians are taken of (default 7)")
    parser.add_argument("--seconds", type=float, default=1.0, help="of one load (default 1)")
    parser.add_argument("--models", default="iris", help=f"some of {','.join(models.MODELS)} (default iris)")
    parser.add_argument("--users", default="1,16,300", help="closed loops (default 1,16,300)")
    parser.add_argument("--rows", default="1", help="rows of a request, 1 or 100 or both (default 1)")
    parser.add_argument("--native", action="store_true", help="serve scikit-learn, not ONNX; the forest alone")
    parsed = parser.parse_args(arguments)
    settings = Settings(
        rounds=parsed.rounds,
        seconds=parsed.seconds,
        models=tuple(parsed.models.split(",")),
        users=tuple(map(int, parsed.users.split(","))),
        rows=tuple(map(int, parsed.rows.split(","))),
    )
    key = "tidemill-native" if parsed.native else "tidemill"
    server = next(one for one in OWN if one.key == key)
    chosen = [of_tree(server, tree) for tree in (REPOSITORY, *parsed.trees)]
    with tempfile.TemporaryDirectory(prefix="tidemill-bench-") as folder:
        progress = Progress(comparison.steps(settings, chosen))
        document = comparison.Comparison(settings, chosen, Path(folder), progress).run()
    for line in lines(Results(document), settings, [one.key for one in chosen]):
        print(line)
    return 0


def of_tree(server: Server, tree: Path) -> Server:
    """Return the server with the code of a checkout, run by this one's interpreter and libraries."""
    path = ":".join(str(tree.resolve() / source) for source in SOURCES)

    def launch(model: models.FittedModel, place: Place) -> Launch:
        own = server.launch(model, place)
        return replace(own, variables={**own.variables, "PYTHONPATH": path})

    return replace(server, key=str(tree.resolve()), label=tree.resolve().name, launch=launch)


def lines(results: Results, settings: Settings, keys: Sequence[str]) -> list[str]:
    """Return a table: throughput, latency, memory and cold start, those of other trees as ratios."""
    found = []
    for name in settings.models:
        for rows in settings.rows:
            for users in settings.users:
                what = f"{name}, {rows} row{'s' * (rows > 1)}, {users} user{'s' * (users > 1)}"
                figures = [results.closed(name, key, users, rows) for key in keys]
                found.append(line(f"{what}: requests/s", figures))
            figures = [
                results.at_peers_load(name, key, rows, "p99") or results.open(name, key, rows, "p99") for key in keys
            ]
            found.append(line(f"{name}, {rows} row{'s' * (rows > 1)}, half load: p99 µs", figures))
        memory = [results.memory(name, key) for key in keys]
        found.append(line(f"{name}: MiB", [None if one is None else Figure(one, one, one) for one in memory]))
    found.append(line("cold start: seconds", [results.cold(key) for key in keys]))
    wrong = [sum(results.errors(name, key) for name in settings.models) for key in keys]
    return [*found, f"wrong or missing answers: {', '.join(map(str, wrong))}"]


def line(what: str, figures: Sequence[Figure | None]) -> str:
    """Return this checkout's figure, and the ratio and spread of each other one."""
    first, *others = figures
    if first is None:
        return f"{what}: not measured"
    ratios = ("-" if one is None else f"{one.median / first.median:.3f} ± {one.spread:.3f}" for one in others)
    return f"{what:<44} {first.median:>10,.2f} ± {first.spread:.3f}   {'   '.join(ratios)}"


if __name__ == "__main__":
    sys.exit(main())
