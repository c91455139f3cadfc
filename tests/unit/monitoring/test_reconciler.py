"""What gather reads: the watched deployment, rivals, the pod, and the report at its pace."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pytest
from tests.support.replicasets import ReplicaSets
from tests.unit.monitoring.make import DIGEST, NOW, SPEC, ago, performance, report, snapshot, window

from tidemill.config import OperatorConfig
from tidemill.core.plan import Key, ObjectRef
from tidemill.core.podfailure import LOOK_SECONDS, ObjectEvent
from tidemill.engine.contract import Deps
from tidemill.errors import ApiError, Stalled
from tidemill.kube.cache import Cache
from tidemill.kube.scraper import Answer, Limits
from tidemill.monitoring import observe, plan, reconcilers
from tidemill.monitoring.builders import workload
from tidemill.monitoring.reconciler import ModelMonitorReconciler
from tidemill.monitoring.snapshot import Snapshot
from tidemill_contracts.ports import MONITOR_PORT, REPORT_PORT

Parse = Callable[[bytearray], Any]

KEY = Key("ModelMonitor", "team", "churn")
API = "tidemill.io/v1alpha1"


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
    """A pod that answers with one text, or not at all."""

    text: str | None = None
    asked: list[str] = field(default_factory=list)
    kinds: frozenset[str] = frozenset()
    prometheus_objects: dict[tuple[str, str], str] = field(default_factory=dict)
    """Uid of the controller by kind and name."""
    namespace: dict[str, Any] | ApiError | None = None
    namespaces_read: int = 0

    async def read(
        self, namespace: str, owner: str, urls: list[str], limits: Limits, parse: Parse
    ) -> list[Answer[Any]]:
        self.asked += urls
        answer = (
            Answer(parse(bytearray(self.text.encode())))
            if self.text
            else Answer(error="it refused the connection or cannot be reached")
        )
        return [answer for _ in urls]

    async def has_kind(self, api_version: str, kind: str) -> bool:
        return kind in self.kinds

    async def get_metadata(self, ref: ObjectRef) -> dict[str, Any] | None:
        if ref.kind == "Namespace":
            self.namespaces_read += 1
            if isinstance(self.namespace, ApiError):
                raise self.namespace
            return self.namespace
        owner = self.prometheus_objects.get((ref.kind, ref.name))
        if owner is None:
            return await super().get_metadata(ref)
        meta = {"name": ref.name, "namespace": ref.namespace, "uid": f"u-{ref.kind}-{ref.name}"}
        owners = [{"apiVersion": API, "kind": "ModelMonitor", "name": "churn", "uid": owner, "controller": True}]
        return {"apiVersion": ref.api_version, "kind": ref.kind, "metadata": {**meta, "ownerReferences": owners}}


CONFIG = OperatorConfig(
    namespace="ml-system", scraper_namespaces=(("metrics", "enabled"),), docs_url="https://git.example.com/t"
)


class World:
    def __init__(self, client: Client | None = None) -> None:
        self.client, self.cache, self.clock = client or Client(), Cache(), Clock()
        deps = Deps(self.client, self.cache, CONFIG, self.clock, self.client)  # type: ignore[arg-type]
        self.reconciler = ModelMonitorReconciler(deps)
        self._version = 0

    def put(self, obj: dict[str, Any]) -> None:
        self._version += 1
        obj["metadata"]["resourceVersion"] = str(self._version)
        obj["metadata"].setdefault("uid", f"u-{obj['kind']}-{obj['metadata']['name']}")
        obj["metadata"].setdefault("namespace", "team")
        self.cache.put(obj)

    def monitor(self, name: str = "churn", created: float = 60, **spec: Any) -> None:
        obj = snapshot({**SPEC, **spec}, name=name, created=created).object
        obj["metadata"]["uid"] = f"u-{name}"
        self.put(obj)

    def deployment(self, digest: str = DIGEST, **status: Any) -> None:
        stable = {"version": "churn-2", "digest": digest, "since": "2026-11-23T11:00:00Z"}
        spec = {"model": {"pipeline": "churn"}}
        obj = {"apiVersion": API, "kind": "ModelDeployment", "metadata": {"name": "churn"}, "spec": spec}
        self.put({**obj, "status": {"stable": stable, **status}})

    def pod(self, ready: bool = True, name: str = "churn-monitor-x", **meta: Any) -> None:
        """A pod of the monitor's Deployment, which is made when it is missing."""
        monitor = self.cache.get("ModelMonitor", "team", "churn")
        if monitor is not None:
            self.put(self.client.deployment("churn-monitor", monitor))
        status = {"podIP": "10.0.0.9", "conditions": [{"type": "Ready", "status": str(ready)}]}
        labels = workload.labels(snapshot())
        meta = {"name": name, "labels": labels, "ownerReferences": self.client.owners("churn-monitor"), **meta}
        self.put({"apiVersion": "v1", "kind": "Pod", "metadata": meta, "status": status})

    def own(self, made: dict[str, Any]) -> dict[str, Any]:
        """A child as it would be with the uid that the monitor has here."""
        owner = self.client.deployment("churn-monitor", self.cache.get("ModelMonitor", "team", "churn") or {})
        return {**made, "metadata": {**made["metadata"], **owner["metadata"], "namespace": "team"}}

    async def look(self, seconds: float = 0) -> Snapshot:
        self.clock.time += timedelta(seconds=seconds)
        found = await self.reconciler.gather(KEY)
        assert found is not None
        return found


