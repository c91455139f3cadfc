"""The truth about predictions: labels by id, a model found bad by them, what is done about it, and silence.

One namespace and one deployment for the whole file; the tests are chapters, in order. A second deployment is asked
once at the start and then left in silence while the others run.
"""

import json
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from hack.tools.kubectl import Kubectl, condition, is_true, wait_for
from sklearn.datasets import load_iris
from tests.e2e.client import Client, Reply
from tests.e2e.conftest import check_all_statuses, check_rights, make_namespace, wait_condition
from tests.e2e.incluster import kill
from tests.e2e.manifests import GOOD_CODE, code, deployment, keys, monitor, pipeline

from tidemill_contracts.ports import ADMIN_PORT, REPORT_PORT

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

NAME = "flowers"
QUIET = "quiet"
FEEDBACK = f"/v2/models/{NAME}/feedback"
KEY = "a-key-for-labels"
ROWS = load_iris().data.tolist()
ONCE = {"causes": ["Performance"], "cooldownSeconds": 3600, "maxPerDay": 5}
PERFORMANCE = {"metric": "accuracy", "min": 0.8, "labelDelaySeconds": 0, "minLabels": 30}

# Posts labels one after another, each again until it is acknowledged, as a careful client does; prints every answer.
_LABELLER = """
import json, sys, time, urllib.error, urllib.request

url, labels, key = json.load(sys.stdin)
end = time.monotonic() + 60
for label in labels:
    status = 0
    while status not in (200, 202) and time.monotonic() < end:
        try:
            request = urllib.request.Request(url, json.dumps(label).encode(), {"x-api-key": key})
            with urllib.request.urlopen(request, timeout=30) as reply:
                status = reply.status
        except urllib.error.HTTPError as error:
            status = error.code
        print(json.dumps([label["id"], status]), flush=True)
        time.sleep(0.1)
"""


@dataclass
class World:
    """The namespace, a client in it, and what it was answered."""

    kubectl: Kubectl
    client: Client
    predicted: dict[str, int] = field(default_factory=dict)  # class by prediction id

    def predict(self, request: str, rows: int, name: str = NAME) -> Reply:
        """Ask for rows under a request id and remember what was said about each."""
        data = (ROWS * 2)[:rows]
        body = {"id": request, "inputs": [{"name": "x", "shape": [rows, 4], "datatype": "FP64", "data": data}]}
        answer = self.client.post(name, f"/v2/models/{name}/infer", body)
        assert answer.status == 200, answer
        assert answer.json["id"] == request
        labels = next(o for o in answer.json["outputs"] if o["name"] == "label")["data"]
        self.predicted |= {f"{request}/{row}": label for row, label in enumerate(labels)}
        return answer

    def labels(self, request: str, wrong: int = 0) -> list[dict[str, Any]]:
        """Return the feedback to a request's predictions, of which the first `wrong` are told to be wrong."""
        ids = [i for i in self.predicted if i.startswith(f"{request}/")]
        return [{"id": i, "label": (self.predicted[i] + (n < wrong)) % 3} for n, i in enumerate(ids)]

    def feedback(self, labels: list[dict[str, Any]]) -> Reply:
        """Post labels to the deployment's address."""
        return self.client.post(NAME, FEEDBACK, labels, authorization=f"Bearer {KEY}")

    def monitor(self, name: str = NAME) -> dict[str, Any]:
        """Return a ModelMonitor."""
        found = self.kubectl.get("modelmonitor", name)
        assert found is not None
        return found

    def monitor_page(self, path: str, port: int) -> str:
        """Return what a port of the monitor's pod answers."""
        pods = self.kubectl.list("pod", f"app.kubernetes.io/component=monitor,tidemill.io/monitor={NAME}")
        (pod,) = [p["metadata"]["name"] for p in pods if not p["metadata"].get("deletionTimestamp")]
        base = f"/api/v1/namespaces/{self.kubectl.namespace}/pods/{pod}:{port}/proxy"
        return Kubectl().run("get", "--raw", base + path)

    def report(self, version: str) -> dict[str, Any]:
        """Return what the monitor has counted for a version."""
        found = json.loads(self.monitor_page("/v1/report", REPORT_PORT))["versions"]
        return next((v for v in found if v["version"] == version), {"rows": 0, "windows": []})

    def joined(self, version: str) -> int:
        """Return how many labels the monitor has joined with predictions of a version, by its metrics."""
        lines = self.monitor_page("/metrics", ADMIN_PORT)
        found = re.search(rf'^tidemill_labels_joined_total{{.*version="{version}".*}} (\S+)$', lines, re.MULTILINE)
        return int(float(found[1])) if found else 0

    def await_rows(self, version: str, rows: int) -> dict[str, Any]:
        """Wait until the monitor has counted all rows of a version, and their windows are over."""

        def probe() -> dict[str, Any] | None:
            report = self.report(version)
            return report if report["rows"] >= rows and all(w["closed"] for w in report["windows"]) else None

        report = wait_for(f"{rows} rows", probe, 60, lambda: json.dumps(self.report(version))[:2000])
        assert report["rows"] == rows
        return report

    def events(self, kind: str, reason: str) -> list[str]:
        """Return the notes of events on the objects of this file's name."""
        found = self.kubectl.list("events.events.k8s.io")
        return [
            e["note"]
            for e in found
            if (e["regarding"]["kind"], e["regarding"]["name"], e["reason"]) == (kind, NAME, reason)
        ]


