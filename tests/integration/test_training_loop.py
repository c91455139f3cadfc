"""Training on a real API server: the operator under its shipped rights, the test as kubelet and Job controller.

Pods are made from the Job's own template in a namespace that enforces Pod Security `restricted`, so the API server
itself says whether the template passes.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.support import builders_training as make
from tests.support.invariants import DEFAULT_STATUS, check_status, kstatus
from tests.support.operators import InProcess, Installation, wait

from tidemill.core import conditions
from tidemill.core.conditions import format_time
from tidemill.kube import metrics

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("operator")]
Obj = dict[str, Any]
SECONDS = 30.0
"""Above the 20 s after which a pipeline says that its run goes on."""


class Namespace:
    """One namespace, its user, and its kubelet."""

    def __init__(self, installation: Installation, name: str) -> None:
        self.installation = installation
        self.name = name
        installation.kubectl("create", "serviceaccount", "default", "-n", name)  # no controller manager does it

    def apply(self, *objects: make.Builder) -> None:
        """`kubectl apply`, as a user."""
        found = []
        for builder in objects:
            obj = builder.obj()
            meta = {k: v for k, v in obj["metadata"].items() if k in ("name", "annotations")}
            found.append({**obj, "metadata": {**meta, "namespace": self.name}})
        self.installation.apply(*found)

    def get(self, kind: str, name: str) -> Obj:
        """An object that exists."""
        return self.installation.get(kind, name, "-n", self.name)

    def list(self, kind: str, *more: str) -> list[Obj]:
        """Objects of a kind, oldest first."""
        found: list[Obj] = self.installation.get(kind, "-n", self.name, *more)["items"]
        return sorted(found, key=lambda o: o["metadata"]["creationTimestamp"])

    def until(self, kind: str, name: str, fact: Callable[[Obj], Any], what: str) -> Obj:
        """Wait until a fact is true of an object, and hold its status against the invariants."""

        def probe() -> Obj | None:
            text = self.installation.kubectl("get", kind, name, "-n", self.name, "-o", "json", "--ignore-not-found")
            obj = json.loads(text) if text.strip() else None
            return obj if obj and fact(obj) else None

        obj: Obj = self.wait(probe, f"{kind} {name}: {what}")
        check_status(obj)
        return obj

    def wait(self, probe: Callable[[], Any], what: str) -> Any:
        """`wait`, which says how the namespace was found when it did not come."""
        try:
            return wait(probe, SECONDS, what)
        except AssertionError as error:
            kinds = "trainingpipelines,trainingruns,modelversions,modelimports,jobs,events"
            found = self.installation.kubectl("get", kinds, "-n", self.name, "-o", "wide")
            raise AssertionError(f"{error}\n{found}") from None

    def ready(self, name: str, status: str, reason: str) -> Obj:
        """Wait for the pipeline's Ready."""
        return self.until(
            "trainingpipeline", name, lambda o: condition(o) == (status, reason), f"Ready={status} {reason}"
        )

    def run_number(self, number: int) -> Obj:
        """Wait for the n-th run (from 1) with its Job, and return it."""

        def probe() -> Obj | None:
            runs = self.list("trainingrun")
            return runs[number - 1] if len(runs) >= number else None

        run: Obj = self.wait(probe, f"run {number} exists")
        self.until("job", run["metadata"]["name"], lambda o: True, "exists")
        return run

    def pod(self, run: Obj, **state: Any) -> Obj:
        """Make the Job's pod as the Job controller would, with a container state as the kubelet would report it."""
        job = self.get("job", run["metadata"]["name"])
        pod = make.pod(job, **state)
        pod["spec"] = job["spec"]["template"]["spec"]
        status = pod.pop("status")
        for field in ("uid", "resourceVersion", "creationTimestamp"):
            del pod["metadata"][field]
        self.installation.apply(pod)
        self.patch("pod", pod["metadata"]["name"], {"status": status})
        return pod

    def finish(self, run: Obj, report: Obj, exit_code: int = 0) -> None:
        """The pod ends, and the Job with it."""
        self.pod(run, terminated=make.terminated(exit_code, report))
        self.end_job(run, *(("Complete", "CompletionsReached") if exit_code == 0 else ("Failed", "PodFailurePolicy")))

    def end_job(self, run: Obj, kind: str, reason: str) -> None:
        """The Job controller reports the end."""
        now = format_time(datetime.now(UTC))
        first = "SuccessCriteriaMet" if kind == "Complete" else "FailureTarget"
        found = [
            {"type": t, "status": "True", "reason": reason, "lastTransitionTime": now, "lastProbeTime": now}
            for t in (first, kind)
        ]
        status: Obj = {"startTime": now, "conditions": found, "uncountedTerminatedPods": {}}
        status |= {"succeeded": 1, "completionTime": now} if kind == "Complete" else {"failed": 1}
        self.patch("job", run["metadata"]["name"], {"status": status})

    def patch(self, kind: str, name: str, body: Obj, subresource: str = "status") -> None:
        """Merge patch, as a controller of Kubernetes."""
        more = [f"--subresource={subresource}"] if subresource else []
        self.installation.kubectl("patch", kind, name, "-n", self.name, "--type=merge", "-p", json.dumps(body), *more)

    def train(self, name: str = "churn", number: int = 1, letter: str = "d", **report: Any) -> Obj:
        """Let the n-th run end well and wait until the pipeline knows; returns the run."""
        run = self.run_number(number)
        self.finish(run, make.result(letter, run=run, **report))
        self.until(
            "trainingpipeline",
            name,
            lambda o: (o.get("status") or {}).get("lastRun") == run["metadata"]["name"],
            "done",
        )
        return self.get("trainingrun", run["metadata"]["name"])

    def settled(self) -> None:
        """Wait until the operator writes nothing for a while."""
        last, since = writes(), time.monotonic()
        while time.monotonic() < since + 1.0:
            if writes() != last:
                last, since = writes(), time.monotonic()
            time.sleep(0.05)


