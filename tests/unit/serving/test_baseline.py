"""The counters at the start of a measurement survive a status, in its typed field and in the string of 0.1."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hack.generate import crd
from jsonschema import validate
from tests.unit.serving.make import NOW, ago, candidate, version, workload
from tests.unit.serving.test_reconciler import CANDIDATE, STABLE, World, requests

from tidemill.api.v1alpha1 import ModelDeployment
from tidemill.api.v1alpha1.model_deployment import CandidateStatus
from tidemill.core.parsing import parsed
from tidemill.kube.scraper import Answer
from tidemill.kube.transform import is_truncated, transform
from tidemill.serving import baseline, router_stats
from tidemill.serving.policy import rollout
from tidemill.serving.router_stats import LATENCY_BUCKETS, ClusterStats, Scrape
from tidemill.serving.state import State, Target

INF = float("inf")
OLD = Path(__file__).parents[2] / "golden/objects/0.1/modeldeployment.canary.json"
BUCKETS = {0.5: 2.0, 1.0: 2.0, 10.0: 6.0, INF: 7.0}
FULL = {
    "a": Scrape({"churn": ClusterStats(7.0, 1.0, BUCKETS), "other": ClusterStats(3.0, 0.0, {INF: 3.0})}, {}),
    "b": Scrape({}, {}),
}
LATER = {
    "a": Scrape({"churn": ClusterStats(10.0, 1.0, {0.5: 2.0, 1.0: 3.0, 10.0: 9.0, INF: 10.0})}, {}),
    "b": Scrape({"churn": ClusterStats(5.0, 0.0, {INF: 5.0})}, {}),
}


def status(**fields: Any) -> dict[str, Any]:
    return candidate(2, 0, step_started=0).model_copy(update=fields).to_json()


def read(stored: dict[str, Any]) -> dict[str, Scrape]:
    return baseline.of(parsed(CandidateStatus, json.loads(json.dumps(stored))))


@pytest.mark.parametrize("lost", ["baseline", "baselineCounters"])
def test_what_is_measured_is_the_same_from_either_field(lost: str) -> None:
    stored = status(**baseline.fields(FULL, ["churn", "unknown"]))
    del stored[lost]
    found = read(stored)
    assert set(found) == {"a", "b"}, "a pod without requests was there: all that it counts later is new"
    refused = 0 if lost == "baseline" else None
    assert found["a"].clusters["churn"] == ClusterStats(7.0, 1.0, {0.5: 2.0, 10.0: 6.0, INF: 7.0}, refused)
    expected = replace(router_stats.total(FULL, LATER, "churn"), client_errors=refused)
    assert router_stats.total(found, LATER, "churn") == expected
    assert router_stats.total(found, LATER, "churn").buckets == {0.5: 0.0, 1.0: 1.0, 10.0: 3.0, INF: 8.0}


def test_the_typed_field_says_what_its_names_promise() -> None:
    (first, *rest) = status(**baseline.fields(FULL, ["churn"]))["baselineCounters"]
    assert first == {
        "pod": "a",
        "service": "churn",
        "requests": 7,
        "errors": 1,
        "clientErrors": 0,
        "latencyBounds": [0.5, 10.0],
        "latencyCounts": [2, 6, 7],
    }
    none: dict[str, Any] = {"requests": 0, "errors": 0, "clientErrors": 0, "latencyBounds": [], "latencyCounts": []}
    assert rest == [{"pod": "b", "service": "churn", **none}]


def test_the_typed_field_counts_before_the_string() -> None:
    typed = baseline.fields(LATER, ["churn"])["baseline_counters"]
    found = read(status(baseline=baseline.encode(FULL, ["churn"]), baseline_counters=typed))
    assert found["a"].clusters["churn"].requests == 10


def test_a_step_without_an_analysis_records_nothing() -> None:
    stored = status(**baseline.NOTHING)
    assert not {"baseline", "baselineCounters"} & set(stored) and read(stored) == {}


def test_the_largest_record_passes_the_schema() -> None:
    """Every bucket of the router, the largest counts, and more pods than a router has."""
    top = 2**53
    buckets = {bound: float(top - 100 + n) for n, bound in enumerate([*map(float, LATENCY_BUCKETS), INF])}
    stats = ClusterStats(float(top), float(top), buckets, float(top))
    scrapes = {f"churn-router-{n:03}": Scrape({"a": stats, "b": stats}, {}) for n in range(40)}
    stored = status(**baseline.fields(scrapes, ["a", "b"]))
    schema = crd.object_schema(ModelDeployment)["properties"]["status"]["properties"]["candidate"]
    validate(stored, schema)
    assert len(stored["baselineCounters"]) == 32
    assert read(stored)["churn-router-000"].clusters["a"] == stats
    usual = status(**baseline.fields(dict(list(scrapes.items())[:3]), ["a", "b"]))
    assert len(json.dumps(usual)) < 20_000


def test_a_measured_deployment_is_cached_whole() -> None:
    """Passes over objects of which the cache holds a part are made one at a time, each with a read of the object."""
    buckets = {bound: 1000.0 + n for n, bound in enumerate([*map(float, LATENCY_BUCKETS), INF])}
    stats = ClusterStats(2000.0, 3.0, buckets)
    scrapes = {f"churn-router-5d9c7b6f4-{n}": Scrape({"a": stats, "b": stats}, {}) for n in range(3)}
    old = json.loads(OLD.read_text())
    stored = {**old, "status": {**old["status"], "candidate": status(**baseline.fields(scrapes, ["a", "b"]))}}
    assert not is_truncated(transform(stored))


@pytest.mark.parametrize("text", ["", "[]", "null", '{"a": 1}', '{"a": {"c": [1]}}', '{"a": {"c": [1, 0, {"x": 1}]}}'])
def test_a_string_of_another_making_counts_as_none(text: str) -> None:
    assert read(status(baseline=text)) == {}


async def test_a_canary_that_0_1_stored_mid_way_goes_on_with_its_baseline() -> None:
    world = World()
    old = json.loads(OLD.read_text())
    began = baseline.decode(old["status"]["candidate"]["baseline"])["churn-router-5d9c7b6f4-x2x7k"]

    def answered(stable: int, candidate: int) -> None:
        """The router pod has answered so many requests more since the step began."""
        more = {STABLE: stable, CANDIDATE: candidate}
        counted = {c: s.plus(ClusterStats(more[c], 0, {14.0: more[c]})) for c, s in began.clusters.items()}
        world.client.answer = lambda address, parse: Answer(Scrape(counted, {}))  # type: ignore[method-assign]

    world.put(old)
    world.router_pod("churn-router-5d9c7b6f4-x2x7k", "10.0.0.1")
    for number in (1, 2):
        world.model_version(f"churn-{number}", "churn", number)
    answered(500, 60)
    found = await world.look(5)
    assert found.measurement is not None and found.measurement.start == ago(10)
    assert (requests(found, STABLE), requests(found)) == (500, 60)

    found = replace(found, workloads=(workload(1), workload(2)), versions=(version(1), version(2)))
    decided = rollout.analyse(found, State.of(found.status), Target(None))
    assert decided is not None and decided.state.candidate is not None
    judged = decided.state.candidate
    assert judged.last_analysis is not None and judged.last_analysis.requests == 60
    assert judged.baseline_counters and judged.baseline, "from now on both are written"

    stored = judged.to_json()
    del stored["baseline"]
    world.put({**old, "status": {**old["status"], "candidate": stored}})
    answered(547, 67)
    found = await world.look_anew(5)
    assert found.measurement is not None and found.measurement.start == judged.last_analysis.time > NOW
    assert (requests(found, STABLE), requests(found)) == (47, 7)