def ready_world() -> World:
    world = World(Client(report(window(1)).to_json()))
    world.monitor()
    world.deployment()
    world.pod()
    return world


async def test_gone_is_none_and_a_bad_spec_names_the_field() -> None:
    world = World()
    assert await world.reconciler.gather(KEY) is None
    world.monitor()
    obj = dict(world.cache.get("ModelMonitor", "team", "churn") or {})
    world.put({**obj, "spec": {**SPEC, "window": {"seconds": 1}}})
    with pytest.raises(Stalled) as caught:
        await world.reconciler.gather(KEY)
    assert caught.value.reason == "InvalidSpec" and "window.seconds" in caught.value.message


async def test_the_report_of_the_version_in_service_is_read_from_the_pod() -> None:
    world = ready_world()
    found = await world.look()
    assert found.reading.report is not None and found.reading.time == NOW
    assert world.client.asked == [f"http://10.0.0.9:{REPORT_PORT}/v1/report?digest={DIGEST}&brief=true"]
    assert found.version_report is not None and len(found.judged) == 1


async def test_policies_name_the_operators_namespace_and_the_scrapers() -> None:
    found = (await ready_world().look()).settings.network
    assert (found.operator_namespace, found.scraper_namespace_labels) == ("ml-system", (("metrics", "enabled"),))


async def test_the_address_of_the_docs_reaches_the_rules() -> None:
    world = ready_world()
    world.client.kinds = frozenset({"PrometheusRule"})
    world.monitor(prometheus={})
    (rule,) = [o for o in plan.plan(await world.look()).apply if o["kind"] == "PrometheusRule"]
    urls = {r["annotations"]["runbook_url"].partition("#")[0] for r in rule["spec"]["groups"][0]["rules"]}
    assert urls == {"https://git.example.com/t/docs/runbooks.md"}


async def test_a_monitor_of_before_is_read_where_it_answers() -> None:
    """Until an upgrade reaches its Deployment, the pod has one port for all."""
    world = ready_world()
    made = world.own(workload.deployment(snapshot()))
    (container,) = made["spec"]["template"]["spec"]["containers"]
    container["ports"] = [{"name": "http", "containerPort": MONITOR_PORT}]
    world.put(made)
    await world.look()
    assert world.client.asked == [f"http://10.0.0.9:{MONITOR_PORT}/v1/report?digest={DIGEST}&brief=true"]
    world.put(world.own(workload.deployment(snapshot())))
    await world.look(60)
    assert world.client.asked[1:] == [f"http://10.0.0.9:{REPORT_PORT}/v1/report?digest={DIGEST}&brief=true"]