@pytest.fixture
def cluster(installation: Installation, namespace: str) -> Namespace:
    """The test's namespace."""
    return Namespace(installation, namespace)


def condition(obj: Obj, kind: str = "Ready") -> tuple[str, str]:
    """Status and reason of a condition."""
    found = conditions.get((obj.get("status") or {}).get("conditions") or (), kind) or {}
    return found.get("status", ""), found.get("reason", "")


def writes() -> float:
    """Writing requests that the operator of this process has made, the Lease's apart."""
    samples = (s for m in metrics.REQUESTS.collect() for s in m.samples if s.name.endswith("_total"))
    return sum(s.value for s in samples if s.labels["method"] in ("POST", "PATCH", "DELETE"))


def trigger(run: Obj) -> str:
    """Why a run started."""
    return str(run["spec"]["trigger"]["type"])


def test_a_pipeline_trains_judges_registers_and_crowns(cluster: Namespace) -> None:
    cluster.apply(make.ConfigMap(), make.Pipeline().gates({"metric": "roc_auc", "min": 0.9}))
    run = cluster.run_number(1)
    cluster.pod(run, running={"startedAt": format_time(datetime.now(UTC))})
    name = run["metadata"]["name"]
    assert condition(run, "Reconciling") == ("True", "Running"), "by default"
    assert condition(cluster.get("trainingpipeline", "churn")) == ("Unknown", "Pending")
    pipeline = cluster.ready("churn", "Unknown", "RunInProgress")
    assert kstatus(pipeline) == "InProgress"
    made = pipeline["metadata"]["creationTimestamp"]
    assert pipeline["status"]["conditions"][0]["lastTransitionTime"] == made, "Unknown since it exists"
    assert cluster.get("trainingrun", name)["status"] == DEFAULT_STATUS["TrainingRun"], "it has no more to say"
    assert pipeline["status"]["activeRun"] == name
    run = cluster.train()

    assert trigger(run) == "NeverTrained"
    assert condition(run, "Succeeded") == ("True", "Succeeded")
    version = cluster.until("modelversion", "churn-1", lambda o: condition(o, "Approved")[0] == "True", "approved")
    assert version["spec"]["lineage"]["run"] == name
    pipeline = cluster.ready("churn", "True", "Trained")
    assert kstatus(pipeline) == "Current"
    assert pipeline["status"]["champion"]["version"] == "churn-1"
    assert cluster.get("persistentvolumeclaim", "tidemill-artifacts")["metadata"].get("ownerReferences") is None