@pytest.fixture(scope="module")
def world(cluster: Kubectl) -> Iterator[World]:
    """Version 2 in service with version 1 to return to, watched; and a quiet deployment of version 1."""
    kubectl = Kubectl("e2e-truth")
    make_namespace(cluster, "e2e-truth")
    first, second = GOOD_CODE, GOOD_CODE.replace("random_state=seed", "C=0.5, random_state=seed")
    at_once = {"rollout": {"strategy": "Immediate", "monitorRollback": "Act"}}
    labelled = {"access": {"feedback": {"secretRef": {"name": "labels"}}}}
    actions = {"retrain": ONCE, "rollback": ONCE}
    kubectl.apply(
        [
            code("flowers-code", first),
            pipeline(NAME, triggers={"codeChange": {}, "monitors": {}}),
            keys("labels", warehouse=KEY),
            deployment(NAME, **at_once, **labelled),
            deployment(QUIET, **at_once, model={"version": "flowers-1"}),
            monitor(NAME, performance=PERFORMANCE, actions=actions),
            monitor(QUIET, quality={"maxMissingRatio": 0.5}),
        ]
    )
    world = World(kubectl, Client(kubectl).start())
    wait_condition(kubectl, "modeldeployment", NAME, lambda md: is_true(md, "Ready"), 180)
    kubectl.apply(code("flowers-code", second))
    wait_condition(kubectl, "modeldeployment", QUIET, lambda md: is_true(md, "Ready"), 90)
    wait_condition(kubectl, "modelmonitor", QUIET, lambda mm: is_true(mm, "Ready"), 90)
    world.predict("hello", 2, QUIET)
    wait_condition(kubectl, "modeldeployment", NAME, lambda md: serves(md, "flowers-2"), 180)
    wait_condition(kubectl, "modelmonitor", NAME, lambda mm: watches(mm, "flowers-2"), 90)
    yield world
    check_all_statuses(kubectl)
    check_rights()
    cluster.run("delete", "namespace", "e2e-truth", "--wait=false")


def serves(deployment: dict[str, Any], version: str) -> bool:
    """Tell whether a version answers all requests and no other is on its way."""
    status = deployment["status"]
    return bool((status.get("stable") or {}).get("version") == version and not status.get("candidate"))


def watches(found: dict[str, Any], version: str) -> bool:
    """Tell whether a monitor compares with a version and has read its counters."""
    return bool(found["status"].get("version") == version and is_true(found, "Ready"))


def test_predictions_arrive(world: World) -> None:
    wait_condition(world.kubectl, "modelmonitor", QUIET, lambda mm: is_true(mm, "DataArriving"), 60)


