"""What gather reads, and what it remembers of the router's statistics between two passes."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from tests.support.replicasets import ReplicaSets
from tests.unit.core.causes import CONFIG_MAP
from tests.unit.serving.make import ANALYSIS, CANARY, NOW, UID, candidate, digest, snapshot, stable, version, workload

from tidemill.config import OperatorConfig
from tidemill.core.plan import Key
from tidemill.core.podfailure import LOOK_SECONDS, ObjectEvent, PodFailure
from tidemill.engine.contract import Deps
from tidemill.errors import Stalled
from tidemill.kube.cache import Cache
from tidemill.kube.scraper import Answer, Limits
from tidemill.serving import plan, reconcilers
from tidemill.serving.baseline import encode
from tidemill.serving.builders import router, server
from tidemill.serving.policy import rollout, slo
from tidemill.serving.reconciler import ModelDeploymentReconciler
from tidemill.serving.snapshot import Snapshot, children_of
from tidemill.serving.state import State, Target

Parse = Callable[[bytearray], Any]

KEY = Key("ModelDeployment", "team", "churn")
STABLE, CANDIDATE = children_of("churn", version(1))[0], children_of("churn", version(2))[0]


class Clock:
    """A clock that moves when told."""

    def __init__(self) -> None:
        self.time = NOW

    def now(self) -> datetime:
        return self.time

    def monotonic(self) -> float:
        return self.time.timestamp()


@dataclass
class Client(ReplicaSets):
    """Answers scrapes with made-up statistics: address → cluster → requests."""

    counts: dict[str, dict[str, int]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    async def read(
        self, namespace: str, owner: str, urls: list[str], limits: Limits, parse: Parse
    ) -> list[Answer[Any]]:
        self.asked += urls
        return [self.answer(url.split("//")[1].split(":9901")[0], parse) for url in urls]

    def answer(self, address: str, parse: Parse) -> Answer[Any]:
        if address not in self.counts:
            return Answer(error="it refused the connection or cannot be reached")
        lines = []
        for cluster, requests in self.counts[address].items():
            head = f'{{envoy_response_code_class="2",envoy_cluster_name="{cluster}"}}'
            lines.append(f"envoy_cluster_upstream_rq_xx{head} {requests}")
        return Answer(parse(bytearray("\n".join(lines).encode())))


CONFIG = OperatorConfig(namespace="ml-system", scraper_namespaces=(("metrics", "enabled"),))


class World:
    def __init__(self) -> None:
        self.client, self.cache, self.clock = Client(), Cache(), Clock()
        self.reconciler = self.leader()
        self._version = 0

    def put(self, obj: dict[str, Any]) -> None:
        self._version += 1
        obj["metadata"]["resourceVersion"] = str(self._version)
        obj["metadata"].setdefault("uid", f"u-{obj['kind']}-{obj['metadata']['name']}")
        obj["metadata"].setdefault("namespace", "team")
        self.cache.put(obj)

    def deployment(self, status: dict[str, Any], spec: dict[str, Any] | None = None) -> None:
        found = snapshot(spec or {"rollout": {**CANARY, "analysis": ANALYSIS}})
        self.put({**found.object, "status": status})

    def model_version(self, name: str, pipeline: str, number: int, **meta: Any) -> None:
        spec = {"pipeline": pipeline, "number": number, "digest": digest(number), "uri": "pvc://m/x"}
        meta = {"name": name, **meta}
        obj = {"apiVersion": "tidemill.io/v1alpha1", "kind": "ModelVersion", "metadata": meta}
        self.put({**obj, "spec": {**spec, "formats": ["onnx"]}})

    def router_pod(self, name: str, address: str, ready: bool = True, **meta: Any) -> None:
        labels = router.labels(snapshot())
        self.put(self.client.deployment("churn-router", snapshot().object))
        status = {"podIP": address, "conditions": [{"type": "Ready", "status": str(ready)}]}
        meta = {"name": name, "labels": labels, "ownerReferences": self.client.owners("churn-router"), **meta}
        self.put({"apiVersion": "v1", "kind": "Pod", "metadata": meta, "status": status})

    def leader(self) -> ModelDeploymentReconciler:
        deps = Deps(self.client, self.cache, CONFIG, self.clock, self.client)  # type: ignore[arg-type]
        return ModelDeploymentReconciler(deps)

    async def look_anew(self, seconds: float = 0) -> Snapshot:
        """What a new leader sees."""
        self.reconciler = self.leader()
        return await self.look(seconds)

    async def look(self, seconds: float = 0) -> Snapshot:
        self.clock.time += timedelta(seconds=seconds)
        found = await self.reconciler.gather(KEY)
        assert found is not None
        return found

    def in_step(
        self, step: int, began: datetime, last: dict[str, Any] | None = None, baseline: str | None = None
    ) -> None:
        candidate = {
            "version": "churn-2",
            "digest": digest(2),
            "step": step,
            "startedAt": text(NOW),
            "stepStartedAt": text(began),
        }
        if last is not None:
            candidate["lastAnalysis"] = {"message": "as measured", "requests": 1, "checks": [], **last}
        if baseline is not None:
            candidate["baseline"] = baseline
        self.deployment({"stable": stable(1).to_json(), "candidate": candidate})
        for number in (1, 2):
            self.model_version(f"churn-{number}", "churn", number)


def text(when: datetime) -> str:
    return when.isoformat().replace("+00:00", "Z")


def requests(found: Snapshot, cluster: str = CANDIDATE) -> float:
    from tidemill.serving import router_stats

    assert found.measurement is not None
    return router_stats.total(found.measurement.before, found.measurement.after, cluster).requests


async def test_gone_or_going_is_none() -> None:
    world = World()
    assert await world.reconciler.gather(KEY) is None
    world.deployment({})
    obj = dict(world.cache.get("ModelDeployment", "team", "churn") or {})
    obj["metadata"] = {**obj["metadata"], "deletionTimestamp": text(NOW)}
    world.put(obj)
    assert await world.reconciler.gather(KEY) is None


async def test_a_spec_that_cannot_be_read_names_the_field() -> None:
    world = World()
    obj = snapshot().object
    world.put({**obj, "spec": {"model": {"pipeline": "churn"}, "rollout": {"strategy": "BlueGreen"}}, "status": {}})
    with pytest.raises(Stalled) as caught:
        await world.reconciler.gather(KEY)
    assert caught.value.reason == "InvalidSpec"
    assert "rollout.strategy" in caught.value.message and "Canary" in caught.value.message


async def test_policies_name_the_operators_namespace_and_the_scrapers() -> None:
    world = World()
    world.deployment({})
    found = (await world.look()).settings.network
    assert (found.operator_namespace, found.scraper_namespace_labels) == ("ml-system", (("metrics", "enabled"),))


async def test_versions_of_the_pipeline_only() -> None:
    world = World()
    world.deployment({})
    world.model_version("churn-1", "churn", 1)
    world.model_version("fraud-1", "fraud", 1)
    found = await world.look()
    assert [v.name for v in found.versions] == ["churn-1"] and not found.pipeline_exists


async def test_why_there_is_no_version_yet_is_what_the_pipeline_says() -> None:
    world = World()
    world.deployment({})
    cause = {"type": "Ready", "status": "Unknown", "reason": "RunCannotStart", "message": "exceeded quota: team"}
    pipeline = {"apiVersion": "tidemill.io/v1alpha1", "kind": "TrainingPipeline", "metadata": {"name": "churn"}}
    world.put({**pipeline, "spec": {}, "status": {"observedGeneration": 1, "conditions": [cause]}})
    made = plan.plan(await world.look())
    (ready,) = [c for c in made.status["conditions"] if c["type"] == "Ready"]
    assert ready["reason"] == "WaitingForVersion"
    assert ready["message"].endswith("no model version yet; it says RunCannotStart: exceeded quota: team")
    world.put({**pipeline, "spec": {}, "status": {"observedGeneration": -1, "conditions": [cause]}})
    assert (await world.look()).pipeline_says == "", "nobody has looked at it"


@pytest.mark.parametrize(
    ("model", "covered", "others"),
    [
        ({"version": "churn-2"}, ["churn-2"], ["churn-1", "churn-3"]),
        ({"pipeline": "churn", "number": 2}, ["churn-1", "churn-2", "churn-3"], []),
        ({"pipeline": "fraud"}, ["fraud-1"], ["churn-1", "churn-2", "churn-3"]),
    ],
    ids=["pinned name", "pinned number", "other pipeline"],
)
async def test_versions_of_the_status_are_known_whatever_spec_model_says(
    model: dict[str, Any], covered: list[str], others: list[str]
) -> None:
    world = World()
    status = {"stable": stable(2).to_json(), "previous": stable(1).to_json(), "candidate": candidate(3).to_json()}
    world.deployment(status, {"model": model})
    for number in (1, 2, 3):
        world.model_version(f"churn-{number}", "churn", number)
    world.model_version("fraud-1", "fraud", 1)
    world.put({**server.deployment(snapshot(), version(1)), "status": {}})
    found = await world.look()
    assert [v.name for v in found.versions] == covered and [v.name for v in found.others] == others
    assert all(found.version(f"churn-{n}", digest(n)) is not None for n in (1, 2, 3))
    assert found.workloads[0].version.recorded


@pytest.mark.parametrize("how", ["other content", "going", "gone"])
async def test_a_version_of_the_status_that_is_no_more(how: str) -> None:
    world = World()
    world.deployment({"stable": stable(1).to_json()}, {"model": {"pipeline": "fraud"}})
    if how != "gone":
        meta = {"deletionTimestamp": text(NOW)} if how == "going" else {}
        world.model_version("churn-1", "churn", 9 if how == "other content" else 1, **meta)
    found = await world.look()
    assert found.others == () and found.version("churn-1", digest(1)) is None


async def test_children_and_workloads_are_those_of_this_object() -> None:
    world = World()
    world.deployment({})
    mine = server.deployment(snapshot(), version(1))
    world.put({**mine, "status": {}})
    theirs = server.deployment(snapshot(), version(2))
    theirs["metadata"]["ownerReferences"][0]["uid"] = "somebody-else"
    world.put({**theirs, "status": {}})
    found = await world.look()
    assert [w.version.name for w in found.workloads] == ["churn-1"]
    assert [(c.kind, c.name) for c in found.children] == [("Deployment", STABLE)]
    assert found.object["metadata"]["uid"] == UID


async def test_a_settled_deployment_asks_no_router() -> None:
    world = World()
    world.deployment({"stable": stable(1).to_json()})
    world.router_pod("r", "10.0.0.1")
    found = await world.look()
    assert world.client.asked == [] and found.router.ready == 1 and found.measurement is None


async def test_objectives_are_counted_by_leaders_that_live_shorter_than_a_minute() -> None:
    """Every look is one of a new process; the status that the one before wrote is all that it knows."""
    world, spec = World(), {"slo": {"availability": 0.9}}
    world.router_pod("r", "10.0.0.1")
    for number in (1, 2):
        world.model_version(f"churn-{number}", "churn", number)
    status: dict[str, Any] = {"stable": stable(1).to_json()}
    for elapsed in range(5):
        world.client.counts["10.0.0.1"] = {STABLE: 100 + 10 * elapsed}
        world.deployment(status, spec)
        found = await world.look_anew(60)
        measured = slo.measured(found)
        assert measured is not None
        status["slo"] = measured.to_json()
    assert measured.availability is not None and measured.availability.requests == 40
    asked = len(world.client.asked)
    world.deployment(status, spec)
    await world.look_anew(30)
    assert len(world.client.asked) == asked == 5, "half a minute later nothing is due"
    world.deployment(status, {**spec, "suspend": True})
    await world.look_anew(300)
    assert len(world.client.asked) == asked


async def test_a_stretch_is_measured_from_the_pass_that_began_it() -> None:
    world = World()
    world.router_pod("r", "10.0.0.1")
    world.client.counts = {"10.0.0.1": {CANDIDATE: 0, STABLE: 100}}
    world.in_step(-1, NOW)
    began = await world.look()
    assert began.measurement is None
    world.in_step(0, NOW, baseline=encode(began.router.scrapes, [STABLE, CANDIDATE]))
    world.client.counts["10.0.0.1"] = {CANDIDATE: 7, STABLE: 200}
    found = await world.look(5)
    assert found.measurement is not None and found.measurement.start == NOW
    assert (requests(found), requests(found, STABLE)) == (7, 100)


async def test_leaders_that_live_shorter_than_an_interval_go_on_measuring() -> None:
    """Every look is one of a new process; what decides is in the status alone."""
    world = World()
    world.router_pod("r", "10.0.0.1")
    world.client.counts = {"10.0.0.1": {CANDIDATE: 500}}
    world.in_step(-1, NOW)
    baseline = encode((await world.look_anew()).router.scrapes, [STABLE, CANDIDATE])
    for elapsed in (1, 2, 3):
        world.in_step(0, NOW, baseline=baseline)
        world.client.counts["10.0.0.1"] = {CANDIDATE: 500 + 9 * elapsed}
        found = await world.look_anew(5)
        assert found.measurement is not None and found.measurement.start == NOW
        assert requests(found) == 9 * elapsed


async def test_without_stats_of_the_start_counting_begins_now() -> None:
    world = World()
    world.router_pod("r", "10.0.0.1")
    world.client.counts = {"10.0.0.1": {CANDIDATE: 500}}
    world.in_step(0, NOW - timedelta(seconds=60))
    first = await world.look()
    assert first.measurement is not None and first.measurement.start == NOW and requests(first) == 0
    world.client.counts["10.0.0.1"] = {CANDIDATE: 520}
    assert requests(await world.look(15)) == 20


@pytest.mark.parametrize("last_since", [None, NOW - timedelta(seconds=90)], ids=["not judged yet", "carried on"])
async def test_without_stats_of_the_start_inconclusive_intervals_add_up(last_since: datetime | None) -> None:
    """The base is younger than the stretch; measurements that start from it carry on."""
    world = World()
    world.router_pod("r", "10.0.0.1")
    world.client.counts = {"10.0.0.1": {CANDIDATE: 500}}
    began = NOW - timedelta(seconds=120)
    few = {"time": text(NOW - timedelta(seconds=10)), "since": text(last_since or began), "verdict": "Inconclusive"}
    world.in_step(0, began, few if last_since else None)
    assert requests(await world.look()) == 0
    for interval in (1, 2, 3):
        world.client.counts["10.0.0.1"] = {CANDIDATE: 500 + 20 * interval}
        found = await world.look(15)
        assert found.measurement is not None and found.measurement.start == NOW
        assert requests(found) == 20 * interval
        few = {"time": text(found.now), "since": text(found.measurement.start), "verdict": "Inconclusive"}
        world.in_step(0, began, few)


async def test_a_judged_measurement_begins_a_new_stretch_an_inconclusive_one_carries_on() -> None:
    world = World()
    world.router_pod("r", "10.0.0.1")
    world.client.counts = {"10.0.0.1": {CANDIDATE: 0}}
    world.in_step(0, NOW)
    await world.look()
    world.client.counts["10.0.0.1"] = {CANDIDATE: 10}
    await world.look(15)
    few = {"time": text(world.clock.time), "since": text(NOW), "verdict": "Inconclusive"}
    world.in_step(0, NOW, few)
    world.client.counts["10.0.0.1"] = {CANDIDATE: 30}
    carried = await world.look(15)
    assert requests(carried) == 30
    judged = {"time": text(world.clock.time), "since": text(NOW), "verdict": "Successful"}
    world.in_step(0, NOW, judged, encode(carried.router.scrapes, [STABLE, CANDIDATE]))
    world.client.counts["10.0.0.1"] = {CANDIDATE: 35}
    assert requests(await world.look(15)) == 5


async def test_a_silent_router_is_named_and_a_late_one_counts_from_then_on() -> None:
    world = World()
    world.router_pod("a", "10.0.0.1")
    world.router_pod("b", "10.0.0.2")
    world.client.counts = {"10.0.0.1": {CANDIDATE: 0}}
    world.in_step(0, NOW)
    found = await world.look()
    assert found.measurement is not None and found.measurement.missing == (
        "router pod b: it refused the connection or cannot be reached",
    )
    world.client.counts["10.0.0.2"] = {CANDIDATE: 1000}
    found = await world.look(5)
    assert found.measurement is not None and found.measurement.missing == () and requests(found) == 0
    world.client.counts["10.0.0.2"] = {CANDIDATE: 1001}
    assert requests(await world.look(5)) == 1


async def test_a_router_that_never_reported_stats_is_an_error_of_the_measurement() -> None:
    """Until it does: then counting begins."""
    world = World()
    world.router_pod("a", "10.0.0.1")
    world.in_step(0, NOW, baseline="{}")
    await world.look()
    found = replace(await world.look(16), workloads=(workload(1), workload(2)))
    decided = rollout.analyse(found, State.of(found.status), Target(None))
    assert decided is not None and decided.state.candidate is not None
    why = "the router's statistics could not be read: router pod a: it refused the connection or cannot be reached"
    last = decided.state.candidate.last_analysis
    assert last is not None and (last.verdict, last.message, last.since) == ("Error", why, NOW)
    assert [(e.reason, e.message) for e in decided.events] == [("AnalysisError", f"measurement of churn-2: {why}")]
    world.in_step(0, NOW, last.to_json(), decided.state.candidate.baseline)
    world.client.counts["10.0.0.1"] = {CANDIDATE: 1000}
    assert requests(await world.look(5)) == 0
    world.client.counts["10.0.0.1"] = {CANDIDATE: 1030}
    found = await world.look(15)
    assert requests(found) == 30 and found.measurement is not None and found.measurement.missing == ()


async def test_a_pod_that_is_not_ready_is_not_asked() -> None:
    world = World()
    world.router_pod("a", "10.0.0.1", ready=False)
    world.in_step(0, NOW)
    assert (await world.look()).router.ready == 0 and world.client.asked == []


async def test_ipv6_addresses_are_bracketed() -> None:
    world = World()
    world.router_pod("a", "fd00::1")
    world.in_step(0, NOW)
    await world.look()
    assert world.client.asked[0].startswith("http://[fd00::1]:9901/stats/prometheus?filter=")


def test_mappers_wake_whom_it_concerns() -> None:
    world = World()
    world.deployment({})
    pinned = snapshot({"model": {"version": "churn-9"}}, name="pinned").object
    pinned["metadata"]["uid"] = "p"
    world.put({**pinned, "status": {"stable": stable(9).to_json()}})
    meta = {"name": "churn-9", "namespace": "team"}

    def names(keys: Any) -> list[str]:
        return sorted(k.name for k in keys)

    model_version = {"metadata": meta, "spec": {"pipeline": "churn"}}
    assert names(reconcilers.by_model_version(model_version, world.cache)) == ["churn", "pinned"]
    other = {"metadata": {"name": "x-1", "namespace": "team"}, "spec": {"pipeline": "x"}}
    assert names(reconcilers.by_model_version(other, world.cache)) == []
    pipeline = {"metadata": {"name": "churn", "namespace": "team"}}
    assert names(reconcilers.by_pipeline(pipeline, world.cache)) == ["churn"]
    quiet = {"metadata": meta, "spec": {"deployment": "churn"}, "status": {"actions": [{"type": "Retrain"}]}}
    assert names(reconcilers.by_monitor(quiet, world.cache)) == []
    asking = {**quiet, "status": {"actions": [{"type": "Rollback"}]}}
    assert names(reconcilers.by_monitor(asking, world.cache)) == ["churn"]


async def test_only_pods_of_the_routers_own_deployment_are_router_pods() -> None:
    world = World()
    world.in_step(0, NOW)
    world.router_pod("own", "10.0.0.1")
    world.router_pod("labelled", "10.0.0.2", ownerReferences=[])
    world.router_pod("forged", "10.0.0.3", ownerReferences=[{**world.client.owners("churn-router")[0], "uid": "u-x"}])
    world.router_pod("siblings", "10.0.0.4", ownerReferences=world.client.owners("churn-monitor"))
    world.client.counts = {f"10.0.0.{i}": {CANDIDATE: 7} for i in range(1, 5)}
    found = await world.look()
    assert [p.name for p in found.router.pods] == ["own"] and found.router.ready == 1
    assert len(world.client.asked) == 1 and "10.0.0.1" in world.client.asked[0]


async def test_the_failure_of_a_pod_that_is_not_the_versions_own_is_not_reported() -> None:
    world = World()
    world.deployment({"stable": stable(1).to_json()})
    found = snapshot({"model": {"pipeline": "churn"}})
    world.model_version("churn-1", "churn", 1)
    made = server.deployment(found, version(1))
    world.put({**made, "metadata": {**made["metadata"], "uid": f"u-Deployment-{STABLE}"}})
    ended = {"terminated": {"exitCode": 3, "message": "ModelLoadFailed: not the server's own words", "reason": "Error"}}
    status = {"containerStatuses": [{"name": "server", "ready": False, "state": ended}]}
    labels = made["spec"]["template"]["metadata"]["labels"]
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "labels": labels}, "status": status}
    world.put(pod)
    (workload,) = (await world.look()).workloads
    assert workload.failure is None
    world.put({**pod, "metadata": {"name": "p", "labels": labels, "ownerReferences": world.client.owners(STABLE)}})
    (workload,) = (await world.look()).workloads
    assert workload.failure is not None and workload.failure.reason == "ModelLoadFailed"


async def test_what_keeps_a_pod_from_starting_is_read_from_its_events_when_nothing_else_says_it() -> None:
    world = World()
    world.deployment({"stable": stable(1).to_json()})
    world.model_version("churn-1", "churn", 1)
    made = server.deployment(snapshot({"model": {"pipeline": "churn"}}), version(1))
    world.put({**made, "metadata": {**made["metadata"], "uid": f"u-Deployment-{STABLE}"}})
    waiting = {"name": "server", "ready": False, "state": {"waiting": {"reason": "ContainerCreating"}}}
    meta = {
        "name": "p",
        "labels": made["spec"]["template"]["metadata"]["labels"],
        "ownerReferences": world.client.owners(STABLE),
        "creationTimestamp": text(NOW),
    }
    status = {"phase": "Pending", "containerStatuses": [waiting]}
    world.put({"apiVersion": "v1", "kind": "Pod", "metadata": meta, "status": status})
    world.client.said = {"u-Pod-p": [ObjectEvent(5, True, "FailedMount", CONFIG_MAP)]}
    (young,) = (await world.look()).workloads
    assert (young.failure, young.is_silent) == (None, True), "most start within seconds"
    (found,) = (await world.look(LOOK_SECONDS)).workloads
    assert found.failure == PodFailure("FailedMount", CONFIG_MAP)
    world.put({"apiVersion": "v1", "kind": "Pod", "metadata": meta, "status": {**status, "phase": "Running"}})
    (runs,) = (await world.look(LOOK_SECONDS)).workloads
    assert (runs.failure, runs.is_silent) == (None, False)


async def test_what_keeps_the_routers_pod_from_starting_is_read_from_its_events() -> None:
    world = World()
    world.in_step(0, NOW)
    world.router_pod("r", "", ready=False, creationTimestamp=text(NOW))
    pod = world.cache.get("Pod", "team", "r")
    assert pod is not None
    world.put({**pod, "status": {"phase": "Pending"}})
    world.client.said = {"u-Pod-r": [ObjectEvent(5, True, "FailedMount", CONFIG_MAP)]}
    router = (await world.look(LOOK_SECONDS)).router.workload
    assert router is not None
    assert (router.failure, router.is_silent) == (PodFailure("FailedMount", CONFIG_MAP), True)


async def test_an_answer_that_no_router_gives_is_named_without_its_words() -> None:
    world = World()
    world.router_pod("r", "10.0.0.1")
    world.in_step(0, NOW)
    world.client.counts = {"10.0.0.1": {CANDIDATE: -7777}}
    (pod,) = (await world.look()).router.pods
    assert pod.scrape is None and pod.error == "router pod r: a statistic in its answer is not a count"


@pytest.mark.parametrize("allowed", [False, True])
async def test_a_version_that_a_person_wrote_is_loaded_from_a_pickle_only_by_leave_of_the_deployment(
    allowed: bool,
) -> None:
    """Whatever the record says of itself: its status is the operator's, its spec is whoever's may write one."""
    world = World()
    world.model_version("imported", "none", 1)
    record = world.cache.get("ModelVersion", "team", "imported")
    assert record is not None
    approved = {"conditions": [{"type": "Approved", "status": "True"}]}
    world.put({**record, "spec": {**record["spec"], "formats": ["joblib"]}, "status": approved})
    world.deployment({}, {"model": {"version": "imported"}, "server": {"allowPickle": allowed}})
    plan = world.reconciler.plan(await world.look())
    assert plan.status is not None
    reasons = {c["type"]: c["reason"] for c in plan.status["conditions"]}
    servers = [o for o in plan.apply if o["kind"] == "Deployment" and "router" not in o["metadata"]["name"]]
    assert (reasons.get("Stalled"), len(servers)) == ((None, 1) if allowed else ("PickleNotAllowed", 0))


async def test_a_policy_that_spec_no_longer_asks_for_is_among_the_children_to_remove() -> None:
    world = World()
    world.deployment({"stable": stable(1).to_json()})
    found = snapshot()
    world.put({**server.network_policy(found)})
    assert ("NetworkPolicy", "churn-server-callers") in {(c.kind, c.name) for c in (await world.look()).children}


def stranger(name: str, owner: dict[str, Any] | None = None, **labels: str) -> dict[str, Any]:
    """A ready pod with the labels of the stable version's servers."""
    meta = {"name": name, "labels": {**server.labels(snapshot(), version(1)), **labels}}
    meta |= {"ownerReferences": [owner]} if owner else {}
    status = {"podIP": "10.0.0.66", "conditions": [{"type": "Ready", "status": "True"}]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "status": status}


