"""The objects that the training slice makes, field by field where a field is a promise."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from tests.support import builders_training as make
from tests.unit.training.test_loop import quickstart
from tests.unit.training.world import World

from tidemill.config import OperatorConfig
from tidemill.core.plan import Key
from tidemill.kube.cache import Cache
from tidemill.training import config_map_digests, reconcilers
from tidemill.training.job_status import job_outcome
from tidemill.training.pipeline.builders.training_run import run_name
from tidemill.training.pipeline.policy.inputs import outcome_digest
from tidemill_contracts import signatures
from tidemill_contracts.artifact import Signature
from tidemill_contracts.revisions import code_digest
from tidemill_contracts.training import PROBE_ENV, ProbeConfig, TrainerConfig

Obj = dict[str, Any]


AWS = [
    {"key": key, "path": key}
    for key in ("AWS_ACCESS_KEY_ID", "AWS_ENDPOINT_URL", "AWS_REGION", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
]


def job_of(pipeline: make.Pipeline, *objects: Obj, config: OperatorConfig | None = None) -> Obj:
    """The Job of a pipeline's first run."""
    world = World(pipeline.obj(), make.ConfigMap().obj(), *objects, config=config)
    world.settle()
    return world.get("Job", world.names("TrainingRun")[0])


def config_of(job: Obj) -> TrainerConfig:
    """The trainer's configuration."""
    environment = {e["name"]: e["value"] for e in container(job)["env"]}
    return TrainerConfig.model_validate_json(environment["TIDEMILL_TRAINER_CONFIG"])


def container(job: Obj) -> Obj:
    """The one container."""
    found: list[Obj] = job["spec"]["template"]["spec"]["containers"]
    assert len(found) == 1
    return found[0]


def test_the_job_follows_the_skeleton() -> None:
    spec = job_of(make.Pipeline().spec(run={"backoffLimit": 1, "activeDeadlineSeconds": 60}))["spec"]

    assert spec["backoffLimit"] == 1
    assert spec["activeDeadlineSeconds"] == 60
    assert spec["ttlSecondsAfterFinished"] == 86400
    assert spec["podReplacementPolicy"] == "Failed"
    assert [r["action"] for r in spec["podFailurePolicy"]["rules"]] == ["Ignore", "FailJob"]
    assert spec["podFailurePolicy"]["rules"][1]["onExitCodes"] == {
        "containerName": "train",
        "operator": "In",
        "values": [42],
    }
    assert spec["template"]["spec"]["restartPolicy"] == "Never"
    assert "suspend" not in spec


def test_the_pod_passes_pod_security_restricted_and_holds_no_credentials() -> None:
    pod = job_of(make.Pipeline())["spec"]["template"]["spec"]

    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    security = pod["containers"][0]["securityContext"]
    assert security["readOnlyRootFilesystem"] is True
    assert security["allowPrivilegeEscalation"] is False
    assert security["capabilities"] == {"drop": ["ALL"]}
    assert {v["name"] for v in pod["volumes"] if "emptyDir" in v} == {"tmp"}
    assert pod["containers"][0]["terminationMessagePolicy"] == "File"


def test_everything_that_a_run_reads_or_writes_is_mounted_where_the_contract_says() -> None:
    pipeline = (
        make.Pipeline()
        .data("pvc://lake/rows", "configmap://rows/d.csv", "s3://bucket/x", "pvc://tidemill-artifacts/in")
        .spec(artifacts={})
    )
    pipeline.obj()
    spec = pipeline.obj()["spec"]
    spec["data"][2]["secretRef"] = {"name": "lake.keys"}
    pipeline.spec(data=spec["data"])
    pod = job_of(pipeline, make.ConfigMap("rows", d_csv="1").obj())["spec"]["template"]["spec"]
    paths = {m["mountPath"]: m.get("readOnly", False) for m in pod["containers"][0]["volumeMounts"]}

    assert paths == {
        "/tmp": False,
        "/mnt/code": True,
        "/mnt/pvc/lake": True,
        "/mnt/pvc/tidemill-artifacts": False,  # read as data, written as store
        "/mnt/configmap/rows": True,
        "/mnt/secret/lake.keys": True,
    }
    (secret,) = [v["secret"] for v in pod["volumes"] if "secret" in v]
    assert secret == {"secretName": "lake.keys", "items": AWS, "optional": True, "defaultMode": 0o440}
    assert {m["name"] for m in pod["containers"][0]["volumeMounts"]} == {v["name"] for v in pod["volumes"]}