def test_labels_find_their_predictions_by_id_and_count_once(world: World) -> None:
    before = world.monitor()
    assert condition(before, "LabelsArriving")["reason"] == "NoLabelDue"
    assert condition(before, "PerformanceDegraded")["reason"] == "NotEnoughLabels"

    world.predict("right", 30)
    late = wait_condition(
        world.kubectl, "modelmonitor", NAME, lambda mm: condition(mm, "LabelsArriving").get("status") == "False", 60
    )
    assert condition(late, "LabelsArriving")["reason"] == "NoLabels"

    labels = world.labels("right")
    stored = world.feedback(labels)
    assert (stored.status, stored.json) == (202, {"joined": 30, "pending": 0, "repeated": 0})
    again = world.feedback(labels)
    assert (again.status, again.json) == (200, {"joined": 0, "pending": 0, "repeated": 30})
    other = world.feedback([{"id": "right/7", "label": (labels[7]["label"] + 1) % 3}])
    assert other.status == 409
    assert "right/7" in other.json["error"]
    beyond = world.feedback([labels[0], {"id": "right/1", "label": 1e200}, {"id": "x" * 400, "label": 1}])
    assert (beyond.status, beyond.json["refused"], beyond.json["repeated"]) == (400, 2, 1)
    assert beyond.json["error"].startswith("1.label: a number must be from -1e+100 to 1e+100; 2.id: must have at most")

    fine = wait_condition(world.kubectl, "modelmonitor", NAME, lambda mm: is_true(mm, "LabelsArriving"), 60)
    assert condition(fine, "LabelsArriving")["message"].startswith("100%")
    degraded = condition(fine, "PerformanceDegraded")
    assert (degraded["status"], degraded["reason"]) == ("False", "WithinLimits")
    assert degraded["message"] == "accuracy is 1 (95 %: 0.8865 to 1) on 30 labels"
    performance = fine["status"]["performance"]
    delay = performance.pop("labelDelay")
    assert 0 < delay["p50Seconds"] <= delay["p99Seconds"] < 120
    assert performance == {"metric": "accuracy", "value": 1, "labels": 30, "labelsRatio": 1}
    wait_for("30 labels", lambda: world.joined("flowers-2") == 30, 30, lambda: str(world.joined("flowers-2")))


def test_a_killed_monitor_loses_nothing_that_it_acknowledged(world: World) -> None:
    world.predict("steady", 60)
    world.await_rows("flowers-2", 90)
    (pod,) = world.kubectl.list("pod", "app.kubernetes.io/component=monitor,tidemill.io/monitor=flowers")

    answers = label_while(world, "steady", lambda: kill(world.kubectl, pod["metadata"]["name"]))
    acknowledged = [identifier for identifier, status in answers if status in (200, 202)]
    assert acknowledged == [label["id"] for label in world.labels("steady")], answers[-5:]
    refused = sorted({status for _, status in answers if status not in (200, 202)})
    assert refused == [503], f"besides acknowledgements: {refused}; the monitor was away for a while"

    again = world.feedback(world.labels("steady"))
    assert again.json == {"joined": 0, "pending": 0, "repeated": 60}
    wait_for("90 labels", lambda: world.joined("flowers-2") == 90, 60, lambda: str(world.joined("flowers-2")))
    world.await_rows("flowers-2", 90 + 20)
    (successor,) = world.kubectl.list("pod", "app.kubernetes.io/component=monitor,tidemill.io/monitor=flowers")
    assert successor["metadata"]["uid"] != pod["metadata"]["uid"]


def label_while(world: World, request: str, happening: Any) -> list[tuple[str, int]]:
    """Post labels one by one; in the midst of it something happens, and predictions go on. Return every answer."""
    command = world.kubectl.command("exec", "-i", world.client.name, "--", "python", "-c", _LABELLER)
    answers = []
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        url = f"http://{world.client.host(NAME)}{FEEDBACK}"
        process.stdin.write(json.dumps([url, world.labels(request), KEY]))
        process.stdin.close()
        for line in process.stdout:
            answers.append((*json.loads(line),))
            if len(answers) == 10:
                happening()
                world.predict("meanwhile", 20)
    assert process.returncode == 0
    return answers


def test_labels_without_a_key_are_nobodys_and_a_pod_without_the_token_reports_nothing(world: World) -> None:
    assert world.client.post(NAME, FEEDBACK, world.labels("steady")).status == 401
    ask = (
        "import json, sys, urllib.error, urllib.request\n"
        + """
for path, port in (("/v1/feedback", 8082), ("/v1/feedback", 8080), ("/v1/batches", 8080), ("/v1/references", 8080)):
    request = urllib.request.Request(f"http://{sys.argv[1]}:{port}{path}", b"{}", {"x-tidemill-client": "warehouse"})
    try:
        print(urllib.request.urlopen(request, timeout=10).status)
    except urllib.error.HTTPError as error:
        print(error.code)
"""
    )
    (pod,) = world.kubectl.list("pod", "app.kubernetes.io/component=monitor,tidemill.io/monitor=flowers")
    address = pod["status"]["podIP"]
    said = world.kubectl.run("exec", world.client.name, "--", "python", "-c", ask, address)
    assert set(said.split()) == {"401"}


