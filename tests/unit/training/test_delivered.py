"""Configuration of runs and probes reaches their pods whatever its size; what no record can hold is refused before."""

from typing import Any

import pytest
from tests.support import builders_training as make
from tests.unit.training.test_loop import quickstart
from tests.unit.training.world import World

from tidemill.core.plan import Key
from tidemill.training.reconcilers import WATCHES
from tidemill_contracts.delivery import MAX_VARIABLE_BYTES
from tidemill_contracts.digests import sha256
from tidemill_contracts.training import CONFIG_ENV, PROBE_ENV, ProbeConfig, TrainerConfig

Obj = dict[str, Any]
LARGE = {"notes": "n" * 186_000}


def config_maps(world: World) -> list[Obj]:
    return [world.get("ConfigMap", n) for n in world.names("ConfigMap") if n != "churn-code"]


def given(job: Obj) -> dict[str, str]:
    return {e["name"]: e["value"] for e in job["spec"]["template"]["spec"]["containers"][0]["env"]}


def test_a_pipeline_of_186_kilobytes_runs_by_a_file() -> None:
    world = quickstart(make.Pipeline().spec(parameters=LARGE))
    world.settle()
    (run,) = world.names("TrainingRun")
    (config_map,) = config_maps(world)
    job = world.get("Job", run)
    text = config_map["data"]["config.json"]

    assert TrainerConfig.from_json(text).parameters == LARGE
    assert all(len(f"{name}={value}") < MAX_VARIABLE_BYTES for name, value in given(job).items())
    assert CONFIG_ENV not in given(job)
    assert given(job)[f"{CONFIG_ENV}_DIGEST"] == sha256(text.encode())
    pod = job["spec"]["template"]["spec"]
    assert {"name": "config", "configMap": {"name": config_map["metadata"]["name"]}} in pod["volumes"]
    assert {"name": "config", "mountPath": "/mnt/config", "readOnly": True} in pod["containers"][0]["volumeMounts"]
    assert config_map["immutable"] is True
    assert config_map["metadata"]["ownerReferences"][0]["uid"] == world.get("TrainingRun", run)["metadata"]["uid"]
    assert config_map["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "tidemill"
    kinds = [w.kind for w in world.writes if w.verb == "apply"]
    assert kinds.index("ConfigMap") < kinds.index("Job")
    world.train()
    assert world.condition("TrainingPipeline", "churn") == ("True", "Trained")


def test_it_goes_with_its_run() -> None:
    world = quickstart(make.Pipeline().spec(parameters=LARGE))
    run = world.train()
    world.remove("TrainingRun", run)
    assert config_maps(world) == []


def test_the_usual_run_makes_no_further_object() -> None:
    world = quickstart()
    world.settle()
    assert config_maps(world) == []
    assert CONFIG_ENV in given(world.get("Job", world.names("TrainingRun")[0]))


@pytest.mark.parametrize("seconds", [0, 60], ids=["at once", "when the pod is late"])
def test_a_file_that_was_deleted_before_the_pod_started_is_made_again(seconds: int) -> None:
    world = quickstart(make.Pipeline().spec(parameters=LARGE))
    world.settle()
    (lost,) = config_maps(world)
    world.remove("ConfigMap", lost["metadata"]["name"])
    woken = {key for watch in WATCHES if watch.kind == "ConfigMap" for key in watch.map(lost, world.cache)}
    assert Key("TrainingRun", make.NAMESPACE, world.names("TrainingRun")[0]) in woken
    world.advance(seconds=seconds)
    world.settle()
    (again,) = config_maps(world)
    assert (again["metadata"]["name"], again["data"]) == (lost["metadata"]["name"], lost["data"])


def test_a_probe_of_long_uris_runs_by_a_file() -> None:
    keys = {"name": "s" * 253}
    data = [{"name": f"in-{n:02}", "uri": f"s3://bucket/{n:02}{'😀' * 2030}", "secretRef": keys} for n in range(16)]
    world = quickstart(make.Pipeline().spec(data=data).triggers(dataChange={}))
    world.train()
    job = world.get("Job", next(n for n in world.names("Job") if "-probe-" in n))
    text = next(m for m in config_maps(world) if "probe" in m["metadata"]["name"])["data"]["config.json"]
    assert len(ProbeConfig.from_json(text).data) == 16
    assert given(job)[f"{PROBE_ENV}_DIGEST"] == sha256(text.encode())


@pytest.mark.parametrize(
    ("spec", "largest"),
    [
        ({"parameters": {"a": "x" * 350_000, "b": "ö" * 200_000}}, "spec.parameters 750"),
        (
            {
                "data": [
                    {
                        "name": "customers",
                        "uri": "builtin://iris",
                        "expectations": {
                            "columns": [
                                {"name": f"c{n}", "allowed": [f"{i:0200}" for i in range(1000)]} for n in range(4)
                            ]
                        },
                    }
                ]
            },
            "spec.data[name=customers] 81",
        ),
    ],
)
def test_what_no_record_of_a_run_can_hold_is_refused_before_there_is_one(spec: Obj, largest: str) -> None:
    world = quickstart(make.Pipeline().spec(**spec))
    world.settle()
    assert world.names("TrainingRun") == []
    assert world.condition("TrainingPipeline", "churn", "Stalled") == ("True", "SpecTooLarge")
    message = next(c["message"] for c in world.pipeline()["conditions"] if c["type"] == "Stalled")
    assert "a run can hold at most 600000" in message and largest in message
