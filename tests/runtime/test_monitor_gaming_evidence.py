"""Evidence against clients: e-values by exact sums, false alarms on honest populations, detection of scripted ones."""

import math
from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tidemill_contracts.gaming import FALSE_ALARMS_PER_MONTH, MAX_CLIENTS, MAX_LABEL_DIFFERENCE, TESTED
from tidemill_runtime.monitor import gaming_evidence
from tidemill_runtime.monitor.label_mix import POOL, LabelMix

BOUND = gaming_evidence.threshold(FALSE_ALARMS_PER_MONTH, MAX_CLIENTS * len(TESTED))
Bools = NDArray[np.bool_]
Attack = Callable[[np.random.Generator, Bools, Bools], Bools]  # of what agrees, and the predictions


def binomial(successes: int, trials: int, rate: float) -> float:
    return math.comb(trials, successes) * rate**successes * (1 - rate) ** (trials - successes)


@pytest.mark.parametrize("limit", [0.0, 0.1])
@pytest.mark.parametrize("bets", [(0.9, 0.2), (0.1, 0.3), (0.98, 0.02), (0.5, 0.75)])
def test_a_difference_within_the_limit_gains_nothing_in_expectation(bets: tuple[float, float], limit: float) -> None:
    for own, others in [(1, 1), (3, 2), (2, 7), (10, 1)]:
        k, m = (np.array(x) for x in zip(*product(range(own + 1), range(others + 1)), strict=True))
        ratios = np.exp(gaming_evidence.difference((k, own), (m, others), bets, limit))
        for a, b in product(np.linspace(0, 1, 21), repeat=2):
            if abs(a - b) <= limit + 1e-12:
                chances = [binomial(i, own, a) * binomial(j, others, b) for i, j in zip(k, m, strict=True)]
                assert np.dot(ratios, chances) <= 1 + 1e-9, (own, others, a, b)


def test_a_share_within_the_limit_gains_nothing_in_expectation() -> None:
    for limit, trials in product([0.05, 0.2, 0.5], [1, 5, 30]):
        ratios = np.exp(gaming_evidence.excess(np.arange(trials + 1), trials, limit))
        for share in np.linspace(0, limit, 6):
            assert np.dot(ratios, [binomial(k, trials, share) for k in range(trials + 1)]) <= 1 + 1e-9


def test_nothing_seen_and_impossible_limits_are_no_evidence() -> None:
    assert gaming_evidence.excess(0, 0, 0.2) == pytest.approx(0)
    assert gaming_evidence.excess(50, 50, 1.0) == 0
    assert gaming_evidence.excess(1, 50, 0.0) > BOUND  # one success excludes a share of 0
    nothing = gaming_evidence.difference((0, 0), (3, 5), (0.9, 0.1), 0.1)
    assert nothing == 0
    assert gaming_evidence.difference((3, 5), (3, 5), (0.55, 0.5), 0.1) == 0  # a bet within the limit


def test_evidence_grows_as_fast_as_the_literature_says() -> None:
    """The expected gain per label of the best bet is the Kullback-Leibler divergence, where the others are many."""
    labels, rate, others = 1000.0, 0.3, 0.8
    gain = gaming_evidence.difference((labels * rate, labels), (others * 1e9, 1e9), (rate, others), 0.0)
    divergence = rate * math.log(rate / others) + (1 - rate) * math.log((1 - rate) / (1 - others))
    assert float(gain) / labels == pytest.approx(divergence, rel=1e-3)


def population(
    seed: int,
    *,
    attacks: dict[int, Attack] | None = None,
    clients: int = 8,
    looks: int = 40,
    bound: float = BOUND,
    limit: float = MAX_LABEL_DIFFERENCE,
    spread: float = 0.0,
    drift: float = 0.0,
) -> list[tuple[int, int]]:
    """Return (look, client) of each client that is found. Calibrated answers of two classes, 100 labels a look.

    `spread`: how far a client's rate of right answers is from the score; `drift`: how far all are at the last look.
    """
    random = np.random.default_rng(seed)
    mix, suspected, found = LabelMix(), set[int](), []
    weights = random.dirichlet(np.full(clients, 3.0))
    shift = random.uniform(-spread, spread, clients + 1)
    for look in range(looks):
        who = random.choice(np.arange(1, clients + 1), size=100, p=weights)
        score, predicted = random.uniform(0.5, 1, 100), random.integers(0, 2, 100)
        agrees = random.random(100) < np.clip(score + shift[who] - drift * look / looks, 0, 1)
        for client, attack in (attacks or {}).items():
            own = who == client
            agrees[own] = attack(random, agrees[own], predicted[own])
        block: dict[int, dict[str, tuple[float, float]]] = {}
        for client, p, s, right in zip(who.tolist(), predicted, score, agrees, strict=True):
            cells = block.setdefault(client, {})
            agreeing, labels = cells.get(f"{p}/{int(s * 10)}", (0.0, 0.0))
            cells[f"{p}/{int(s * 10)}"] = (agreeing + bool(right), labels + 1)
        difference = mix.look(block, suspected, limit, bound)
        mix = LabelMix.from_json(mix.to_json())
        if difference is not None and difference.client not in suspected:
            suspected.add(difference.client)
            found.append((look, difference.client))
    return found


