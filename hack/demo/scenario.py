"""The steps of the demo, in order. Each does one thing, waits until the cluster shows the result, and prints it.

Nothing here decides: the operator does. A step raises when the result does not come.
"""

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hack import install
from hack.demo.console import Console
from hack.demo.models import BETTER, SLOW
from hack.demo.traffic import Totals, Traffic
from hack.images.inputs import image_name
from hack.tools.kubectl import CONTEXT, Kubectl, condition, is_true, wait_for

ROOT = Path(__file__).resolve().parents[2]
QUICKSTART = ROOT / "manifests" / "samples" / "quickstart"
POLICIES = ROOT / "manifests" / "namespace"
NAME = "cancer"  # of the pipeline, the deployment and the monitor in the quickstart
RATE = 20  # requests a second of the constant traffic
OWN_MODEL = (
    "cp -r manifests/samples/own-model ~/churn",
    "$EDITOR ~/churn/customers.csv ~/churn/train.py ~/churn/models.yaml    # your rows, your code, your target's name",
    "kubectl create namespace team-a && kubectl -n team-a apply -k ~/churn",
)
"""From here to a model of one's own; README shows the same example."""
DRIFTED = {"mean radius": 1.6, "mean area": 2.2, "worst area": 2.2, "worst perimeter": 1.6}


class ScenarioError(RuntimeError):
    """A step had another result than it should have."""