def test_a_quick_run_costs_six_writes_and_idleness_none(operator: InProcess, cluster: Namespace) -> None:
    cluster.apply(make.ConfigMap(), make.Pipeline("first"))
    cluster.train("first")
    cluster.settled()
    before = writes()
    cluster.apply(make.Pipeline())
    run = wait(
        lambda: next((r for r in cluster.list("trainingrun") if r["spec"]["pipeline"] == "churn"), None), 20, "a run"
    )
    cluster.until("job", run["metadata"]["name"], lambda o: True, "exists")
    cluster.finish(run, make.result("f", run=run))
    cluster.ready("churn", "True", "Trained")
    cluster.settled()
    assert writes() - before == 6  # run, Job, version; status of run, version, pipeline

    before = writes()
    operator.call(operator.operator.resync.once())
    cluster.settled()
    assert writes() == before


def test_a_long_run_costs_seven_writes_and_keeps_its_times(cluster: Namespace) -> None:
    cluster.apply(make.ConfigMap(), make.Pipeline("first"))
    cluster.train("first")
    cluster.settled()
    before = writes()
    cluster.apply(make.Pipeline())
    run = wait(
        lambda: next((r for r in cluster.list("trainingrun") if r["spec"]["pipeline"] == "churn"), None), 20, "a run"
    )
    job = cluster.until("job", run["metadata"]["name"], lambda o: True, "exists")
    started = format_time(datetime.now(UTC))
    cluster.pod(run, running={"startedAt": started})
    cluster.ready("churn", "Unknown", "RunInProgress")
    cluster.pod(run, terminated={**make.terminated(0, make.result("f", run=run)), "startedAt": started})
    cluster.end_job(run, "Complete", "CompletionsReached")
    cluster.ready("churn", "True", "Trained")
    cluster.settled()

    assert writes() - before == 7  # besides the six, the pipeline's "a run goes on"
    status = cluster.get("trainingrun", run["metadata"]["name"])["status"]
    assert (status["startTime"], status["runningSince"]) == (job["metadata"]["creationTimestamp"], started)
    assert {c["type"] for c in status["conditions"]} == {"Ready", "Succeeded"}, "Reconciling of the default is gone"


def test_new_code_new_data_and_a_new_spec_each_start_one_run(cluster: Namespace) -> None:
    pipeline = make.Pipeline().data("configmap://rows/d.csv").triggers(codeChange={}, dataChange={"settleSeconds": 1})
    cluster.apply(make.ConfigMap(), make.ConfigMap("rows", d_csv="1"), pipeline)
    first = cluster.run_number(1)
    cluster.train(letter="1", data={"a": first["spec"]["data"][0]["revision"]})
    time.sleep(1)
    cluster.apply(make.ConfigMap(train_py="better"))
    second = cluster.run_number(2)
    cluster.train(number=2, letter="2", data={"a": first["spec"]["data"][0]["revision"]})
    time.sleep(1)
    cluster.apply(make.ConfigMap("rows", d_csv="2"))
    third = cluster.run_number(3)
    cluster.train(number=3, letter="3", data={"a": third["spec"]["data"][0]["revision"]})
    time.sleep(1)
    cluster.apply(pipeline.spec(parameters={"depth": "3"}))
    fourth = cluster.run_number(4)

    assert [trigger(r) for r in (first, second, third, fourth)] == [
        "NeverTrained",
        "CodeChanged",
        "DataChanged",
        "SpecChanged",
    ]
    assert third["spec"]["trigger"]["from"] == first["spec"]["data"][0]["revision"]
    cluster.train(number=4, letter="4", data={"a": third["spec"]["data"][0]["revision"]})
    cluster.settled()
    assert len(cluster.list("trainingrun")) == 4


def test_a_request_by_hand_and_one_of_a_monitor_are_served_once(cluster: Namespace) -> None:
    cluster.apply(make.ConfigMap(), make.Pipeline().triggers(monitors={}))
    cluster.train()
    time.sleep(1)
    annotation = "tidemill.io/run-requested-at=2026-11-23"
    cluster.installation.kubectl("annotate", "trainingpipeline", "churn", annotation, "-n", cluster.name)
    assert trigger(cluster.run_number(2)) == "ManualRequested"
    cluster.train(number=2, letter="e")
    time.sleep(2)
    spec = {"deployment": "churn", "drift": {"features": {"test": "PSI", "threshold": 0.2}}, "suspend": True}
    cluster.apply(make.Monitor("watch").spec(**spec))
    asked = make.Monitor("watch").asks("r-1", time=datetime.now(UTC)).obj()["status"]
    cluster.patch("modelmonitor", "watch", {"status": {"actions": asked["actions"]}})

    def held() -> list[str]:
        found = cluster.get("trainingpipeline", "churn")["status"]["conditions"]
        return [c["message"] for c in found if (c["type"], c["reason"]) == ("RetrainHeld", "DataUnchanged")]

    assert "(request r-1)" in cluster.wait(held, "the retrain waits")[0]
    assert len(cluster.list("trainingrun")) == 2
    cluster.apply(make.ConfigMap(train_py="better"))
    third = cluster.run_number(3)
    assert (trigger(third), third["spec"]["trigger"]["id"]) == ("MonitorRequested", "r-1")
    cluster.train(number=3, letter="f")
    cluster.settled()

    status = cluster.get("trainingpipeline", "churn")["status"]
    assert status["lastHandledRunRequest"] == "2026-11-23"
    assert status["lastHandledMonitorRequests"] == {"watch": "r-1"}
    assert len(cluster.list("trainingrun")) == 3