@pytest.mark.parametrize(
    "honest",
    [{}, {"spread": 0.05}, {"drift": 0.3}, {"clients": 2}, {"clients": 40}],
    ids=["alike", "within the limit", "the world moves", "two", "forty"],
)
def test_honest_populations_raise_no_more_alarms_than_stated(honest: dict[str, Any]) -> None:
    assert [population(seed, **honest) for seed in range(8)] == [[]] * 8  # 0.2 in 30 days, of all 1,024 tests
    few = {**honest, "bound": gaming_evidence.threshold(0.05, 1)}  # one in twenty clients, ever, at most
    wrong = sum(len(population(seed, **few)) for seed in range(20, 28))
    of = 8 * int(honest.get("clients", 8))
    assert wrong <= 0.05 * of + 3 * math.sqrt(0.05 * 0.95 * of)


def flipped(_: np.random.Generator, agrees: Bools, predicted: Bools) -> Bools:
    del predicted
    return ~agrees


def always_one(_: np.random.Generator, agrees: Bools, predicted: Bools) -> Bools:
    del agrees
    return np.equal(predicted, 1)


def confirming(_: np.random.Generator, agrees: Bools, predicted: Bools) -> Bools:
    del predicted
    return np.ones_like(agrees)


def half_flipped(random: np.random.Generator, agrees: Bools, predicted: Bools) -> Bools:
    del predicted
    return agrees ^ (random.random(len(agrees)) < 0.5)


@pytest.mark.parametrize(
    ("attack", "looks"), [(flipped, 20), (always_one, 20), (confirming, 60), (half_flipped, 60)], ids=lambda a: str(a)
)
def test_a_client_with_false_labels_is_found_and_nobody_else(attack: Attack, looks: int) -> None:
    for seed in range(100, 106):
        assert {c for _, c in population(seed, attacks={3: attack}, looks=looks)} == {3}, seed


def test_two_clients_with_false_labels_are_found_one_after_the_other_and_nobody_else() -> None:
    for seed in range(100, 106):
        found = [c for _, c in population(seed, attacks={1: flipped, 5: flipped})]
        assert sorted(found) == [1, 5], seed


def test_a_client_that_changes_is_found_as_what_is_remembered_is_bounded() -> None:
    mix = LabelMix()
    honest = {1: {"s": (80.0, 100.0)}, 2: {"s": (800.0, 1000.0)}, 3: {"s": (400.0, 500.0)}}
    assert [mix.look(honest, set(), 0.1, BOUND) for _ in range(200)] == [None] * 200
    found = [mix.look({**honest, 1: {"s": (20.0, 100.0)}}, set(), 0.1, BOUND) for _ in range(5)]
    (difference,) = [f for f in found if f is not None][:1]
    assert difference.client == 1
    assert difference.share < difference.expected == pytest.approx(0.8)


def test_of_two_that_differ_nobody_is_suspected() -> None:
    mix = LabelMix()
    for _ in range(50):
        assert mix.look({1: {"s": (80.0, 100.0)}, 2: {"s": (20.0, 100.0)}}, set(), 0.1, BOUND) is None


@pytest.mark.parametrize("labels", [100.0, 5_000.0], ids=["as many", "most"])
def test_who_sends_most_labels_makes_nobody_else_look_wrong(labels: float) -> None:
    mix = LabelMix()
    block = {
        1: {"s": (0.2 * labels, labels)},
        2: {"s": (80.0, 100.0)},
        3: {"s": (80.0, 100.0)},
        4: {"s": (80.0, 100.0)},
    }
    found = (mix.look(block, set(), 0.1, BOUND) for _ in range(3))
    assert next(f.client for f in found if f) == 1


def test_those_who_are_not_told_apart_are_compared_with_and_never_judged() -> None:
    mix = LabelMix()
    for _ in range(20):
        assert mix.look({POOL: {"s": (10.0, 100.0)}}, set(), 0.1, BOUND) is None
    assert mix.evidence == {}
    others = {2: {"s": (10.0, 100.0)}, POOL: {"s": (10.0, 100.0)}}
    with_one = [mix.look({1: {"s": (90.0, 100.0)}, **others}, set(), 0.1, BOUND) for _ in range(5)]
    assert {f.client for f in with_one if f} == {1}
    mix.forget([1])
    assert 1 not in mix.seen