@dataclass
class Scenario:
    """The loop on one cluster, in one namespace."""

    namespace: str = "tidemill-demo"
    console: Console = field(default_factory=Console)
    image: str = field(default_factory=lambda: image_name("server"))

    def __post_init__(self) -> None:
        self.kubectl = Kubectl(self.namespace)
        self.cluster = Kubectl()
        self.traffic = Traffic(self.kubectl, "traffic", self.image)
        self.drifted_traffic = Traffic(self.kubectl, "traffic-drifted", self.image)
        self.weights: list[int] = []

    # Reading

    def deployment(self) -> dict[str, Any]:
        """Return the ModelDeployment."""
        return self.kubectl.get("modeldeployment", NAME) or {}

    def stable(self) -> str | None:
        """Return the version that answers requests."""
        version: str | None = ((self.deployment().get("status") or {}).get("stable") or {}).get("version")
        return version

    def runs(self) -> list[dict[str, Any]]:
        """Return the TrainingRuns, oldest first."""
        return self.kubectl.list("trainingrun")

    def run_of(self, trigger: str, after: int = 0) -> dict[str, Any] | None:
        """Return the newest ended run with a trigger among those after the first `after` ones."""
        ended = [
            r for r in self.runs()[after:] if r["spec"]["trigger"]["type"] == trigger and succeeded(r) != "Unknown"
        ]
        return ended[-1] if ended else None

    def state(self) -> str:
        """Return one line on where things stand."""
        status = self.deployment().get("status") or {}
        candidate = status.get("candidate") or {}
        ready = condition(self.deployment(), "Ready")
        text = f"stable {((status.get('stable') or {}).get('version'))}"
        if candidate:
            text += f", candidate {candidate.get('version')} at {candidate.get('weight')} %"
        return f"{text}, {ready.get('reason')}: {ready.get('message')}"

    def pipeline_state(self) -> str:
        """Return one line on what the pipeline does."""
        ready = condition(self.kubectl.get("trainingpipeline", NAME), "Ready")
        return f"{ready.get('reason')}: {ready.get('message')}"

    # Steps

    def install(self) -> None:
        """Install the operator."""
        self.console.heading("Install")
        install.apply()
        self.cluster.run("wait", "--for=condition=Established", "--timeout=60s", *crds())
        system = Kubectl("tidemill-system")
        system.run("rollout", "restart", "deployment/tidemill-operator")  # the image's tag says nothing of its content
        with self.console.waiting("the operator starts"):
            system.run("rollout", "status", "deployment/tidemill-operator", "--timeout=180s")
        self.console.say("The operator runs; the cluster knows TrainingPipeline, ModelDeployment and ModelMonitor.")

    def apply_quickstart(self) -> None:
        """Create the namespace, with Pod Security `restricted` and NetworkPolicies, and apply the three resources."""
        self.console.heading("Three small resources")
        labels = {"pod-security.kubernetes.io/enforce": "restricted"}
        metadata = {"name": self.namespace, "labels": labels}
        self.cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
        self.kubectl.run("apply", "-k", str(POLICIES))
        self.kubectl.run("apply", "-k", str(QUICKSTART))
        self.console.say("kubectl apply -k manifests/samples/quickstart: a pipeline, a deployment, a monitor.")

    def first_version(self) -> dict[str, Any]:
        """Wait for the first run, its verdict, version 1, and the deployment that serves it."""
        self.console.heading("Train, judge, register, serve")
        with self.console.waiting("the first run", self.pipeline_state):
            run = wait_for("the first run", lambda: self.run_of("NeverTrained"), 240, self.pipeline_state)
        require(succeeded(run) == "True", f"the first run did not succeed: {condition(run, 'Succeeded')}")
        result = run["status"]["result"]
        rows, seconds = result["rows"], sum(result.get("seconds", {}).values())
        self.console.say(
            f"Run {name(run)} trained on {rows.get('train')} rows, judged on {rows.get('holdout')}, {seconds:.1f} s."
        )
        for gate in run["status"]["gates"]:
            self.console.say(f"Gate {gate['metric']}: {gate['message']}")
        version = run["status"]["version"]
        self.console.say(f"Registered {version}, {result['digest'][:19]}…, with the digests of data, code and image.")
        with self.console.waiting("the deployment", self.state):
            wait_for("the deployment Ready", lambda: is_true(self.deployment(), "Ready"), 180, self.state)
        require(self.stable() == version, f"{self.stable()} is served instead of {version}")
        self.console.say(f"{version} answers at {self.deployment()['status']['url']}.")
        return run

    def predict(self) -> dict[str, Any]:
        """Ask for one prediction."""
        columns, rows = samples()
        inputs = [
            {"name": column, "shape": [1], "datatype": "FP64", "data": [value]}
            for column, value in zip(columns, rows[0], strict=True)
        ]
        path = f"/api/v1/namespaces/{self.namespace}/services/{NAME}:80/proxy/v2/models/{NAME}/infer"
        answer = self.cluster.run("create", "--raw", path, "-f", "-", stdin=json.dumps({"inputs": inputs}))
        reply: dict[str, Any] = json.loads(answer)
        self.console.say(f"A prediction: {json.dumps(reply['outputs'])[:120]}")
        return reply

    def start_traffic(self) -> None:
        """Start constant traffic that looks like the training data."""
        columns, rows = samples()
        url = f"http://{NAME}.{self.namespace}.svc.cluster.local"
        self.traffic.start(url, NAME, columns, rows, rate=RATE, shift={})
        self.console.say(f"Constant traffic: {RATE} requests a second from a pod in the cluster.")

    def better_version(self) -> Totals:
        """Change the code; watch the new version being trained and rolled out step by step."""
        self.console.heading("Better code: a canary")
        before, runs = self.stable(), len(self.runs())
        self.change_code(BETTER)
        self.console.say("The code's ConfigMap changed.")
        with self.console.waiting("a run with trigger CodeChanged", self.pipeline_state):
            run = wait_for("the run", lambda: self.run_of("CodeChanged", runs), 240, self.pipeline_state)
        version = run["status"].get("version")
        require(version, f"the run registered no version: {condition(run, 'Succeeded')}")
        self.console.say(f"Run {name(run)} passed its gates: {version}.")
        self.follow(version, before)
        return self.check_traffic()

    def slow_version(self) -> Totals:
        """Change the code to something accurate and slow; watch the rollback."""
        self.console.heading("Accurate but slow: rolled back")
        before, runs = self.stable(), len(self.runs())
        self.change_code(SLOW)
        with self.console.waiting("a run with trigger CodeChanged", self.pipeline_state):
            run = wait_for("the run", lambda: self.run_of("CodeChanged", runs), 240, self.pipeline_state)
        version = run["status"].get("version")
        require(version, f"the slow version did not pass its gates: {condition(run, 'Succeeded')}")
        self.console.say(f"Run {name(run)} passed its gates: {version}. Its metrics are fine.")

        def rolled_back() -> dict[str, Any] | None:
            failed = (self.deployment().get("status") or {}).get("failedVersions") or []
            return next((f for f in failed if f["version"] == version), None)

        with self.console.waiting(f"the canary of {version}", self.state):
            failed = wait_for("the rollback", rolled_back, 240, self.state)
        require(self.stable() == before, f"{self.stable()} is stable after the rollback instead of {before}")
        self.console.say(f"{version} was rolled back automatically: {failed['message']}")
        self.console.say(f"{before} answers all requests, as before.")
        return self.check_traffic()

    def drift(self) -> dict[str, Any]:
        """Send drifted traffic; watch the monitor request a retrain, and the pipeline wait with it for new rows."""
        self.console.heading("The world changes: drift, and nothing new to learn from yet")
        self.change_code(BETTER)
        columns, rows = samples()
        url = f"http://{NAME}.{self.namespace}.svc.cluster.local"
        self.drifted_traffic.start(url, NAME, columns, rows, rate=60, shift=DRIFTED)
        self.console.say(f"Drifted traffic: {', '.join(DRIFTED)} are much larger than in training.")
        with self.console.waiting("the monitor", self.monitor_state):
            monitor = wait_for("DriftDetected", self.drifted, 300, self.monitor_state)
        features = [f["name"] for f in monitor["status"]["window"]["driftedFeatures"]]
        self.console.say(f"The monitor says: {', '.join(features[:6])} drifted.")
        with self.console.waiting("the request for a retrain", self.monitor_state):
            held = wait_for("RetrainHeld", self.held, 120, self.pipeline_state)
        self.console.say(f"The pipeline waits: {held['message']}.")
        self.check_traffic(self.drifted_traffic)
        return held

    def new_rows(self) -> dict[str, Any]:
        """Give the pipeline labelled rows of the changed world; watch the retrain win and take over."""
        self.console.heading("New rows: the retrain runs, wins and is rolled out")
        before, runs = self.stable(), len(self.runs())
        self.kubectl.apply({**config_map(f"{NAME}-rows"), "data": {"rows.csv": changed_rows()}})
        uri = {"op": "replace", "path": "/spec/data/0/uri", "value": f"configmap://{NAME}-rows/rows.csv"}
        self.kubectl.run("patch", "trainingpipeline", NAME, "--type=json", "-p", json.dumps([uri]))
        with self.console.waiting("the run that the monitor requested", self.pipeline_state):
            run = wait_for("the run", lambda: self.run_of("MonitorRequested", runs), 240, self.pipeline_state)
        trigger, version = run["spec"]["trigger"], run["status"].get("version")
        require(version, f"the run registered no version: {condition(run, 'Succeeded')}")
        self.console.say(f"Run {name(run)}: {trigger['type']}, {trigger['message']}")
        new, old = (run["status"]["result"][of]["accuracy"] for of in ("metrics", "championMetrics"))
        self.console.say(f"Accuracy on held-out rows: {new:.3f}; that of {before} on the same rows: {old:.3f}.")
        self.follow(version, before)
        self.check_traffic(self.drifted_traffic)
        self.drifted_traffic.stop()
        return run

    def end(self) -> None:
        """Show the views that a person would look at, and where to go next."""
        self.console.heading("What kubectl shows")
        self.console.show(self.kubectl.run("get", "tidemill"))
        self.console.heading("Where to look next")
        self.console.show(
            f"{point_kubectl()}\n"
            f"kubectl -n {self.namespace} describe modeldeployment {NAME}\n"
            f"kubectl -n {self.namespace} get modelversion {NAME}-1 -o yaml     # the lineage\n"
            f"kubectl -n {self.namespace} get events --sort-by=.lastTimestamp\n"
            "kubectl explain trainingpipeline.spec\n"
            "docs/kinds/ says what every field, condition and reason means, docs/what-to-do.md what to do about it;\n"
            "make demo-clean removes all of this."
        )
        self.console.heading("Your own model: three commands")
        self.console.show("\n".join(OWN_MODEL))
        self.console.show("manifests/samples/README.md has a sample for each situation that may follow.")

    def clean(self) -> None:
        """Remove what the demo made, and the operator with its CRDs unless somebody else has resources of its kinds."""
        self.cluster.run("delete", "namespace", self.namespace, "--ignore-not-found", "--wait=true", timeout=180)
        others = install.resources()
        if others:  # removing the CRDs would remove these too
            self.console.say(f"The demo is gone; Tidemill stays, {len(others)} resources elsewhere use it.")
            return
        stayed = install.remove()
        self.console.say(" ".join(["Nothing of the demo is left in the cluster.", *stayed]))

    # Parts of steps

    def change_code(self, text: str) -> None:
        """Replace the training code."""
        current = self.kubectl.get("configmap", f"{NAME}-code") or {}
        found = config_map(f"{NAME}-code", current.get("metadata", {}).get("labels"))
        self.kubectl.apply({**found, "data": {"train.py": text}})

    def check_traffic(self, traffic: Traffic | None = None) -> Totals:
        """Read what a traffic pod counted, the constant one's by default; no request may have failed."""
        totals = (traffic or self.traffic).totals()
        require(totals.ok > 0, "the traffic pod got no answers")
        require(totals.failed == 0, f"{totals.failed} of {totals.ok + totals.failed} requests failed: {totals.errors}")
        self.console.say(f"{totals.ok} requests so far, none failed; by version {totals.versions}.")
        return totals

    def follow(self, version: str, before: str | None) -> None:
        """Wait until a version has taken over, and note the weights that it got on its way."""
        self.weights = []

        def promoted() -> bool:
            status = self.deployment().get("status") or {}
            candidate = status.get("candidate") or {}
            weight = candidate.get("weight", 0) if candidate.get("version") == version else 0
            if status["stable"]["version"] == version:
                weight = 100
            if weight and (not self.weights or self.weights[-1] != weight):
                self.weights.append(weight)
                self.console.say(f"{version} answers {weight} % of the requests.")
            return bool(status["stable"]["version"] == version and not candidate)

        with self.console.waiting(f"{version} takes over from {before}", self.state):
            wait_for("the promotion", promoted, 300, self.state)

    def drifted(self) -> dict[str, Any] | None:
        """Return the monitor once it has detected drift."""
        monitor = self.kubectl.get("modelmonitor", NAME)
        return monitor if is_true(monitor, "DriftDetected") else None

    def held(self) -> dict[str, Any] | None:
        """Return the condition by which the pipeline says that a retrain waits."""
        found = condition(self.kubectl.get("trainingpipeline", NAME), "RetrainHeld")
        return found if found.get("status") == "True" else None

    def monitor_state(self) -> str:
        """Return one line on what the monitor sees."""
        monitor = self.kubectl.get("modelmonitor", NAME)
        ready, drift = condition(monitor, "Ready"), condition(monitor, "DriftDetected")
        return f"{ready.get('reason')}: {ready.get('message')}; drift {drift.get('status')} {drift.get('message', '')}"


