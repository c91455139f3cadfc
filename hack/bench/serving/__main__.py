"""`python -m hack.bench.serving`: compare with MLServer, KServe and BentoML, or show a recorded comparison."""

import argparse
import json
import signal
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from hack.bench.serving import comparison, models, picture, profiling, report
from hack.bench.serving.goals import judge, missed
from hack.bench.serving.peers import PEERS
from hack.bench.serving.progress import Progress
from hack.bench.serving.results import Results
from hack.bench.serving.servers import FLOORS, OWN, Server
from hack.tools.paths import REPOSITORY

SERVERS = (*OWN, *FLOORS, *PEERS)
RESULT, PAGE, PICTURE = "serving-benchmark.json", "serving-benchmark.md", "serving-benchmark.svg"
DOCS, CACHE = REPOSITORY / "docs", REPOSITORY / ".cache" / "bench"
PARTIAL = ("quick", "models", "servers", "users", "rows")  # with one of these a run is no result for docs/


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit codes: 0 every goal was met, 1 one was missed or not measured (0 with --no-strict), 2 wrong usage."""
    parsed = _parser().parse_args(arguments)
    if parsed.docs is None:
        parsed.docs = parsed.render is None and not any(getattr(parsed, name) for name in PARTIAL)
    if parsed.render is not None:
        document = json.loads(parsed.render.read_text())
    else:
        document = _measure(parsed)
        output = parsed.output or (DOCS if parsed.docs else CACHE) / RESULT
        output.parent.mkdir(parents=True, exist_ok=True)
        comparison.write(document, output)
        print(f"wrote {output}", file=sys.stderr)
    results = Results(document)
    print(report.render(results))
    if parsed.docs:
        (DOCS / PICTURE).write_text(picture.draw(results))
        report.update(DOCS / PAGE, results, PICTURE)
        print(f"wrote {DOCS / PICTURE} and {DOCS / PAGE}", file=sys.stderr)
    found = missed(judge(results))
    for sentence in found:
        print(f"missed: {sentence}", file=sys.stderr)
    return 1 if found and parsed.strict else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m hack.bench.serving", description=sys.modules[__name__].__doc__)
    default = comparison.Settings()
    parser.add_argument(
        "--quick", action="store_true", help="one round, single rows, one cold start: a look in minutes"
    )
    parser.add_argument("--rounds", type=int, help=f"rounds that medians are taken of (default {default.rounds})")
    parser.add_argument("--seconds", type=float, help=f"of one load (default {default.seconds:g})")
    parser.add_argument("--models", help=f"some of {','.join(models.MODELS)} (default: all)")
    parser.add_argument("--servers", help=f"some of {','.join(one.key for one in SERVERS)} (default: all)")
    parser.add_argument("--users", help=f"some of {','.join(map(str, comparison.USERS))} (default: all)")
    parser.add_argument("--rows", help=f"some of {','.join(map(str, comparison.ROWS))} (default: all)")
    parser.add_argument(
        "--output", type=Path, help=f"where the result goes (default: {RESULT} in docs/ or .cache/bench/)"
    )
    parser.add_argument("--render", type=Path, metavar="RESULT", help="measure nothing, show a recorded result")
    parser.add_argument(
        "--docs",
        action=argparse.BooleanOptionalAction,
        help="write result, table and picture into docs/ (default: after a whole run)",
    )
    parser.add_argument(
        "--strict", action=argparse.BooleanOptionalAction, default=True, help="exit 1 when a goal was missed"
    )
    return parser


def _measure(parsed: argparse.Namespace) -> dict[str, object]:
    default = comparison.Settings(rounds=1, cold_starts=1, rows=(1,)) if parsed.quick else comparison.Settings()
    settings = comparison.Settings(
        rounds=parsed.rounds or default.rounds,
        seconds=parsed.seconds or default.seconds,
        cold_starts=default.cold_starts,
        models=tuple(_some(parsed.models, models.MODELS)),
        users=tuple(map(int, _some(parsed.users, map(str, comparison.USERS)))),
        rows=tuple(map(int, _some(parsed.rows, map(str, comparison.ROWS)))) if parsed.rows else default.rows,
    )
    keys = _some(parsed.servers, (one.key for one in SERVERS))
    chosen: list[Server] = [one for one in SERVERS if one.key in keys]
    progress = Progress(comparison.steps(settings, chosen))
    with tempfile.TemporaryDirectory(prefix="tidemill-bench-") as folder:
        compared = comparison.Comparison(settings, chosen, Path(folder), progress)
        document = compared.run()
        goals = judge(Results(document))
        return {**document, "profiles": profiling.of_missed(goals, compared.fitted, Path(folder), progress)}


def _some(given: str | None, known: Iterable[str]) -> list[str]:
    names = list(known)
    if given is None:
        return names
    chosen = given.split(",")
    if unknown := [name for name in chosen if name not in names]:
        _parser().error(f"unknown: {', '.join(unknown)}; expected some of {', '.join(names)}")
    return chosen


def _on_signal(number: int, frame: object) -> None:
    """End as an exception does, so that every server that was started is stopped."""
    del frame
    sys.exit(128 + number)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _on_signal)
    sys.exit(main())
