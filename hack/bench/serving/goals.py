"""The goals of the comparison, each judged on ratios of one run (or, for memory and cold start, on a limit)."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from hack.bench.serving.results import Figure, Results

FLOOR_SHARE = {1: 0.7, 16: 1.5, 300: 1.5}  # with several users ours answers in batches, the floor does not
PEER_FACTOR = {1: 3.5, 16: 6.0, 300: 6.0}
FOREST_FACTOR = 60.0
NATIVE_FOREST_FACTOR = 10.0
WORKERS_FACTOR = 1.6
LATENCY_SHARE = 1 / 3
COLD_SECONDS, NATIVE_COLD_SECONDS = 1.0, 2.5
MEMORY_MIB = 120.0
OWN, OWN_TWO, OWN_NATIVE, OWN_NATIVE_TWO = "tidemill", "tidemill-2", "tidemill-native", "tidemill-native-2"
FLOOR = "onnx"
PAIRS = (("iris", OWN, OWN_TWO), ("forest", OWN_NATIVE, OWN_NATIVE_TWO))  # one worker and two


@dataclass(frozen=True)
class Goal:
    """One line of the verdict; `met` is None where something was not measured."""

    what: str
    value: float | None
    unit: str
    beside: str  # what it is divided by, with its figure
    ratio: float | None
    goal: str
    met: bool | None
    remark: str = ""
    judged: tuple[str, str] | None = None  # model and server whose profile explains a miss


def judge(results: Results) -> list[Goal]:
    """Return every goal with its verdict."""
    return [
        *_answers(results),
        *_floor(results),
        *_peers(results),
        *_workers(results),
        *_latency(results),
        *_limits(results),
    ]


def missed(goals: list[Goal]) -> list[str]:
    """Return a sentence for each goal that was not met or not measured."""
    return [
        f"{one.what}: {'not measured' if one.met is None else shown(one)}, goal {one.goal}"
        for one in goals
        if one.met is not True
    ]


def shown(goal: Goal) -> str:
    """Return the figure that was judged."""
    if goal.ratio is not None:
        return f"{goal.ratio:.2f}×"
    return f"{goal.value:.3g} {goal.unit}" if goal.value is not None else "not measured"


def best_peer(results: Results, model: str, users: int, tuned: bool = False) -> tuple[str, Figure] | None:
    """Return the peer with the greatest throughput of single rows."""
    found = ((key, results.closed(model, key, users, 1)) for key in results.peers(model, tuned))
    known = [(key, one) for key, one in found if one is not None]
    return max(known, key=lambda pair: pair[1].median) if known else None


def _rate(what: str, own: Figure | None, other: Figure | None, name: str, factor: float, **more: Any) -> Goal:
    goal = f"≥ {factor:g}×"
    if own is None or other is None or not other.median:
        return Goal(what, own.median if own else None, "requests/s", name, None, goal, None, **more)
    ratio = own.median / other.median
    beside = f"{name}: {other.median:,.0f}"
    return Goal(what, own.median, "requests/s", beside, ratio, goal, ratio >= factor, **more)


def _users(count: int) -> str:
    return f"{count} user{'s' if count > 1 else ''}"


def _answers(results: Results) -> Iterator[Goal]:
    """Yield whether our servers gave every answer, and none but right ones: no ratio is worth anything otherwise."""
    ours = [key for key, one in results.servers.items() if one["kind"] == "own"]
    pairs = [(model, key) for model in results.models for key in ours if key in results.of(model)]
    errors = float(sum(results.errors(model, key) for model, key in pairs)) if pairs else None
    met = errors == 0 if errors is not None else None
    yield Goal("answers of ours that were wrong or missing", errors, "answers", "", None, "none", met)
    dropped, all_rows = results.dropped(1)
    met = dropped == 0 if all_rows else None
    yield Goal("prediction records of single rows that were dropped", dropped, "rows", "", None, "none", met)


def _floor(results: Results) -> Iterator[Goal]:
    for model in results.models:
        for users in results.document["settings"]["users"]:
            own, floor = (results.closed(model, key, users, 1) for key in (OWN, FLOOR))
            what = f"{model}, {_users(users)}, beside the ONNX floor"
            yield _rate(what, own, floor, "floor", FLOOR_SHARE[users], judged=(model, OWN))


def _peers(results: Results) -> Iterator[Goal]:
    for model in results.models:
        for users in results.document["settings"]["users"]:
            factor = FOREST_FACTOR if model == "forest" else PEER_FACTOR.get(users, PEER_FACTOR[16])
            yield _against(results, model, OWN, users, factor, f"{model}, {_users(users)}, beside the best peer")
    if "forest" in results.models:
        for users in (16, 300):
            what = f"forest natively, batching, {_users(users)}, beside the best peer"
            yield _against(results, "forest", OWN_NATIVE, users, NATIVE_FOREST_FACTOR, what)


def _against(results: Results, model: str, key: str, users: int, factor: float, what: str) -> Goal:
    own, best = results.closed(model, key, users, 1), best_peer(results, model, users)
    tuned = best_peer(results, model, users, tuned=True)
    remark = ""
    if own is not None and tuned is not None and tuned[1].median:
        remark = f"{own.median / tuned[1].median:.1f}× {results.servers[tuned[0]]['label']}"
    name = results.servers[best[0]]["label"] if best else "no peer"
    return _rate(what, own, best[1] if best else None, name, factor, remark=remark, judged=(model, key))


def _workers(results: Results) -> Iterator[Goal]:
    """Yield what a second worker gains: of rows that cost the generator about as much as the server, and of others."""
    for (model, one_key, two_key), users in itertools.product(PAIRS, (16, 300)):
        if model in results.models:
            two, one = (results.closed(model, key, users, 1) for key in (two_key, one_key))
            what = f"{model}{' natively' * (one_key == OWN_NATIVE)}, {_users(users)}, two workers beside one"
            yield _rate(what, two, one, "one worker", WORKERS_FACTOR, judged=(model, one_key))


def _latency(results: Results) -> Iterator[Goal]:
    """Yield the tail at half of what each server manages itself, and where both have what is half load for the peer."""
    for model in results.models:
        own, at_peers = results.open(model, OWN, 1, "p99"), results.at_peers_load(model, OWN, 1, "p99")
        yield _tail(results, model, own, f"{model}, p99 of one row at half load, beside the best peer")
        yield _tail(results, model, at_peers, f"{model}, p99 of one row at the best peer's half load, beside it")


def _tail(results: Results, model: str, own: Figure | None, what: str) -> Goal:
    goal = f"≤ {LATENCY_SHARE:.2f}×"
    found = ((key, results.open(model, key, 1, "p99")) for key in results.peers(model))
    known = [(key, one) for key, one in found if one is not None]
    if own is None or not known:
        return Goal(what, own.median if own else None, "µs", "no peer", None, goal, None)
    key, best = min(known, key=lambda pair: pair[1].median)
    ratio = own.median / best.median
    beside = f"{results.servers[key]['label']}: {best.median:,.0f}"
    return Goal(what, own.median, "µs", beside, ratio, goal, ratio <= LATENCY_SHARE, judged=(model, OWN))


def _limits(results: Results) -> Iterator[Goal]:
    for key, limit in ((OWN, COLD_SECONDS), (OWN_NATIVE, NATIVE_COLD_SECONDS)):
        if key in results.servers and any(model in results.servers[key]["models"] for model in results.models):
            cold = results.cold(key)
            value, met = (cold.median, cold.median <= limit) if cold else (None, None)
            what = f"cold start, {results.servers[key]['label']}"
            yield Goal(what, value, "s", "", None, f"≤ {limit:g} s", met)
    for model in results.models:
        mib = results.memory(model, OWN)
        met = mib <= MEMORY_MIB if mib is not None else None
        yield Goal(f"memory after the load, {model}", mib, "MiB", "", None, f"≤ {MEMORY_MIB:g} MiB", met)
