"""What goes wrong on a cluster says so, in the status, in a sentence that a person can act on."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hack.tools.kubectl import Kubectl, KubectlError, condition, is_true, wait_for
from tests.e2e import incluster
from tests.e2e.conftest import shared_namespace, wait_condition
from tests.e2e.manifests import GOOD_CODE, code, deployment, pipeline, table

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(420)]


BROKEN_CODE = {
    "syntax": ("def train(data, target:\n  return 1\n", "train.py"),
    "raises": ("def train(data, target):\n    raise ValueError('no such thing as a free lunch')\n", "free lunch"),
    "no-estimator": ("def train(data, target):\n    return 42\n", "estimator"),
    "no-entrypoint": ("def fit(data, target):\n    return None\n", "train"),
}
IMAGE = "registry.invalid/nothing:1"
FORGED = """
import json, os

def train(data, target):
    report = {
        "outcome": "Succeeded",
        "digest": "sha256:" + "a" * 64,
        "model_digest": "sha256:" + "b" * 64,
        "uri": "pvc://tidemill-artifacts/elsewhere/" + "a" * 64,
        "formats": ["joblib"],
        "task": "classification",
        "metrics": {"accuracy": 1.0},
    }
    with open("/dev/termination-log", "w") as log:
        json.dump(report, log)
    os._exit(0)
"""


@pytest.fixture(scope="module")
def side_by_side(cluster: Kubectl) -> Iterator[Kubectl]:
    """All pipelines that need nothing but one run, from the start; each test looks at one of them."""
    notes = GOOD_CODE.replace("seed: int = 0", "seed: int = 0, notes: str = ''")
    hangs = "import time\n\ndef train(data, target):\n    time.sleep(3600)\n"
    written = {name: text for name, (text, _) in BROKEN_CODE.items()}
    written |= {"forged": FORGED, "large": notes, "hang": hangs, "good": GOOD_CODE}
    limits = {"backoffLimit": 0, "activeDeadlineSeconds": 300, "pendingDeadlineSeconds": 20}
    gates = {"gates": [{"metric": "business_value", "min": 1}]}
    with shared_namespace(cluster, "e2e-bad-input") as kubectl:
        kubectl.apply([code(f"{name}-code", text) for name, text in written.items()])
        kubectl.apply([pipeline(name) for name in (*BROKEN_CODE, "forged")])
        kubectl.apply(
            [
                pipeline("large", parameters={"notes": "n" * 186_000}),
                pipeline("hang", run=limits | {"activeDeadlineSeconds": 15, "pendingDeadlineSeconds": 60}),
                pipeline("image", "good-code", image=IMAGE, run=limits),
                pipeline("target", "good-code", target="speciess"),
                pipeline("gate", "good-code", evaluation=gates),
            ]
        )
        yield kubectl


def failed_run(kubectl: Kubectl, name: str, timeout: float = 150) -> dict[str, Any]:
    """Wait for the one run of a pipeline to end badly and return it."""

    def probe() -> dict[str, Any] | None:
        runs = [r for r in kubectl.list("trainingrun") if r["spec"]["pipeline"] == name]
        return next((r for r in runs if condition(r, "Succeeded").get("status") in ("True", "False")), None)

    run = wait_for(f"the end of the run of {name}", probe, timeout, lambda: kubectl.run("get", "trainingruns"))
    assert condition(run, "Succeeded")["status"] == "False", condition(run, "Succeeded")
    return run


def versions_of(kubectl: Kubectl, name: str) -> list[dict[str, Any]]:
    """Return the versions of a pipeline."""
    return [v for v in kubectl.list("modelversion") if v["spec"]["pipeline"] == name]


@pytest.mark.parametrize("name", BROKEN_CODE)
def test_broken_code_is_the_users_error_with_the_cause_named(side_by_side: Kubectl, name: str) -> None:
    run = failed_run(side_by_side, name)

    failure = run["status"]["failure"]
    assert failure["category"] == "UserError"
    assert BROKEN_CODE[name][1] in failure["message"]


def test_code_that_writes_its_own_report_registers_nothing(side_by_side: Kubectl) -> None:
    run = failed_run(side_by_side, "forged")

    assert run["status"]["failure"]["reason"] == "ResultRefused"
    assert "elsewhere" in run["status"]["failure"]["message"]
    assert versions_of(side_by_side, "forged") == []


def test_a_pipeline_larger_than_an_environment_variable_trains(side_by_side: Kubectl) -> None:
    wait_condition(side_by_side, "trainingpipeline", "large", lambda o: is_true(o, "Ready"), 150)


def test_a_function_that_hangs_meets_its_deadline(side_by_side: Kubectl) -> None:
    run = failed_run(side_by_side, "hang")

    assert run["status"]["failure"]["category"] == "Deadline"
    assert "15" in run["status"]["failure"]["message"]


def test_an_image_that_does_not_exist_meets_the_pending_deadline(side_by_side: Kubectl) -> None:
    run = failed_run(side_by_side, "image")

    assert run["status"]["failure"]["category"] == "ImagePull"
    assert IMAGE in run["status"]["failure"]["message"]


def test_a_missing_target_column_is_named_with_the_columns_that_exist(side_by_side: Kubectl) -> None:
    run = failed_run(side_by_side, "target")

    failure = run["status"]["failure"]
    assert failure["category"] == "DataInvalid"
    assert "speciess" in failure["message"]
    assert "sepal length" in failure["message"]


def test_a_gate_on_a_metric_that_the_run_does_not_produce_refuses(side_by_side: Kubectl) -> None:
    run = failed_run(side_by_side, "gate")

    assert condition(run, "Succeeded")["reason"] == "Rejected"
    assert run["status"]["gates"][0]["reason"] == "MetricMissing"
    assert "business_value" in run["status"]["gates"][0]["message"]
    assert versions_of(side_by_side, "gate") == []


LONG = "a" + "b" * 61 + "c"
UMLAUT = """
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

