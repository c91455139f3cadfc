"""Whole rollouts, pass by pass, by an operator that restarts after each: what is stopped, tried again and promoted."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from tests.unit.serving import simulation
from tests.unit.serving.make import CANARY, digest, version, workload
from tests.unit.serving.test_reconciler import CANDIDATE, STABLE, World

from tidemill.kube.scraper import Answer
from tidemill.serving import plan
from tidemill.serving.router_stats import LATENCY_BUCKETS, ClusterStats, Scrape

pytestmark = pytest.mark.slow
SECONDS = 5
RATE = 40
STEPS = {"strategy": "Canary", "steps": [{"weight": w, "durationSeconds": 120} for w in (10, 50)]}
BOUNDS = [*map(float, LATENCY_BUCKETS), float("inf")]


@dataclass
class Shares:
    """What a version answers with."""

    errors: float = 0.0
    refused: float = 0.0


@dataclass
class Rollout:
    """Two routers, two versions, and clients; the operator is another one at every pass."""

    spec: dict[str, Any]
    stable: Shares = field(default_factory=Shares)
    candidate: Shares = field(default_factory=Shares)
    seed: int = 1

    def __post_init__(self) -> None:
        self.rng, self.world = random.Random(self.seed), World()
        self.routers = {f"10.0.0.{n}": {STABLE: ClusterStats(), CANDIDATE: ClusterStats()} for n in (1, 2)}
        self.events: list[str] = []
        self.steps: list[tuple[int, int, int]] = []
        for address in self.routers:
            self.world.router_pod(f"router-{address[-1]}", address)
        self.world.client.answer = self.answer  # type: ignore[method-assign]
        serving = {"version": "churn-1", "digest": digest(1), "since": "2026-11-23T11:00:00Z"}
        self.put({"stable": serving})
        for number in (1, 2):
            self.world.model_version(f"churn-{number}", "churn", number)

    def answer(self, address: str, parse: Any) -> Answer[Any]:
        """What a router counted since it started."""
        return Answer(Scrape(dict(self.routers[address]), {STABLE: 1, CANDIDATE: 1}))

    def put(self, status: dict[str, Any]) -> None:
        self.status = json.loads(json.dumps(status))
        self.world.deployment(self.status, {"rollout": self.spec})

    def traffic(self) -> None:
        """What clients do between two passes."""
        weight = (self.status.get("candidate") or {}).get("weight", 0)
        for counted in self.routers.values():
            for name, share, how in ((STABLE, 100 - weight, self.stable), (CANDIDATE, weight, self.candidate)):
                requests = simulation.poisson(self.rng, RATE * SECONDS / 2 * share / 100)
                errors = min(requests, simulation.poisson(self.rng, requests * how.errors))
                refused = min(requests - errors, round(requests * how.refused))
                buckets = dict.fromkeys(BOUNDS, float(requests))
                counted[name] = counted[name].plus(ClusterStats(requests, errors, buckets, refused))

    async def run(self, seconds: int) -> dict[str, Any]:
        """The status after so long; ends earlier when no candidate is left."""
        for _ in range(0, seconds, SECONDS):
            self.traffic()
            found = await self.world.look_anew(SECONDS)
            pods = (workload(1), workload(2)) if "candidate" in self.status else (workload(1),)
            found = replace(found, workloads=pods, versions=(version(1), version(2)))
            made = plan.plan(found)
            assert made.status is not None
            self.events += [event.reason for event in made.events]
            self.put(made.status)
            candidate = self.status.get("candidate")
            if candidate is None:
                break
            step = (candidate["attempt"], candidate["step"], candidate["weight"])
            if step not in self.steps:
                self.steps.append(step)
        return self.status


async def test_a_version_as_good_as_the_stable_one_is_promoted() -> None:
    check = {"metric": "ErrorRatio", "maxRatioToStable": 1.5}
    spec = {**STEPS, "analysis": {"checks": [check]}}
    rollout = Rollout(spec, Shares(0.02, 0.01), Shares(0.02, 0.01))
    status = await rollout.run(600)
    assert status["stable"]["version"] == "churn-2" and "failedVersions" not in status
    assert rollout.steps == [(1, -1, 0), (1, 0, 10), (1, 1, 50)]
    assert "AnalysisFailed" not in rollout.events and "RolloutRetried" not in rollout.events


@pytest.mark.parametrize("limits", [{}, {"max": 0.1}, {"requireProof": True}], ids=["ratio", "both", "proof"])
async def test_a_step_without_requests_to_the_stable_version_waits_for_no_comparison(limits: dict[str, Any]) -> None:
    """Stored rollouts may have no other step, and a person may end the steps before by hand."""
    proof = {"requireProof": True} if "requireProof" in limits else {}
    check = {"metric": "ErrorRatio", "maxRatioToStable": 1.5, **{k: v for k, v in limits.items() if k == "max"}}
    steps = {"strategy": "Canary", "steps": [{"weight": 100, "durationSeconds": 60}]}
    rollout = Rollout({**steps, "analysis": {**proof, "checks": [check]}}, Shares(0.02), Shares(0.02))
    status = await rollout.run(40)
    (result, *_) = [c for c in status["candidate"]["lastAnalysis"]["checks"] if "maxRatioToStable" in c]
    assert result["verdict"] == "Inconclusive"
    assert "waits for no comparison" in status["candidate"]["lastAnalysis"]["message"]
    status = await rollout.run(200)
    assert status["stable"]["version"] == "churn-2" and "failedVersions" not in status


async def test_a_limit_of_its_own_stops_a_candidate_that_has_all_requests() -> None:
    check = {"metric": "ErrorRatio", "max": 0.1, "maxRatioToStable": 1.5}
    steps = {"strategy": "Canary", "steps": [{"weight": 100, "durationSeconds": 60}]}
    rollout = Rollout({**steps, "analysis": {"checks": [check]}}, Shares(), Shares(0.5))
    status = await rollout.run(300)
    assert status["stable"]["version"] == "churn-1" and [f["version"] for f in status["failedVersions"]] == ["churn-2"]


@pytest.mark.parametrize("analysis", [{}, {"analysis": {"checks": [{"metric": "ErrorRatio", "max": 0.05}]}}])
async def test_a_version_that_refuses_everything_is_stopped_twice_and_remembered(analysis: dict[str, Any]) -> None:
    rollout = Rollout({**STEPS, **analysis}, Shares(refused=0.02), Shares(refused=1.0))
    status = await rollout.run(600)
    assert status["stable"]["version"] == "churn-1" and "candidate" not in status
    (failed,) = status["failedVersions"]
    assert (failed["version"], failed["reason"]) == ("churn-2", "AnalysisFailed")
    assert failed["message"].count("ClientErrorRatio is more than 2 ×") == 2
    assert rollout.steps == [(1, -1, 0), (1, 0, 10), (2, -1, 0), (2, 0, 10)]
    assert [e for e in rollout.events if e in ("RolloutRetried", "RolledBack")] == ["RolloutRetried", "RolledBack"]


async def test_short_steps_are_looked_at_before_they_end() -> None:
    """Steps shorter than the interval of measurements, and no analysis in the spec."""
    steps = [{"weight": w, "durationSeconds": 10} for w in (10, 20, 30, 40, 50, 60)]
    rollout = Rollout({"strategy": "Canary", "steps": steps}, Shares(), Shares(refused=1.0))
    status = await rollout.run(400)
    assert status["stable"]["version"] == "churn-1" and [f["version"] for f in status["failedVersions"]] == ["churn-2"]


async def test_with_clients_errors_ignored_nothing_is_compared_and_nothing_stored() -> None:
    rollout = Rollout({**CANARY, "analysis": {"clientErrors": "Ignore"}}, Shares(), Shares(refused=1.0))
    await rollout.run(30)
    assert "comparison" not in rollout.status["candidate"] and "baselineCounters" not in rollout.status["candidate"]
    status = await rollout.run(600)
    assert status["stable"]["version"] == "churn-2"


async def test_a_version_that_becomes_bad_in_its_last_step_is_stopped() -> None:
    rollout = Rollout({**STEPS, "analysis": {"checks": [{"metric": "ErrorRatio", "maxRatioToStable": 2}]}})
    rollout.stable = rollout.candidate = Shares(0.01)
    while not rollout.steps or rollout.steps[-1][1] < 1:
        await rollout.run(SECONDS)
    rollout.candidate = Shares(0.5)
    while rollout.steps[-1][0] == 1:
        await rollout.run(SECONDS)
    assert "ErrorRatio is more than 2 ×" in rollout.status["candidate"]["attemptReason"]


async def test_every_request_of_a_rollout_is_counted_once() -> None:
    """Each pass is made by a new operator; between two of them one router restarts."""
    check = {"metric": "ErrorRatio", "maxRatioToStable": 3}
    rollout = Rollout({**STEPS, "analysis": {"checks": [check]}}, Shares(0.02), Shares(0.02))
    while not rollout.steps or rollout.steps[-1][1] < 0:
        await rollout.run(SECONDS)
    start = {name: sum(r[name].requests for r in rollout.routers.values()) for name in (STABLE, CANDIDATE)}
    await rollout.run(60)
    before = {name: rollout.routers["10.0.0.2"][name].requests for name in (STABLE, CANDIDATE)}
    known = rollout.status["candidate"]["comparison"]["limits"][0]
    total = {n: sum(r[n].requests for r in rollout.routers.values()) - start[n] for n in (STABLE, CANDIDATE)}
    assert (known["stableRequests"], known["requests"]) == (total[STABLE], total[CANDIDATE])
    rollout.routers["10.0.0.2"] = {STABLE: ClusterStats(), CANDIDATE: ClusterStats()}
    await rollout.run(45)
    known = rollout.status["candidate"]["comparison"]["limits"][0]
    total = {
        n: sum(r[n].requests for r in rollout.routers.values()) + before[n] - start[n] for n in (STABLE, CANDIDATE)
    }
    assert (known["stableRequests"], known["requests"]) == (total[STABLE], total[CANDIDATE])