async def test_a_pod_that_answers_for_a_version_and_is_nobodys_is_named() -> None:
    """No controller removes it, and the Service selects it: its labels are those of servers."""
    world = World()
    serving = {"version": "churn-1", "digest": digest(1), "since": "2026-11-23T11:00:00Z"}
    world.deployment({"stable": serving})
    world.model_version("churn-1", "churn", 1)
    made = server.deployment(snapshot(), version(1))
    status = {"readyReplicas": 1, "updatedReplicas": 1, "replicas": 1}
    world.put({**made, "metadata": {**made["metadata"], "uid": f"u-Deployment-{STABLE}"}, "status": status})
    world.put(stranger("own", world.client.owners(STABLE)[0]))
    world.router_pod("churn-router-1", "10.0.0.1")
    found = await world.look()
    assert [w.strangers for w in found.workloads] == [()]
    world.put(stranger("a-job", {"apiVersion": "batch/v1", "kind": "Job", "name": "j", "uid": "u", "controller": True}))
    world.put(stranger("by-hand"))
    world.put(stranger("of-another-version", None, **{"tidemill.io/version": "churn-2"}))
    found = await world.look()
    assert [w.strangers for w in found.workloads] == [("a-job", "by-hand")]
    written = plan.plan(found).status
    assert written is not None
    available = next(c for c in written["conditions"] if c["type"] == "Available")
    assert available["status"] == "True"
    assert "; pod a-job and 1 more has the labels of its servers but no ReplicaSet" in available["message"]