def test_a_scheduled_time_that_has_come_starts_one_run(cluster: Namespace) -> None:
    cluster.apply(make.ConfigMap(), make.Pipeline().triggers(schedule={"cron": "* * * * *"}, minIntervalSeconds=0))
    cluster.train()
    cluster.until("trainingpipeline", "churn", lambda o: o["status"].get("nextScheduleTime"), "knows the next time")
    past = format_time(datetime.now(UTC) - timedelta(hours=1))
    cluster.patch("trainingpipeline", "churn", {"status": {"nextScheduleTime": past}})  # as after an hour asleep
    run = cluster.run_number(2)

    assert trigger(run) == "ScheduleDue"
    due = conditions.parse_time(run["spec"]["trigger"]["to"])
    assert datetime.now(UTC) - due < timedelta(minutes=2)  # the newest missed time, not the oldest
    job = cluster.get("job", run["metadata"]["name"])
    assert job["metadata"]["annotations"]["batch.kubernetes.io/cronjob-scheduled-timestamp"]
    cluster.installation.kubectl(
        "patch", "tp", "churn", "-n", cluster.name, "--type=merge", "-p", '{"spec":{"suspend":true}}'
    )
    cluster.ready("churn", "True", "Suspended")


def test_missing_pieces_are_waited_for_in_any_order(cluster: Namespace) -> None:
    cluster.apply(make.Pipeline().data("configmap://rows/d.csv"))
    cluster.ready("churn", "False", "CodeNotFound")
    cluster.apply(make.ConfigMap(fit_py="x"))
    stalled = cluster.ready("churn", "False", "InvalidEntrypoint")
    assert kstatus(stalled) == "Failed"
    cluster.apply(make.ConfigMap())
    waiting = cluster.ready("churn", "False", "DataNotFound")
    assert kstatus(waiting) == "InProgress"
    cluster.apply(make.ConfigMap("rows", d_csv="1"))
    cluster.train()
    cluster.ready("churn", "True", "Trained")


def test_retention_keeps_what_is_deployed(cluster: Namespace) -> None:
    pipeline = make.Pipeline().spec(history={"runs": 1, "versions": 1}).triggers(codeChange={})
    cluster.apply(make.ConfigMap(), pipeline)
    cluster.train(letter="1")
    cluster.apply(make.Deployment("pinned").spec(model={"pipeline": "churn", "number": 1}))
    for number in (2, 3):
        time.sleep(1)
        cluster.apply(make.ConfigMap(train_py=f"version {number}"))
        run = wait(
            lambda: next((r for r in cluster.list("trainingrun") if condition(r, "Succeeded")[0] == "Unknown"), None),
            20,
            "a run",
        )
        cluster.until("job", run["metadata"]["name"], lambda o: True, "exists")
        cluster.finish(run, make.result(str(number), run=run))
        cluster.until("modelversion", f"churn-{number}", lambda o: True, "exists")

    def names(kind: str) -> list[str]:
        return [o["metadata"]["name"] for o in cluster.list(kind)]

    wait(lambda: sorted(names("modelversion")) == ["churn-1", "churn-3"], 20, "version 2 is removed")
    wait(lambda: len(names("trainingrun")) == 1, 20, "old runs are removed")


def test_a_job_deleted_in_mid_flight_fails_the_run_for_good(cluster: Namespace) -> None:
    cluster.apply(make.ConfigMap(), make.Pipeline())
    name = cluster.run_number(1)["metadata"]["name"]
    cluster.settled()
    cluster.installation.kubectl("delete", "job", name, "-n", cluster.name, "--cascade=background")
    run = cluster.until("trainingrun", name, lambda o: condition(o, "Succeeded")[0] == "False", "failed")
    cluster.ready("churn", "False", "RunFailed")
    cluster.settled()

    assert run["status"]["failure"]["reason"] == "JobDeleted"
    assert cluster.list("job") == []