def train(data, target):
    one_hot = OneHotEncoder(handle_unknown="ignore")
    columns = make_column_transformer((StandardScaler(), ["größe"]), (one_hot, ["färbe"]))
    return make_pipeline(columns, LogisticRegression()).fit(data, target)
"""


@pytest.fixture(scope="module")
def served(cluster: Kubectl) -> Iterator[tuple[Kubectl, Kubectl]]:
    """Three models that are trained and served side by side, and one of them in a second namespace, too."""
    rows = ["größe,färbe,ziel"]
    rows += [f"{i % 7}.5,{('rot', 'grün', '青')[i % 3]},{('ja', 'nein')[i % 2]}" for i in range(120)]
    source = [{"name": "daten", "uri": "configmap://daten/d.csv"}]
    twin = [code("good-code"), pipeline("twin", "good-code"), deployment("twin")]
    with shared_namespace(cluster, "e2e-served") as kubectl, shared_namespace(cluster, "e2e-other") as other:
        kubectl.apply([table("daten", rows), code("umlaut-code", UMLAUT), deployment("umlaut"), deployment(LONG)])
        kubectl.apply([pipeline("umlaut", data=source, target="ziel"), pipeline(LONG, "good-code"), *twin])
        other.apply(twin)
        yield kubectl, other


def test_non_ascii_columns_and_categories_train_and_serve(served: tuple[Kubectl, Kubectl]) -> None:
    kubectl, _ = served
    wait_condition(kubectl, "modeldeployment", "umlaut", lambda md: is_true(md, "Ready"), 240)
    reply = ask(kubectl, "umlaut", {"instances": [{"größe": 1.5, "färbe": "grün"}]}, path="v1/models/umlaut:predict")
    assert reply["predictions"][0] in ("ja", "nein")


def test_two_deployments_of_one_name_in_two_namespaces(served: tuple[Kubectl, Kubectl]) -> None:
    for each in served:
        wait_condition(each, "modeldeployment", "twin", lambda md: is_true(md, "Ready"), 240)
        reply = ask(each, "twin", {"instances": [[5.1, 3.5, 1.4, 0.2]]}, path="v1/models/twin:predict")
        assert len(reply["predictions"]) == 1


def test_a_63_character_name_works_from_pipeline_to_prediction(served: tuple[Kubectl, Kubectl]) -> None:
    kubectl, _ = served
    assert len(LONG) == 63
    wait_condition(kubectl, "modeldeployment", LONG, lambda md: is_true(md, "Ready"), 240)
    reply = ask(kubectl, LONG, {"instances": [[5.1, 3.5, 1.4, 0.2]]}, path=f"v1/models/{LONG}:predict")
    assert len(reply["predictions"]) == 1


def ask(kubectl: Kubectl, name: str, body: dict[str, Any], path: str) -> dict[str, Any]:
    """Post to a deployment through the API server's service proxy."""
    url = f"/api/v1/namespaces/{kubectl.namespace}/services/{name}:80/proxy/{path}"
    answer: dict[str, Any] = json.loads(Kubectl().run("create", "--raw", url, "-f", "-", stdin=json.dumps(body)))
    return answer


