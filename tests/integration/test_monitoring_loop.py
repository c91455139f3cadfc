"""ModelMonitor on a real API server with the real monitor service: silence, drift, requests, roll-back, rivals.

The test is kubelet (it runs the monitor that a pod's environment asks for), and it is the servers that report rows.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.support import promtool
from tests.support.apiserver import connect
from tests.support.invariants import check_status, kstatus
from tests.support.objects import make
from tests.support.operators import InProcess, Installation, wait
from tests.support.servingcluster import Cluster
from tests.support.servingworld import World, candidate, condition, load_with_monitoring, operator_of, ready, stable

from tidemill.api.v1alpha1.model_monitor import ModelMonitorSpec
from tidemill.monitoring.builders import prometheus as rules
from tidemill_contracts import alerts
from tidemill_contracts.inference import BATCH_PATH, MONITOR_CONFIG_ENV, REFERENCE_PATH, PredictionBatch, Reference
from tidemill_contracts.monitoring import MonitorConfig
from tidemill_contracts.ports import ADMIN_PORT, MONITOR_PORT
from tidemill_contracts.reference import CategoricalProfile, NumericProfile, ReferenceProfile

pytestmark = pytest.mark.integration
Obj = dict[str, Any]

PROFILE = ReferenceProfile(
    rows=1000,
    features=(
        NumericProfile(
            name="größe",
            edges=(0.25, 0.5, 0.75),
            counts=(250,) * 4,
            missing=0,
            minimum=0.0,
            maximum=1.0,
            mean=0.5,
            std=0.29,
            bin_means=(0.125, 0.375, 0.625, 0.875),
        ),
    ),
    prediction=CategoricalProfile(name="churned", categories=("0", "1"), counts=(500, 500, 0), missing=0),
)
SPEC: Obj = {
    "deployment": "churn",
    "window": {"seconds": 10, "minRows": 20},
    "drift": {"features": {"test": "PSI", "threshold": 0.2}, "consecutiveWindows": 1},
}
RETRAIN: Obj = {"retrain": {"causes": ["Drift"], "cooldownSeconds": 3600, "maxPerDay": 1}}
ROLLBACK: Obj = {"rollback": {"causes": ["Drift"], "cooldownSeconds": 3600, "maxPerDay": 1}}
_ADDRESSES = iter(f"127.0.6.{n}" for n in range(1, 250))


class Monitors:
    """Runs `python -m tidemill_runtime.monitor` for pods, each on an address of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.address = ""
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self, pod: Obj) -> str:
        (text,) = [e["value"] for e in pod["spec"]["containers"][0]["env"] if e["name"] == MONITOR_CONFIG_ENV]
        config = MonitorConfig.model_validate_json(text)
        folder = self.folder / config.monitor  # the claim: it outlives the pod
        folder.mkdir(exist_ok=True)
        self.address = next(_ADDRESSES)
        environment = {
            **os.environ,
            MONITOR_CONFIG_ENV: config.model_copy(update={"database": str(folder / "monitor.db")}).to_json(),
            "TIDEMILL_MONITOR_HOST": self.address,
        }
        with (folder / "log").open("ab") as log:
            command = [sys.executable, "-m", "tidemill_runtime.monitor"]
            self.processes.append(subprocess.Popen(command, env=environment, stderr=log, stdout=log))
        wait(self.answers, 20, "the monitor answers")
        return self.address

    def answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://{self.address}:{ADMIN_PORT}/readyz", timeout=2) as reply:
                return bool(reply.status == 200)
        except OSError:
            return False

    def post(self, path: str, body: str) -> int:
        request = urllib.request.Request(f"http://{self.address}:{MONITOR_PORT}{path}", body.encode(), method="POST")
        try:
            with urllib.request.urlopen(request, timeout=5) as reply:
                return int(reply.status)
        except urllib.error.HTTPError as error:
            with error:
                return error.code

    def report(self, version: int, *, shifted: bool, rows: int = 40, null: bool = False) -> None:
        """What the servers of a version send: a batch, and the reference when the monitor does not know it yet."""
        digest = f"sha256:{version:064x}"
        values = [random.uniform(0.9, 1.0) if shifted else random.random() for _ in range(rows)]
        now = time.time()
        batch = PredictionBatch(
            batch_id=str(uuid.uuid4()),
            deployment="churn",
            version=f"churn-{version}",
            digest=digest,
            sent_at=now,
            ids=[str(uuid.uuid4()) for _ in values],
            times=[now] * rows,
            columns={"größe": [None] * rows if null else values},
            predictions=["0", "1"] * (rows // 2),
        )
        if self.post(BATCH_PATH, batch.to_json()) == 409:
            reference = Reference(deployment="churn", version=f"churn-{version}", digest=digest, profile=PROFILE)
            assert self.post(REFERENCE_PATH, reference.to_json()) in (200, 201)
            assert self.post(BATCH_PATH, batch.to_json()) == 202

    def stop(self) -> None:
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            process.wait(20)


@pytest.fixture(scope="module")
def both(installation: Installation) -> Iterator[InProcess]:
    running = operator_of(installation, load_with_monitoring)
    yield running
    running.stop()


@pytest.fixture
def monitors(tmp_path: Path) -> Iterator[Monitors]:
    running = Monitors(tmp_path)
    yield running
    running.stop()


@pytest.fixture
def world(installation: Installation, both: InProcess, monitors: Monitors, namespace: str) -> Iterator[World]:
    with connect(installation.kubeconfig) as api, Cluster(api.http, namespace) as cluster:
        cluster.start_monitor = monitors.start
        yield World(installation, cluster, namespace)


def consent(world: World) -> None:
    """A pipeline that takes requests of monitors, and starts no run here."""
    pipeline = make("TrainingPipeline")
    pipeline["metadata"]["namespace"] = world.namespace
    pipeline["spec"] |= {"suspend": True, "triggers": {"monitors": {}}}
    world.installation.apply(pipeline)


def watch(world: World, name: str = "churn", **spec: Any) -> None:
    meta = {"name": name, "namespace": world.namespace}
    world.installation.apply(
        {"apiVersion": "tidemill.io/v1alpha1", "kind": "ModelMonitor", "metadata": meta, "spec": {**SPEC, **spec}}
    )


def mm(world: World, name: str = "churn") -> Obj:
    found = world.get("modelmonitor", name)
    assert found is not None
    check_status(found)
    return found


def until(world: World, fact: Any, what: str, seconds: float = 30, name: str = "churn") -> Obj:
    def probe() -> Obj | None:
        obj = mm(world, name)
        return obj if fact(obj) else None

    try:
        found: Obj = wait(probe, seconds, what)
    except AssertionError as error:
        raise AssertionError(f"{error}\n{json.dumps(mm(world, name).get('status'), indent=1)}") from None
    return found


def says(obj: Obj, kind: str) -> tuple[str, str] | None:
    found = [c for c in (obj.get("status") or {}).get("conditions") or () if c["type"] == kind]
    return (found[0]["status"], found[0]["reason"]) if found else None


def test_monitor_before_its_deployment_then_drift_asks_for_a_run(world: World, monitors: Monitors) -> None:
    watch(world, actions=RETRAIN)
    waiting = until(world, lambda o: ready(o) == ("False", "DeploymentNotFound"), "it waits for the deployment")
    assert kstatus(waiting) == "InProgress"
    world.version(1)
    world.deploy()
    world.served("churn-1")
    obj = until(world, lambda o: ready(o) == ("True", "Watching"), "it watches")
    assert obj["status"]["version"] == "churn-1"
    assert says(obj, "DataArriving") == ("Unknown", "NoDataYet")
    assert says(obj, "DriftDetected") == ("Unknown", "NoJudgedWindow")
    end = time.monotonic() + 60
    while says(mm(world), "DriftDetected") != ("True", "DriftSustained"):
        monitors.report(1, shifted=True)
        assert time.monotonic() < end, json.dumps(mm(world)["status"], indent=1)
        time.sleep(1)
    obj = until(world, lambda o: says(o, "ActionsHeld") is not None, "it says why it asks for no run", 10)
    assert says(obj, "ActionsHeld") == ("True", "PipelineNotFound") and "actions" not in obj["status"]
    consent(world)
    obj = until(world, lambda o: o["status"].get("actions"), "it asks for a run", 20)
    assert says(obj, "ActionsHeld") is None
    assert says(obj, "DataArriving") == ("True", "PredictionsArrive")
    (action,) = obj["status"]["actions"]
    assert (action["type"], action["cause"], action["target"]) == ("Retrain", "Drift", "churn")
    assert "größe (PSI" in action["message"]
    assert obj["status"]["window"]["driftedFeatures"][0]["name"] == "größe"
    assert ready(obj) == ("True", "Watching") and kstatus(obj) == "Current"
    assert {"DriftDetected", "RetrainRequested"} <= set(world.events())


def test_windows_of_nulls_are_a_finding_of_quality_and_ask_for_no_run(world: World, monitors: Monitors) -> None:
    consent(world)
    watch(world, actions=RETRAIN)
    world.version(1)
    world.deploy()
    world.served("churn-1")
    until(world, lambda o: ready(o) == ("True", "Watching"), "it watches")
    windows: set[str] = set()
    end = time.monotonic() + 90
    while len(windows) < 2:
        monitors.report(1, shifted=False, null=True)
        assert time.monotonic() < end, json.dumps(mm(world)["status"], indent=1)
        obj = mm(world)
        if says(obj, "DataQualityDegraded") == ("True", "LimitsExceeded"):
            windows.add(obj["status"]["window"]["start"])
            assert says(obj, "DriftDetected") == ("Unknown", "FeaturesWithoutScore")
        time.sleep(1)
    assert "größe: no value in" in condition(obj, "DataQualityDegraded")["message"]
    assert obj["status"]["window"]["featuresWithoutScore"] == ["größe"]
    assert "actions" not in obj["status"] and says(obj, "ActionsHeld") is None
    assert "RetrainRequested" not in set(world.events())


def test_a_statement_about_a_column_that_is_no_feature_is_told(world: World, monitors: Monitors) -> None:
    watch(world, columns=[{"name": "grösse", "type": "Category"}])
    world.version(1)
    world.deploy()
    world.served("churn-1")
    until(world, lambda o: ready(o) == ("True", "Watching"), "it watches")
    monitors.report(1, shifted=False)
    obj = until(world, lambda o: says(o, "ColumnsNoted") is not None, "it tells")
    assert says(obj, "ColumnsNoted") == ("True", "StatementNotApplied")
    assert "not a feature of this version: grösse" in condition(obj, "ColumnsNoted")["message"]
    assert says(obj, "ProfileTooOld") == ("True", "NotJudged")  # the test's profile has version 1


def test_a_claim_that_is_too_small_for_the_labels_is_told_with_the_size(world: World, monitors: Monitors) -> None:
    performance = {"metric": "accuracy", "min": 0.5, "labelDelaySeconds": 86_400}
    watch(world, performance=performance, storage={"size": "1Mi"})
    world.version(1)
    world.deploy()
    world.served("churn-1")
    until(world, lambda o: ready(o) == ("True", "Watching"), "it watches")
    monitors.report(1, shifted=False)
    until(world, lambda o: says(o, "PerformanceDegraded") == ("Unknown", "NotEnoughLabels"), "it waits for labels")
    assert says(mm(world), "RetentionTooSmall") is None
    for _ in range(6):
        monitors.report(1, shifted=False, rows=1_000)
    obj = until(world, lambda o: says(o, "RetentionTooSmall") is not None, "it tells")
    assert says(obj, "RetentionTooSmall") == ("True", "StorageTooSmall")
    assert "spec.storage.size is 1Mi" in condition(obj, "RetentionTooSmall")["message"]
    assert says(obj, "PerformanceDegraded") == ("Unknown", "RetentionTooSmall")
    assert ready(obj) == ("True", "Watching")


def test_a_rollback_request_is_served_once(world: World, monitors: Monitors) -> None:
    world.version(1)
    world.deploy({"rollout": {"strategy": "Immediate", "monitorRollback": "Act"}})
    world.served("churn-1")
    watch(world, actions=ROLLBACK)
    world.version(2)
    world.served("churn-2")
    until(
        world, lambda o: ready(o) == ("True", "Watching") and o["status"]["version"] == "churn-2", "it watches churn-2"
    )
    end = time.monotonic() + 60
    while stable(world.md()) != "churn-1":
        monitors.report(2, shifted=True)
        assert time.monotonic() < end, json.dumps(mm(world)["status"], indent=1)
        time.sleep(1)
    obj = world.served("churn-1")
    assert condition(obj, "RolledBack")["reason"] == "MonitorRequested"
    assert world.mark("churn-2")["reason"] == "MonitorRequested"
    assert obj["status"]["lastHandledRollback"] == mm(world)["status"]["actions"][0]["id"]
    rebased = until(world, lambda o: o["status"]["version"] == "churn-1", "the monitor compares with churn-1")
    assert says(rebased, "DriftDetected") == ("Unknown", "NoJudgedWindow")
    assert "Rebased" in world.events()
    time.sleep(2)
    assert stable(world.md()) == "churn-1" and candidate(world.md()) is None
    assert len(mm(world)["status"]["actions"]) == 1


def test_policies_of_who_may_call_come_stay_and_go(world: World) -> None:
    world.version(1)
    world.deploy()
    watch(world)
    names = ("churn-server-callers", "churn-monitor-callers")
    for name in names:
        found = wait(lambda name=name: world.get("networkpolicy", name), 20, f"{name} is made")
        assert found["spec"]["policyTypes"] == ["Ingress"]
    world.kubectl("delete", "networkpolicy", names[1])
    wait(lambda: world.get("networkpolicy", names[1]), 20, "it is made again")
    off = '{"spec":{"networkPolicies":"None"}}'
    for kind, name in zip(("modeldeployment", "modelmonitor"), names, strict=True):
        world.kubectl("patch", kind, "churn", "--type=merge", "-p", off)
        wait(lambda name=name: world.get("networkpolicy", name) is None, 20, f"{name} goes")
    # What belongs to somebody else is not touched, and the object says so.
    theirs = {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "spec": {"podSelector": {}}}
    world.installation.apply({**theirs, "metadata": {"name": names[1], "namespace": world.namespace}})
    world.kubectl("patch", "modelmonitor", "churn", "--type=merge", "-p", '{"spec":{"networkPolicies":"Managed"}}')
    obj = until(world, lambda o: says(o, "Stalled") == ("True", "NotOwned"), "it is refused")
    assert names[1] in condition(obj, "Stalled")["message"]
    assert "ownerReferences" not in world.get("networkpolicy", names[1])["metadata"]


def test_one_monitor_a_deployment(world: World) -> None:
    world.version(1)
    world.deploy()
    watch(world, "first")
    until(world, lambda o: ready(o) is not None, "the first is seen", name="first")
    time.sleep(1.1)  # creation times have whole seconds
    watch(world, "second")
    obj = until(world, lambda o: ready(o) == ("False", "DeploymentAlreadyMonitored"), "it is refused", name="second")
    assert kstatus(obj) == "Failed"
    assert "ModelMonitor first" in condition(obj, "Stalled")["message"]
    assert world.get("deployment", "second-monitor") is None
    world.kubectl("delete", "modelmonitor", "first")
    for kind, name in (("deployment", "first-monitor"), ("service", "churn-monitor")):  # there is no garbage collector
        world.kubectl("delete", kind, name)
    until(world, lambda o: ready(o) == ("True", "Watching"), "the second takes over", name="second")


def test_the_claim_outlives_a_restart_and_absence_is_reported(world: World, monitors: Monitors) -> None:
    world.version(1)
    world.deploy()
    world.served("churn-1")
    watch(world)
    until(world, lambda o: ready(o) == ("True", "Watching"), "it watches")
    monitors.report(1, shifted=False)
    monitors.processes[0].kill()
    until(world, lambda o: ready(o) == ("False", "MonitorUnreachable"), "it says that nobody answers")
    world.kubectl("delete", "pod", "-l", "tidemill.io/monitor=churn", "--grace-period=0", "--force")
    obj = until(world, lambda o: ready(o) == ("True", "Watching"), "it watches again")
    obj = until(world, lambda o: says(o, "DataArriving") == ("True", "PredictionsArrive"), "what was counted is there")
    assert obj["status"]["version"] == "churn-1"


def test_prometheus_kinds_are_missing_here(world: World) -> None:
    watch(world, prometheus={"labels": {"release": "x"}})
    obj = until(world, lambda o: says(o, "PrometheusReady") is not None, "it says so")
    assert says(obj, "PrometheusReady") == ("False", "KindsMissing")
    pod = wait(
        lambda: world.installation.get("pods", "-n", world.namespace, "-l", "tidemill.io/monitor=churn")["items"],
        10,
        "the pod is there",
    )[0]
    assert pod["metadata"]["annotations"]["prometheus.io/scrape"] == "true"


def test_rules_are_accepted_by_promtool(tmp_path: Path) -> None:
    from tests.unit.monitoring.make import FULL, snapshot

    spec = {**FULL, "prometheus": {"labels": {"team": "risk"}}}
    ModelMonitorSpec.model_validate(spec)
    made = rules.build(snapshot(spec, prometheus_kinds=frozenset({"PrometheusRule"})))
    path = tmp_path / "rules.yaml"
    path.write_text(yaml.safe_dump({"groups": made[0]["spec"]["groups"]}))
    assert f"{len(alerts.MONITOR)} rules found" in promtool.run("check", "rules", path)


def test_the_rules_of_the_installation_are_accepted_by_promtool(tmp_path: Path) -> None:
    shipped = Path(__file__).resolve().parents[2] / "manifests" / "prometheus" / "rules.yaml"
    path = tmp_path / "rules.yaml"
    path.write_text(yaml.safe_dump({"groups": yaml.safe_load(shipped.read_text())["spec"]["groups"]}))
    assert f"{len(alerts.INSTALLATION)} rules found" in promtool.run("check", "rules", path)