async def test_the_report_is_read_at_its_pace() -> None:
    world = ready_world()
    await world.look()
    await world.look(19)
    assert len(world.client.asked) == 1
    await world.look(1)
    assert len(world.client.asked) == 2


async def test_a_monitor_that_was_made_again_knows_nothing_of_its_predecessors_report() -> None:
    world = ready_world()
    assert (await world.look()).reading.report is not None
    again = dict(world.cache.get("ModelMonitor", "team", "churn") or {})
    world.cache.remove("ModelMonitor", "team", "churn")  # deleted and made again before anybody looked
    world.put({**again, "metadata": {**again["metadata"], "uid": "u-made-again"}})
    world.pod()
    world.client.text = None  # and it does not answer
    found = (await world.look(1)).reading
    assert (found.report, found.time) == (None, None)
    assert len(world.client.asked) == 2


async def test_another_version_is_read_at_once() -> None:
    world = ready_world()
    await world.look()
    other = "sha256:" + "3" * 64
    world.deployment(digest=other)
    found = await world.look(1)
    assert world.client.asked[-1].endswith(f"?digest={other}&brief=true")
    assert found.version_report is None  # the answer is about the other one


async def test_another_pod_is_asked_at_once() -> None:
    world = ready_world()
    await world.look()
    world.cache.remove("Pod", "team", "churn-monitor-x")
    world.pod(name="churn-monitor-y")
    world.client.text = None
    assert (await world.look(1)).reading.report is None, "what the pod before said does not make this one ready"


async def test_a_report_of_another_metric_is_read_again_at_once() -> None:
    world = World(Client(report(window(1), performance=performance(0.4, degraded=True)).to_json()))
    world.deployment()
    for metric, known in (("accuracy", True), ("f1", False)):
        world.monitor(performance={"metric": metric, "min": 0.8})
        world.pod()
        assert ((await world.look(1)).reading.report is not None) is known
    assert len(world.client.asked) == 2


async def test_no_answer_says_why_and_when_the_last_one_was() -> None:
    world = ready_world()
    await world.look()
    world.client.text = None
    found = await world.look(20)
    assert found.reading.report is None and "cannot be reached" in found.reading.error
    assert found.reading.time == NOW
    world.pod(ready=False)
    found = await world.look(1)
    assert not found.pod_ready and found.reading.time == NOW and found.reading.report is None


async def test_a_report_that_cannot_be_read_is_no_crash() -> None:
    world = ready_world()
    world.client.text = "<html>"
    assert "is not valid" in (await world.look()).reading.error


async def test_nothing_is_asked_without_a_pod_or_a_version() -> None:
    world = World()
    world.monitor()
    assert (await world.look()).served is None
    world.deployment()
    found = await world.look()
    assert found.served is not None and not found.pod_ready and world.client.asked == []


async def test_the_older_monitor_holds_the_deployment() -> None:
    world = ready_world()
    world.monitor("elder", created=100)
    world.monitor("other", created=200, deployment="fraud")
    assert (await world.look()).holder == "elder"
    elder = await world.reconciler.gather(KEY._replace(name="elder"))
    assert elder is not None and elder.holder is None


async def test_the_service_of_a_deleted_monitor_is_in_the_way() -> None:
    world = ready_world()
    elder = snapshot(name="elder").object
    elder["metadata"]["uid"] = "u-elder"
    service = workload.service(snapshot(name="elder"))
    world.put(service)
    assert (await world.look()).predecessor == "elder"
    world.put(elder)
    assert (await world.look()).predecessor is None


async def test_prometheus_kinds_are_looked_up_only_when_wanted() -> None:
    world = ready_world()
    world.client.kinds = frozenset({"ServiceMonitor"})
    assert (await world.look()).prometheus_kinds == frozenset()
    world.monitor(prometheus={"labels": {}})
    assert (await world.look()).prometheus_kinds == {"ServiceMonitor"}