def test_a_pipeline_deleted_in_mid_flight_starts_nothing_more(cluster: Namespace) -> None:
    cluster.apply(make.ConfigMap(), make.Pipeline())
    name = cluster.run_number(1)["metadata"]["name"]
    cluster.installation.kubectl("delete", "trainingpipeline", "churn", "-n", cluster.name)
    cluster.installation.kubectl("delete", "trainingrun", name, "-n", cluster.name)  # as the garbage collector does
    cluster.installation.kubectl("delete", "job", name, "-n", cluster.name)
    cluster.settled()

    assert cluster.list("trainingrun") == cluster.list("job") == []


def test_a_job_that_the_api_server_refuses_fails_the_run_with_its_words(cluster: Namespace) -> None:
    resources = {"requests": {"memory": "2Gi"}, "limits": {"memory": "1Gi"}}
    cluster.apply(make.ConfigMap(), make.Pipeline().spec(resources=resources))
    run = wait(lambda: (cluster.list("trainingrun") or [None])[0], 20, "a run")
    name = run["metadata"]["name"]
    run = cluster.until("trainingrun", name, lambda o: condition(o, "Succeeded")[0] == "False", "failed")

    assert run["status"]["failure"]["category"] == "UserError"
    assert "memory" in run["status"]["failure"]["message"]
    cluster.ready("churn", "False", "RunFailed")


def test_a_pod_that_cannot_start_ends_at_the_pending_deadline_and_its_job_is_removed(cluster: Namespace) -> None:
    cluster.apply(
        make.ConfigMap(), make.Pipeline().spec(image="nowhere.invalid/x:1", run={"pendingDeadlineSeconds": 4})
    )
    run = cluster.run_number(1)
    cluster.pod(run, waiting={"reason": "ImagePullBackOff", "message": "back-off"})
    name = run["metadata"]["name"]
    run = cluster.until("trainingrun", name, lambda o: condition(o, "Succeeded")[0] == "False", "failed")

    assert run["status"]["failure"]["category"] == "ImagePull"
    assert "nowhere.invalid/x:1" in run["status"]["failure"]["message"]
    wait(lambda: cluster.list("job") == [], 20, "the Job is removed")


def test_a_63_character_name_works(cluster: Namespace) -> None:
    name = "a" + "b" * 61 + "c"
    cluster.apply(make.ConfigMap(), make.Pipeline(name))
    cluster.train(name)
    cluster.ready(name, "True", "Trained")

    version = cluster.get("trainingpipeline", name)["status"]["champion"]["version"]
    assert cluster.get("modelversion", version)["spec"]["number"] == 1


def test_a_pipeline_of_186_kilobytes_gets_its_configuration_as_a_file(cluster: Namespace) -> None:
    cluster.apply(make.ConfigMap(), make.Pipeline().spec(parameters={"notes": "n" * 186_000}))
    run = cluster.run_number(1)
    job = cluster.get("job", run["metadata"]["name"])
    volumes = {v["name"]: v for v in job["spec"]["template"]["spec"]["volumes"]}
    config_map = cluster.get("configmap", volumes["config"]["configMap"]["name"])
    assert config_map["immutable"] is True
    assert "n" * 186_000 in config_map["data"]["config.json"]
    assert config_map["metadata"]["ownerReferences"][0]["uid"] == run["metadata"]["uid"]
    cluster.train()
    cluster.ready("churn", "True", "Trained")


def test_manual_approval_is_given_by_digest(cluster: Namespace) -> None:
    cluster.apply(make.ConfigMap(), make.Pipeline().spec(approval="Manual"))
    cluster.train()
    cluster.ready("churn", "Unknown", "AwaitingApproval")
    wrong, right = make.digest("9"), make.digest("d")
    annotate = ("annotate", "modelversion", "churn-1", "-n", cluster.name, "--overwrite")
    cluster.installation.kubectl(*annotate, f"tidemill.io/approve={wrong}")
    cluster.until("modelversion", "churn-1", lambda o: condition(o, "Approved")[1] == "DigestMismatch", "mismatch")
    cluster.installation.kubectl(*annotate, f"tidemill.io/approve={right}")
    cluster.until("modelversion", "churn-1", lambda o: condition(o, "Approved")[1] == "ApprovedByHand", "approved")

    assert cluster.ready("churn", "True", "Trained")["status"]["champion"]["version"] == "churn-1"