def test_the_trainer_is_given_everything() -> None:
    pipeline = (
        make.Pipeline()
        .gates({"metric": "roc_auc", "min": 0.5}, {"metric": "roc_auc", "againstChampion": {"minDelta": 0}})
        .spec(parameters={"depth": "3"}, seed=7, allowPickle=True, image="team/trainer:2")
    )
    pipeline.spec(
        data=[
            {
                "name": "rows",
                "uri": "configmap://rows/d.csv",
                "format": "CSV",
                "expectations": {
                    "minRows": 10,
                    "columns": [{"name": "größe", "type": "Number", "maxMissingRatio": 0.1}],
                },
            }
        ]
    )
    job = job_of(pipeline, make.ConfigMap("rows", d_csv="1").obj())
    given = config_of(job)

    assert given.run == job["metadata"]["name"]
    assert (given.namespace, given.pipeline, given.image, given.seed) == (make.NAMESPACE, "churn", "team/trainer:2", 7)
    assert given.data[0].expectations is not None
    assert given.data[0].expectations.columns[0].max_missing_ratio == 0.1
    assert given.data[0].revision is not None
    assert given.code.digest == code_digest({"train.py": make.CODE.encode()})
    assert given.code.directory == "/mnt/code"
    assert given.gate_metrics == ("roc_auc",)
    assert given.store == make.STORE
    assert given.keep == ()
    assert given.champion is None
    assert given.allow_pickle


def test_the_second_run_is_judged_against_the_champion_and_keeps_what_exists() -> None:
    world = quickstart(make.Pipeline().triggers(codeChange={}))
    world.train()
    world.put(make.ConfigMap(train_py="2").obj())
    world.settle()
    given = config_of(world.get("Job", world.names("TrainingRun")[-1]))

    assert given.champion is not None
    assert given.champion.version == "churn-1"
    assert given.champion.metrics["roc_auc"] == 0.95
    assert given.keep == (make.digest("d"),)


def test_code_in_the_image_needs_no_config_map_and_commands_are_passed_on() -> None:
    pipeline = make.Pipeline().spec(code={"command": ["Rscript", "train.R"]}, image="team/r:1")
    world = World(pipeline.obj())
    world.settle()
    job = world.get("Job", world.names("TrainingRun")[0])
    given = config_of(job)

    assert given.code.command == ("Rscript", "train.R")
    assert given.code.directory is None
    assert "/mnt/code" not in {m["mountPath"] for m in container(job)["volumeMounts"]}


def test_placement_and_pull_settings_reach_the_pod() -> None:
    pipeline = make.Pipeline().spec(
        resources={"requests": {"memory": "2Gi"}},
        nodeSelector={"pool": "train"},
        tolerations=[{"key": "gpu", "operator": "Exists"}],
        serviceAccountName="puller",
    )
    config = OperatorConfig(image_pull_secrets=("hub",), image_pull_policy="Always", trainer_image="t:1")
    pod = job_of(pipeline, config=config)["spec"]["template"]["spec"]

    assert pod["containers"][0]["resources"] == {"requests": {"memory": "2Gi"}}
    assert pod["nodeSelector"] == {"pool": "train"}
    assert pod["tolerations"] == [{"key": "gpu", "operator": "Exists"}]
    assert pod["serviceAccountName"] == "puller"
    assert pod["imagePullSecrets"] == [{"name": "hub"}]
    assert (pod["containers"][0]["image"], pod["containers"][0]["imagePullPolicy"]) == ("t:1", "Always")


def test_one_secret_for_two_schemes_shows_the_keys_of_both_and_no_others() -> None:
    pipeline = make.Pipeline().data("s3://bucket/x", "https://host/t.csv")
    data = [{**source, "secretRef": {"name": "keys"}} for source in pipeline.obj()["spec"]["data"]]
    pod = job_of(pipeline.spec(data=data))["spec"]["template"]["spec"]
    (secret,) = [v["secret"] for v in pod["volumes"] if "secret" in v]
    assert [item["key"] for item in secret["items"]] == sorted([*(item["key"] for item in AWS), "AUTHORIZATION"])