@pytest.mark.parametrize("status", ["True", "False"])  # False: one of the two kinds is missing
async def test_of_prometheus_objects_that_nobody_asks_for_any_more_only_its_own_go(status: str) -> None:
    """The status said that they were applied; one of that name was somebody else's all the time."""
    world = ready_world()
    world.client.prometheus_objects = {
        ("ServiceMonitor", "churn-monitor"): "u-churn",
        ("PrometheusRule", "churn-monitor"): "u-somebody",
    }
    found = world.cache.get("ModelMonitor", "team", "churn") or {}
    said = {"type": "PrometheusReady", "status": status, "reason": "R", "message": "m"}
    said |= {"lastTransitionTime": "2026-11-23T11:00:00Z", "observedGeneration": 1}
    world.put({**found, "status": {**(found.get("status") or {}), "conditions": [said]}})
    obsolete = [r for r in (await world.look()).children if r.api_version.startswith("monitoring")]
    assert [(r.kind, r.name, r.uid) for r in obsolete] == [
        ("ServiceMonitor", "churn-monitor", "u-ServiceMonitor-churn-monitor")
    ]


DEPLOYMENT: dict[str, Any] = {"spec": {"model": {"version": "x-1"}}, "status": {}}


@pytest.mark.parametrize(
    ("status", "version", "want"),
    [
        ({}, None, (None, None, None, None)),
        (
            {"stable": {"version": "b", "digest": "d"}, "previous": {"version": "a", "digest": "c"}},
            {"spec": {"pipeline": "p"}},
            ("b", "a", None, "p"),
        ),
        (
            {
                "stable": {"version": "b", "digest": "d"},
                "previous": {"version": "a", "digest": "c"},
                "candidate": {"version": "e", "digest": "f"},
                "failedVersions": [{"version": "a", "digest": "c"}],
            },
            None,
            ("b", None, "e", None),
        ),
    ],
    ids=["nothing yet", "a way back", "the way back has failed itself"],
)
def test_served(status: dict[str, Any], version: Any, want: tuple[Any, ...]) -> None:
    found = observe.served({**DEPLOYMENT, "status": status}, version)
    assert (found.version, found.previous, found.candidate, found.pipeline) == want


@pytest.mark.parametrize(
    ("status", "want"),
    [
        ({}, "its pod is not ready"),
        (
            {"containerStatuses": [{"state": {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}}]},
            "ImagePullBackOff: no such image",
        ),
        (
            {
                "containerStatuses": [
                    {
                        "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}},
                        "lastState": {"terminated": {"message": "disk full"}},
                    }
                ]
            },
            "CrashLoopBackOff: disk full",
        ),
        (
            {"conditions": [{"type": "PodScheduled", "status": "False", "message": "0/1 nodes"}]},
            "Unschedulable: 0/1 nodes",
        ),
    ],
)
def test_problem(status: dict[str, Any], want: str) -> None:
    pod = {"status": status}
    assert observe.problem(observe.failure(pod), pod) == want


async def test_why_nothing_is_served_is_what_the_deployment_says() -> None:
    world = World()
    world.monitor()
    refused = {"type": "Ready", "status": "False", "reason": "PodsRefused", "message": "exceeded quota: team"}
    world.deployment(stable=None, observedGeneration=1, conditions=[refused])
    made = plan.plan(await world.look())
    assert made.status is not None
    message = made.status["conditions"][0]["message"]
    assert message == "ModelDeployment churn serves no version yet; it says PodsRefused: exceeded quota: team"


async def test_what_keeps_the_pod_from_starting_is_read_from_its_events() -> None:
    world = World()
    world.monitor()
    world.deployment()
    world.pod(ready=False, creationTimestamp="2026-11-23T12:00:00Z")
    pod = world.cache.get("Pod", "team", "churn-monitor-x")
    assert pod is not None
    world.put({**pod, "status": {"phase": "Pending"}})
    attached = "Multi-Attach error for volume: it is already used by pod(s) on another node"
    world.client.said = {pod["metadata"]["uid"]: [ObjectEvent(5, True, "FailedAttachVolume", attached)]}
    found = await world.look(LOOK_SECONDS)
    assert found.pod_problem == f"FailedAttachVolume: {attached}"
    made = plan.plan(found)
    assert (made.requeue_after or 999) <= LOOK_SECONDS, "events wake nobody"
    assert made.status is not None
    assert attached in made.status["conditions"][0]["message"]