def test_bad_labels_take_the_version_back_and_ask_for_a_run_that_waits(world: World) -> None:
    world.predict("bad", 40)
    assert world.feedback(world.labels("bad", wrong=30)).status == 202
    said = "accuracy is 0.25 (95 %: 0.1419 to 0.4019) on 40 labels; min 0.8"

    asked = wait_condition(world.kubectl, "modelmonitor", NAME, lambda mm: mm["status"].get("actions"), 60)
    retrain, rollback = asked["status"]["actions"]
    assert (retrain["type"], retrain["cause"], retrain["target"]) == ("Retrain", "Performance", NAME)
    assert (rollback["type"], rollback["cause"], rollback["target"]) == ("Rollback", "Performance", NAME)
    assert {a["version"] for a in (retrain, rollback)} == {"flowers-2"}
    assert {a["message"] for a in (retrain, rollback)} == {said}
    assert world.events("ModelMonitor", "PerformanceDegraded") == [said]
    for action in (retrain, rollback):
        (note,) = world.events("ModelMonitor", f"{action['type']}Requested")
        assert action["id"] in note
        assert said in note

    back = wait_condition(world.kubectl, "modeldeployment", NAME, lambda md: serves(md, "flowers-1"), 120)
    assert back["status"]["lastHandledRollback"] == rollback["id"]
    (failed,) = back["status"]["failedVersions"]
    assert (failed["version"], failed["reason"], failed["message"]) == ("flowers-2", "MonitorRequested", said)
    assert condition(back, "RolledBack")["reason"] == "MonitorRequested"
    assert is_true(back, "Available")
    (note,) = world.events("ModelDeployment", "RollbackRequested")
    assert "from flowers-2 to flowers-1" in note
    assert said in note
    assert world.predict("after", 2).json["model_version"] == "1"
    ready = wait_condition(world.kubectl, "modeldeployment", NAME, lambda md: is_true(md, "Ready"), 60)
    assert is_true(ready, "RolledBack")
    assert is_true(world.kubectl.get("modelversion", "flowers-2") or {}, "TakenBack")
    pipeline = wait_condition(
        world.kubectl, "trainingpipeline", NAME, lambda tp: tp["status"]["champion"]["version"] == "flowers-1", 30
    )
    assert is_true(pipeline, "Ready")
    held = condition(
        wait_condition(world.kubectl, "trainingpipeline", NAME, lambda tp: is_true(tp, "RetrainHeld"), 30),
        "RetrainHeld",
    )
    assert held["reason"] == "DataUnchanged"
    assert retrain["id"] in held["message"]


def monitor_runs(world: World) -> list[dict[str, Any]]:
    """Return the runs that a monitor requested."""
    return [r for r in world.kubectl.list("trainingrun") if r["spec"]["trigger"]["type"] == "MonitorRequested"]


def test_within_the_cooldown_nothing_is_requested_again(world: World) -> None:
    before = wait_condition(world.kubectl, "modelmonitor", NAME, lambda mm: watches(mm, "flowers-1"), 60)
    world.predict("worse", 40)
    assert world.feedback(world.labels("worse", wrong=30)).status == 202

    # Conditions and actions are decided in one pass and written in one status.
    found = wait_condition(world.kubectl, "modelmonitor", NAME, lambda mm: is_true(mm, "PerformanceDegraded"), 60)
    assert found["status"]["version"] == "flowers-1"
    degraded = condition(found, "PerformanceDegraded")
    assert degraded["reason"] == "LimitsExceeded"
    assert degraded["message"] == "accuracy is 0.25 (95 %: 0.1419 to 0.4019) on 40 labels; min 0.8"
    assert found["status"]["actions"] == before["status"]["actions"]
    assert monitor_runs(world) == [], "the data is unchanged: a run would give the version that was rolled back"
    assert serves(world.kubectl.get("modeldeployment", NAME) or {}, "flowers-1")


def test_silence_is_a_finding_and_ends_with_the_next_prediction(world: World) -> None:
    silent = wait_condition(
        world.kubectl,
        "modelmonitor",
        QUIET,
        lambda mm: condition(mm, "DataArriving").get("status") == "False",
        150,
    )
    found = condition(silent, "DataArriving")
    assert found["reason"] == "NoTraffic"
    assert "no prediction arrived for 120 s; the last one at " in found["message"]
    assert is_true(silent, "Ready"), "silence is a finding, not a fault of the watch"

    world.predict("again", 2, QUIET)
    wait_condition(world.kubectl, "modelmonitor", QUIET, lambda mm: is_true(mm, "DataArriving"), 60)