def test_users_labels_are_not_copied() -> None:
    pipeline = make.Pipeline().obj()
    pipeline["metadata"]["labels"] = {"argocd.argoproj.io/instance": "x"}
    world = World(pipeline, make.ConfigMap().obj())
    world.settle()
    for kind in ("TrainingRun", "Job"):
        for name in world.names(kind):
            assert "argocd.argoproj.io/instance" not in world.get(kind, name)["metadata"]["labels"]


def test_a_probe_is_given_only_external_inputs() -> None:
    pipeline = make.Pipeline().data("s3://bucket/x", "configmap://rows/d.csv", "pvc://lake/y").triggers(dataChange={})
    pipeline.obj()
    data = pipeline.obj()["spec"]["data"]
    data[0]["secretRef"] = {"name": "lake"}
    pipeline.spec(data=data)
    world = quickstart(pipeline, make.ConfigMap("rows", d_csv="1").obj())
    world.train()
    job = world.get("Job", next(n for n in world.names("Job") if "-probe-" in n))
    environment = {e["name"]: e["value"] for e in container(job)["env"]}

    assert [d.uri for d in ProbeConfig.model_validate_json(environment[PROBE_ENV]).data] == [
        "s3://bucket/x",
        "pvc://lake/y",
    ]
    assert container(job)["command"][-1] == "probe"
    (secret,) = [v["secret"] for v in job["spec"]["template"]["spec"]["volumes"] if "secret" in v]
    assert secret == {"secretName": "lake", "items": AWS, "optional": True, "defaultMode": 0o440}
    assert job["spec"]["template"]["spec"]["automountServiceAccountToken"] is False


def test_a_version_records_where_it_comes_from() -> None:
    signature = {
        "inputs": [
            {"name": "größe", "datatype": "FP64", "shape": [-1], "categories": None},
            {"name": "kunde", "datatype": "INT64", "used": False},
        ],
        "outputs": [{"name": "label", "datatype": "INT64"}],
    }
    world = quickstart(make.Pipeline().spec(parameters={"depth": "3"}, seed=3))
    run = world.train("d", None, signature=signature, onnx="verified")
    spec = world.get("ModelVersion", "churn-1")["spec"]

    assert spec["signature"]["inputs"][0]["name"] == "größe"
    stored = Signature.model_validate(spec["signature"])
    assert spec["signatureDigest"] == signatures.digest(stored), "of what is stored, whatever the pod reported"
    assert [column.get("used") for column in spec["signature"]["inputs"]] == [None, False]
    assert spec["lineage"]["run"] == run
    assert spec["lineage"]["parameters"] == {"depth": "3"}
    assert spec["lineage"]["frameworks"] == {"scikit-learn": "1.9.0"}
    assert spec["onnx"] == "verified"
    assert world.get("ModelVersion", "churn-1")["metadata"]["ownerReferences"][0]["kind"] == "TrainingPipeline"


def test_a_version_whose_signature_is_too_long_records_its_digest() -> None:
    world = quickstart()
    world.train("d", None, signature=None, signature_digest=make.digest("9"))
    spec = world.get("ModelVersion", "churn-1")["spec"]
    assert "signature" not in spec and spec["signatureDigest"] == make.digest("9")


# -- names, digests, mappers ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [None, "29407680", "m0a1b2c", "g17"])
@pytest.mark.parametrize("pipeline", ["churn", "a" * 63, "a.b.c", "9lives"])
def test_run_names_are_labels_that_keep_their_suffix(pipeline: str, suffix: str | None) -> None:
    name = run_name(pipeline, make.digest("a"), suffix)

    assert len(name) <= 63
    assert name.replace("-", "").isalnum()
    assert name.endswith(suffix or "aaaaaaaaaa")


def test_equal_specs_digest_alike_whatever_is_written_out_as_default() -> None:
    from tidemill.api.v1alpha1.training_pipeline import TrainingPipelineSpec

    short = make.Pipeline().obj()["spec"]
    long = TrainingPipelineSpec.model_validate(short).to_json()
    assert outcome_digest(TrainingPipelineSpec.model_validate(short)) == outcome_digest(
        TrainingPipelineSpec.model_validate(long)
    )