async def test_a_pod_that_gets_requests_as_a_router_and_is_nobodys_is_named() -> None:
    world = World()
    serving = {"version": "churn-1", "digest": digest(1), "since": "2026-11-23T11:00:00Z"}
    world.deployment({"stable": serving})
    world.model_version("churn-1", "churn", 1)
    made = server.deployment(snapshot(), version(1))
    status = {"readyReplicas": 1, "updatedReplicas": 1, "replicas": 1}
    world.put({**made, "metadata": {**made["metadata"], "uid": f"u-Deployment-{STABLE}"}, "status": status})
    world.put(stranger("own", world.client.owners(STABLE)[0]))
    world.router_pod("churn-router-1", "10.0.0.1")
    by_hand = stranger("by-hand")
    by_hand["metadata"]["labels"] = router.labels(snapshot())
    world.put(by_hand)
    found = await world.look()
    assert found.router.workload is not None and found.router.workload.strangers == ("by-hand",)
    assert [p.name for p in found.router.pods] == ["churn-router-1"], "what it says of itself is not read"
    written = plan.plan(found).status
    assert written is not None
    available = next(c for c in written["conditions"] if c["type"] == "Available")
    assert "; pod by-hand has the labels of the router but no ReplicaSet" in available["message"]


def test_a_service_selects_only_pods_that_the_operator_sees() -> None:
    """The cache holds pods of one label; a pod without it would answer and nobody could tell."""
    watched = next(w for w in reconcilers.WATCHES if w.kind == "Pod")
    key, _, value = str(watched.selector).partition("=")
    services = (
        (server.service(snapshot(), version(1)), server.labels(snapshot(), version(1))),
        (router.service(snapshot()), router.labels(snapshot())),
    )
    for service, labels in services:
        selected = service["spec"]["selector"]
        assert selected[key] == value
        assert selected.items() <= labels.items()