def samples() -> tuple[list[str], list[list[float]]]:
    """Return the column names and rows of the data set that the quickstart trains on."""
    from sklearn.datasets import load_breast_cancer

    bunch = load_breast_cancer(as_frame=True)
    rows: list[list[float]] = bunch.data.sample(n=200, random_state=1).to_numpy().tolist()
    return list(bunch.feature_names), rows


def changed_rows() -> str:
    """Return labelled rows of both worlds as CSV, as many of each as there are requests of each."""
    import pandas
    from sklearn.datasets import load_breast_cancer

    frame = load_breast_cancer(as_frame=True).frame
    usual, changed = frame.sample(n=170, random_state=2), frame.sample(n=510, random_state=3)
    factors = {column: DRIFTED.get(column, 1.0) for column in frame.columns if column != "target"}
    changed = changed.assign(**{column: changed[column] * factor for column, factor in factors.items()})
    return str(pandas.concat([usual, changed]).round(5).to_csv(index=False))


def config_map(name: str, labels: dict[str, str] | None = None) -> dict[str, Any]:
    """Return a ConfigMap without content."""
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": labels or {}}}


def point_kubectl() -> str:
    """Return the command that points a person's kubectl to the demo's cluster."""
    context = os.environ.get(CONTEXT, "")
    return f"kubectl config use-context {context}" if context else 'eval "$(make -s kubeconfig)"'


def crds() -> list[str]:
    """Return the CRDs to wait for."""
    return [f"customresourcedefinition/{plural}.tidemill.io" for plural in install.PLURALS]


def succeeded(run: dict[str, Any]) -> str:
    """Return the status of a run's Succeeded condition."""
    return str(condition(run, "Succeeded").get("status", "Unknown"))


def name(item: dict[str, Any]) -> str:
    """Return an object's name."""
    return str(item["metadata"]["name"])


def require(fact: object, otherwise: str) -> None:
    """Raise ScenarioError unless the fact holds."""
    if not fact:
        raise ScenarioError(otherwise)