def test_a_config_map_is_digested_by_content_whatever_key_holds_it() -> None:
    text = config_map_digests.digests({"data": {"a.py": "x", "b.py": "y"}})
    binary = config_map_digests.digests(
        {"data": {"b.py": "y"}, "binaryData": {"a.py": base64.b64encode(b"x").decode()}}
    )

    assert text == binary
    assert config_map_digests.digests({"data": {"a.py": "x"}}).code != text.code
    assert config_map_digests.digests({"data": {"a.py": "y", "b.py": "x"}}).code != text.code


@pytest.mark.slow
def test_five_hundred_pipelines_of_one_code_read_it_once() -> None:
    world = World(*(make.Pipeline(f"p-{i}").obj() for i in range(50)), make.ConfigMap().obj())
    world.settle()
    assert [r.name for r in world.client.gets].count("churn-code") == 1


def test_an_event_wakes_whom_it_concerns() -> None:
    cache = Cache()
    code = make.Pipeline("by-code").obj()
    data = make.Pipeline("by-data").data("configmap://rows/d.csv").obj()
    for obj in (code, data):
        cache.put(obj)

    def names(mapper: Any, obj: Obj) -> list[Key]:
        return list(mapper(obj, cache))

    assert names(reconcilers.config_map_to_pipelines, make.ConfigMap("churn-code").obj()) == [
        Key("TrainingPipeline", make.NAMESPACE, "by-code"),
        Key("TrainingPipeline", make.NAMESPACE, "by-data"),
    ]
    assert [k.name for k in names(reconcilers.config_map_to_pipelines, make.ConfigMap("rows").obj())] == ["by-data"]
    monitor = make.Monitor("watch").asks("1", "churn").asks("2", "other").obj()
    assert [k.name for k in names(reconcilers.monitor_to_pipelines, monitor)] == ["churn", "other"]
    pod = make.pod(job_of(make.Pipeline()))
    assert [k.kind for k in names(reconcilers.pod_to_owner, pod)] == ["TrainingRun"]


def test_a_deployment_wakes_the_versions_that_it_serves_or_served(monkeypatch: pytest.MonkeyPatch) -> None:
    """It says so at every step of a roll-out: the namespace's other versions are not looked at for that."""
    cache = Cache()

    def version(name: str, *deployments: str) -> Obj:
        meta = {"name": name, "namespace": make.NAMESPACE, "uid": f"u-{name}", "resourceVersion": "1"}
        status = {"deployments": list(deployments)}
        return {"apiVersion": "tidemill.io/v1alpha1", "kind": "ModelVersion", "metadata": meta, "status": status}

    for obj in (version("v1", "web"), version("v2"), version("v3", "other"), version("v4", "web", "other")):
        cache.put(obj)
    monkeypatch.setattr(cache, "list", lambda *_, **__: pytest.fail("all versions are looked at"))
    meta = {"name": "web", "namespace": make.NAMESPACE}
    deployment = {"metadata": meta, "status": {"stable": {"version": "v2"}, "candidate": {"version": "gone"}}}
    assert [k.name for k in reconcilers.deployment_to_versions(deployment, cache)] == ["v1", "v2", "v4"]


def test_interim_conditions_of_a_job_are_not_its_end() -> None:
    assert job_outcome({"status": {"conditions": make.job_condition("FailureTarget")}}) is None
    assert job_outcome({"status": {"conditions": make.job_condition("SuccessCriteriaMet")}}) is None
    assert job_outcome({"status": {"conditions": make.job_condition("Failed")}}) == "Failed"


def test_trainer_and_probe_are_given_where_data_may_come_from() -> None:
    config = OperatorConfig(allowed_networks=("10.1.0.0/16",), refused_networks=("0.0.0.0/0",), expanded_limit="2Gi")
    given = [{"name": name, "value": value} for name, value in config.data_environment().items()]
    assert len(given) == 3
    pipeline = make.Pipeline().data("https://lake.example/customers.csv").triggers(dataChange={})
    world = World(pipeline.obj(), make.ConfigMap().obj(), config=config)
    world.settle()
    world.train()
    jobs = [world.get("Job", name) for name in world.names("Job")]
    components = {job["metadata"]["labels"]["app.kubernetes.io/component"] for job in jobs}
    assert components == {"trainer", "probe"}
    for job in jobs:
        assert all(entry in container(job)["env"] for entry in given)