def test_everything_may_be_created_in_any_order(namespace: Kubectl) -> None:
    namespace.apply(deployment("late"))
    waiting = wait_condition(
        namespace, "modeldeployment", "late", lambda md: condition(md, "Ready").get("status") == "False", 30
    )
    assert "late" in condition(waiting, "Ready")["message"]
    namespace.apply(pipeline("late"))
    wait_condition(
        namespace, "trainingpipeline", "late", lambda tp: "late-code" in condition(tp, "Ready").get("message", ""), 30
    )
    namespace.apply(code("late-code"))

    wait_condition(namespace, "modeldeployment", "late", lambda md: is_true(md, "Ready"), 180)


def test_an_artifact_that_was_changed_is_refused_and_the_old_version_keeps_serving(namespace: Kubectl) -> None:
    namespace.apply([code("tamper-code"), pipeline("tamper", approval="Manual")])
    first = wait_for("version 1", lambda: namespace.get("modelversion", "tamper-1"), 120)
    approve(namespace, first)
    namespace.apply(deployment("tamper"))
    wait_condition(namespace, "modeldeployment", "tamper", lambda md: is_true(md, "Ready"), 120)

    namespace.apply(code("tamper-code", GOOD_CODE.replace("random_state=seed", "C=0.5, random_state=seed")))
    namespace.run("annotate", "trainingpipeline", "tamper", "tidemill.io/run-requested-at=now", "--overwrite")
    second = wait_for("version 2", lambda: namespace.get("modelversion", "tamper-2"), 120)
    change_artifact(namespace, second)
    approve(namespace, second)

    def refused(md: dict[str, Any]) -> bool:
        return any(f["version"] == "tamper-2" for f in md["status"].get("failedVersions", []))

    md = wait_condition(namespace, "modeldeployment", "tamper", refused, 180)
    assert "digest" in json.dumps(md["status"]["failedVersions"]).lower()
    assert md["status"]["stable"]["version"] == "tamper-1"
    ask(namespace, "tamper", {"instances": [[5.1, 3.5, 1.4, 0.2]]}, path="v1/models/tamper:predict")


def approve(kubectl: Kubectl, version: dict[str, Any]) -> None:
    """Approve a version by its digest, as a person would."""
    name, digest = version["metadata"]["name"], version["spec"]["digest"]
    kubectl.run("annotate", "modelversion", name, f"tidemill.io/approve={digest}", "--overwrite")


def change_artifact(kubectl: Kubectl, version: dict[str, Any]) -> None:
    """Change one byte of a stored model from a pod that mounts the claim."""
    claim, _, path = version["spec"]["uri"].removeprefix("pvc://").partition("/")
    script = f"p='/store/{path}/model.onnx'; b=bytearray(open(p,'rb').read()); b[-1]^=1; open(p,'wb').write(b)"
    mounts = [{"name": "store", "mountPath": "/store"}]
    container = incluster.container("vandal", ["python", "-c", script], volumeMounts=mounts)
    volume = {"name": "store", "persistentVolumeClaim": {"claimName": claim}}
    kubectl.apply(incluster.pod("vandal", container, volumes=[volume]))
    wait_condition(kubectl, "pod", "vandal", lambda p: p["status"].get("phase") == "Succeeded", 60)


def test_deletion_in_mid_flight_leaves_nothing_behind(namespace: Kubectl) -> None:
    namespace.apply([code("gone-code"), pipeline("gone"), deployment("gone")])
    wait_for("a run", lambda: namespace.list("trainingrun"), 30)
    namespace.run("delete", "trainingpipeline/gone", "modeldeployment/gone", "--wait=true", timeout=60)

    def empty() -> bool:
        return not any(namespace.list(kind) for kind in ("trainingrun", "modelversion", "job", "deployment"))

    wait_for("an empty namespace", empty, 90, lambda: namespace.run("get", "tidemill,job,deployment,pod"))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"rollout": {"strategy": "Canari"}}, ("strategy", "Canary", "Immediate")),
        (
            {"rollout": {"strategy": "Canary", "steps": [{"weight": 50}, {"weight": 10}]}},
            ("spec.rollout.steps", "increase"),
        ),
        ({"rollout": {"strategy": "Canary", "steps": [{"weight": 101}]}}, ("weight", "100")),
        ({"replicass": 2}, ("replicass",)),
    ],
)
def test_kubectl_apply_refuses_and_names_field_and_values(
    side_by_side: Kubectl, change: dict[str, Any], words: tuple[str, ...]
) -> None:
    with pytest.raises(KubectlError) as refused:
        side_by_side.apply(deployment("refused", **change))

    for word in words:
        assert word in str(refused.value)