def test_a_version_that_is_not_the_result_of_a_run_does_not_count(cluster: Namespace) -> None:
    """Not even with the label, the annotations and the owner of the operator's own, and with an approval."""
    cluster.apply(make.ConfigMap(), make.Pipeline().spec(approval="Manual"))
    cluster.train()
    version = cluster.until("modelversion", "churn-1", lambda o: condition(o) == ("True", "Registered"), "registered")
    assert version["status"]["registered"]["gates"] == "NotJudged"
    kept = {key: version["metadata"][key] for key in ("namespace", "labels", "annotations", "ownerReferences")}
    kept["annotations"] = {**kept["annotations"], "tidemill.io/approve": version["spec"]["digest"]}
    spec = {**version["spec"], "number": 2, "approval": "Automatic"}
    forged = {**version, "metadata": {"name": "churn-2", **kept}, "spec": spec}
    cluster.installation.apply(forged)  # its status is not taken: the API server drops it

    found = cluster.until("modelversion", "churn-2", lambda o: condition(o)[0] == "False", "looked at")
    assert condition(found) == ("False", "NotRegistered")
    assert condition(found, "Approved") == ("Unknown", "NotRegistered")
    assert not {"registered", "decision"} & set(found["status"])
    assert "champion" not in cluster.ready("churn", "Unknown", "AwaitingApproval")["status"]


def test_an_external_input_is_probed_and_read_from_the_termination_message(cluster: Namespace) -> None:
    cluster.apply(make.ConfigMap(), make.Pipeline().data("s3://lake/rows").triggers(dataChange={"pollSeconds": 600}))
    cluster.train(data={"a": "one"})

    def probes() -> list[Obj]:
        return cluster.list("job", "-l", "tidemill.io/probe=true")

    job = wait(lambda: (probes() or [None])[0], 20, "a probe Job")
    cluster.pod(job, terminated=make.terminated(0, {"revisions": {"a": "one"}}))
    cluster.end_job(job, "Complete", "CompletionsReached")
    cluster.until("trainingpipeline", "churn", lambda o: condition(o, "SourcesReadable")[0] == "True", "was read")
    wait(lambda: probes() == [], 20, "the probe is removed")


def test_kept_rows_are_waited_for_and_trained_on_when_there_are_enough(cluster: Namespace) -> None:
    pipeline = make.Pipeline("fresh").spec(data=[{"name": "fresh", "uri": "feedback://web"}], target="label")
    deployment = make.Deployment("web").spec(model={"pipeline": "churn"})
    payloads = {"purpose": "training", "uri": "s3://lake/log", "secretRef": {"name": "lake"}}
    cluster.apply(make.ConfigMap(), pipeline)
    cluster.ready("fresh", "False", "DataNotFound")
    watch = make.Monitor("web").spec(deployment="web", performance={"metric": "accuracy", "min": 0.5})
    cluster.apply(deployment, watch)
    told(cluster, "set spec.logging.payloads there")
    cluster.apply(deployment.spec(logging={"payloads": payloads}))
    cluster.ready("fresh", "False", "TooFewLabels")

    revision = f"{make.digest('a')};aaaaaaaa-3"
    (probe,) = cluster.wait(lambda: cluster.list("job", "-l", "tidemill.io/probe=true"), "a probe")
    cluster.finish(probe, {"revisions": {"fresh": revision}})
    run = cluster.run_number(1)
    (source,) = run["spec"]["data"]
    assert source["revision"] == revision
    namespace = cluster.name
    assert source["rows"] == {
        "uri": f"s3://lake/log/{namespace}/web",
        "secretRef": {"name": "lake"},
        "suspectedClients": [],
    }
    taken = {"rows": 500, "first": 1764489600.0, "last": 1764576000.0, "versions": {"churn-1": 500}}
    report = make.result(run=run, data={"fresh": revision}, kept_rows={"fresh": taken})
    cluster.finish(run, report)
    cluster.ready("fresh", "True", "Trained")
    assert cluster.get("modelversion", "fresh-1")["spec"]["lineage"]["keptRows"]["fresh"]["rows"] == 500


def told(cluster: Namespace, text: str) -> None:
    """Wait until the pipeline's Ready says so."""
    cluster.until(
        "trainingpipeline",
        "fresh",
        lambda o: text in str(conditions.get(o["status"]["conditions"], "Ready")),
        f"Ready says {text}",
    )
