"""The page of a recorded comparison: tables in Markdown between two marks, what people wrote around them left alone."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hack.bench.serving.goals import Goal, judge
from hack.bench.serving.models import MODELS
from hack.bench.serving.results import Figure, Results
from hack.bench.table import number

BEGIN, END = "<!-- begin of what `make bench-serving` writes -->", "<!-- end of what `make bench-serving` writes -->"


def update(page: Path, results: Results, picture: str) -> None:
    """Put the tables into a page.

    Raises:
        ValueError: the page has not the two marks.
    """
    before, begin, rest = page.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{page}: expected the lines {BEGIN} and {END}")
    page.write_text(f"{before}{BEGIN}\n{render(results, picture)}\n{END}{after}")


def render(results: Results, picture: str = "") -> str:
    """Return all tables."""
    parts = [f"![Requests per second and latencies]({picture})\n"] if picture else []
    parts += [_conditions(results), "## Goals\n", goals_table(judge(results))]
    parts += _profiles(results)
    for model in results.models:
        parts += [f"\n## {MODELS[model].capitalize()}\n", *_model_tables(results, model)]
    parts += ["\n## Memory and cold start\n", _footprint(results)]
    if results.document["missing"]:
        left_out = (f"- {results.servers[key]['label']}: {why}" for key, why in results.document["missing"].items())
        parts += ["\nLeft out:", *left_out]
    return "\n".join(parts)


def goals_table(goals: list[Goal]) -> str:
    """Return the verdicts."""
    lines = ["| goal | measured | beside | ratio | wanted | verdict |", "|---|---|---|---|---|---|"]
    for one in goals:
        value = f"{number(one.value)} {one.unit}" if one.value is not None else ""
        ratio = f"{one.ratio:.2f}" if one.ratio is not None else ""
        verdict = {True: "met", False: "**MISSED**", None: "not measured"}[one.met]
        beside = f"{one.beside} ({one.remark})" if one.remark else one.beside
        lines.append(f"| {one.what} | {value} | {beside} | {ratio} | {one.goal} | {verdict} |")
    return "\n".join(lines)


def _profiles(results: Results) -> Iterator[str]:
    """Yield where the time of our server went with each model that missed a goal."""
    for one in results.profiles:
        label = results.servers[one["server"]]["label"]
        yield f"\n## Where the time goes: {label}, {one['model']}\n"
        yield (
            f"{one['samples']:,} samples of processor time, {one['users']} users, in a run of its own. What C does "
            "for a function counts as its own.\n"
        )
        yield "| function | itself | with all that it calls |\n|---|---|---|"
        yield from (f"| `{name}` | {own:.1%} | {whole:.1%} |" for name, own, whole in one["functions"])


def _conditions(results: Results) -> str:
    document = results.document
    settings, box = document["settings"], document["machine"]
    packages = ", ".join(f"{name} {version}" for name, version in box["packages"].items())
    versions = ", ".join(sorted({f"{_name(one)} {one['version']}" for one in _peers(results)}))
    idle = max(document["idle"].values(), default=0.0)
    lines = [
        f"- {document['began']}, {document['minutes']:g} minutes; {box['processor']}, {box['cores']} cores, shared by "
        f"generator and server; load average before the run {box['load_before']:g}.",
        f"- Python {box['python']}, {packages}; {versions}.",
        f"- Medians of {settings['rounds']} rounds of {settings['seconds']:g} s, ± half of their range; each round "
        f"visits every server. All servers of a model are up at once; idle they took {idle:.3f} of a core together.",
        f"- Every answer was checked: {results.answers('own'):,} of ours and {results.answers('peer'):,} of the peers' "
        "were right.",
    ]
    for rows in settings["rows"]:
        dropped, of = results.dropped(rows)
        if dropped and of:
            what = f"requests of {rows} row{'s' * (rows > 1)}"
            lines.append(f"- Of the prediction records of {what}, {dropped / of:.0%} were dropped and counted.")
    if cpu := results.generator():
        lines.append(f"- The generator took {cpu.median:.2f} of a core in the median load, {cpu.greatest:.2f} at most.")
    lines += sorted({f"- {_name(one)}: {one['note']}." for one in document["servers"] if one["note"]})
    return "\n".join(lines) + "\n"


def _name(server: dict[str, Any]) -> str:
    return str(server["label"]).split(",")[0]


def _peers(results: Results) -> list[dict[str, Any]]:
    return [one for one in results.servers.values() if one["kind"] == "peer"]


def _model_tables(results: Results, model: str) -> Iterator[str]:
    for rows in results.document["settings"]["rows"]:
        what = "One row" if rows == 1 else f"{rows} rows"
        yield (
            f"{what} a request: rates and latencies in closed loops; half load is half of the rate of 16 users, "
            "the peers' half load that of the best of them.\n"
        )
        yield _table(results, model, rows)
        yield ""


def _table(results: Results, model: str, rows: int) -> str:
    users = results.document["settings"]["users"]
    names = [f"{count} user{'s' if count > 1 else ''}" for count in users]
    latencies = [f"p50 / p99 ms, {name}" for name in (*names, "half load", "peers' half load")]
    head = ["server", *names, *latencies, "CPU µs each", "errors"]
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for key in results.of(model):
        closed = [_rate(results.closed(model, key, count, rows)) for count in users]
        crowds = [[results.closed(model, key, count, rows, name) for name in ("p50", "p99")] for count in users]
        half, peers = (
            [find(model, key, rows, name) for name in ("p50", "p99")] for find in (results.open, results.at_peers_load)
        )
        cells = [
            results.servers[key]["label"],
            *closed,
            *(" / ".join(map(_milliseconds, pair)) for pair in (*crowds, half, peers)),
            _cpu(results, model, key, rows),
            str(results.errors(model, key) or ""),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _cpu(results: Results, model: str, key: str, rows: int) -> str:
    rate, cpu = (results.closed(model, key, 16, rows, name) for name in ("per_second", "server_cpu"))
    return f"{cpu.median / rate.median * 1e6:,.0f}" if rate and cpu and rate.median else ""


def _rate(figure: Figure | None) -> str:
    if figure is None:
        return "–"
    return f"{figure.median:,.0f}" if figure.least == figure.greatest else f"{figure.median:,.0f} ± {figure.spread:.0%}"


def _milliseconds(figure: Figure | None) -> str:
    return f"{number(figure.median / 1000)}" if figure else "–"


def _footprint(results: Results) -> str:
    head = ["server", "start to first right answer, s", *(f"MiB, {model}" for model in results.models)]
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for key, one in results.servers.items():
        cold = results.cold(key)
        memory = [results.memory(model, key) for model in results.models]
        if cold is None and not any(memory):
            continue
        start = f"{cold.median:.2f} ({cold.least:.2f} to {cold.greatest:.2f})" if cold else "–"
        lines.append(f"| {one['label']} | {start} | {' | '.join(f'{m:.0f}' if m else '–' for m in memory)} |")
    return "\n".join(lines)