def test_mappers_wake_whom_it_concerns() -> None:
    world = World()
    world.monitor()
    world.monitor("elder", created=100)
    world.monitor("other", deployment="fraud")
    deployment = {"metadata": {"name": "churn", "namespace": "team"}}
    assert sorted(k.name for k in reconcilers.by_deployment(deployment, world.cache)) == ["churn", "elder"]
    gone = {"metadata": {"name": "elder", "namespace": "team"}, "spec": {"deployment": "churn"}}
    assert [k.name for k in reconcilers.by_rival(gone, world.cache)] == ["churn"]
    assert ago(0) == NOW


@pytest.mark.parametrize(
    "owners",
    [
        pytest.param([], id="labels alone"),
        pytest.param([{**ReplicaSets().owners("other")[0]}], id="a pod of another Deployment"),
        pytest.param([{**ReplicaSets().owners("churn-monitor")[0], "uid": "u-made-up"}], id="a uid that nothing has"),
        pytest.param([{**ReplicaSets().owners("churn-monitor")[0], "controller": False}], id="no controller"),
        pytest.param([{**ReplicaSets().owners("churn-monitor")[0], "kind": "Job"}], id="a Job of that name"),
    ],
)
async def test_a_pod_with_the_monitors_labels_is_asked_only_when_the_monitors_deployment_owns_it(owners) -> None:
    world = ready_world()
    world.cache.remove("Pod", "team", "churn-monitor-x")
    world.pod(name="stranger", ownerReferences=owners)
    found = await world.look()
    assert world.client.asked == [] and not found.pod_ready
    world.pod()
    assert (await world.look()).reading.report is not None and len(world.client.asked) == 1


async def test_a_deployment_of_the_monitors_name_that_is_not_its_own_has_no_pods() -> None:
    world = ready_world()
    monitor = world.cache.get("ModelMonitor", "team", "churn") or {}
    theirs = world.client.deployment(
        "churn-monitor", {**monitor, "metadata": {**monitor["metadata"], "uid": "u-theirs"}}
    )
    world.put(theirs)
    assert not (await world.look()).pod_ready and world.client.asked == []


async def test_of_a_report_that_cannot_be_read_no_word_gets_into_the_status() -> None:
    world = ready_world()
    world.client.text = '{"aws_secret": "hunter2"}'
    found = await world.look()
    assert found.reading.report is None
    assert "hunter2" not in found.reading.error and "aws_secret" not in found.reading.error
    assert "is not valid" in found.reading.error


ACTIONS = {"actions": {"retrain": {"causes": ["Drift"]}}}


async def test_the_switch_of_the_namespace_is_read_twice_a_minute_where_there_are_actions() -> None:
    world = ready_world()
    assert (await world.look()).actions_held == ""
    assert world.client.namespaces_read == 0
    world.monitor(**ACTIONS)
    world.client.namespace = {"metadata": {"name": "team", "labels": {"tidemill.io/actions": "disabled"}}}
    assert "has the label tidemill.io/actions=disabled" in (await world.look()).actions_held
    world.client.namespace = {"metadata": {"name": "team"}}
    assert "has the label" in (await world.look(29)).actions_held
    assert (await world.look(1)).actions_held == ""
    assert world.client.namespaces_read == 2


async def test_a_namespace_that_cannot_be_read_may_forbid_it() -> None:
    world = ready_world()
    world.monitor(**ACTIONS)
    world.client.namespace = ApiError(403, "Forbidden", "no right")
    assert "cannot be read, whose label tidemill.io/actions may forbid it" in (await world.look()).actions_held


@pytest.mark.parametrize(("triggers", "allows"), [(None, False), ({"monitors": {}}, True)])
async def test_whether_the_pipeline_trains_for_monitors_is_read_from_it(triggers: Any, allows: bool) -> None:
    world = ready_world()
    spec = {"triggers": triggers} if triggers else {}
    world.put({"apiVersion": API, "kind": "TrainingPipeline", "metadata": {"name": "churn"}, "spec": spec})
    served = (await world.look()).served
    assert served is not None and served.allows_retrain is allows
