"""What this version writes to others, by its own writers: `python -m tests.support.documents FOLDER` stores it.

A folder of `tests/golden/documents` is one released version: its documents, the schemas by which it reads them, and
its monitor's database as SQL. Folders are added, never changed: see the README there.
"""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.support import builders_training as make
from tests.support import training_code
from tests.unit.monitoring import make as monitors
from tests.unit.serving import make as servers
from tests.unit.training.world import World

from tidemill.monitoring.builders import workload
from tidemill.serving.builders import server
from tidemill_contracts import artifact, inference, reference, training
from tidemill_contracts.base import Document
from tidemill_contracts.monitoring import MonitorConfig, MonitorReport, PerformanceConfig
from tidemill_contracts.revisions import code_digest

Obj = dict[str, Any]

DOCUMENTS: dict[str, type[Document]] = {
    "trainer-config": training.TrainerConfig,
    "probe-config": training.ProbeConfig,
    "training-result": training.TrainingResult,
    "probe-result": training.ProbeResult,
    "manifest": artifact.ModelManifest,
    "reference": reference.ReferenceProfile,
    "sample": artifact.Sample,
    "server-config": inference.ServerConfig,
    "monitor-config": MonitorConfig,
    "prediction-batch": inference.PredictionBatch,
    "posted-reference": inference.Reference,
    "feedback": inference.Feedback,
    "monitor-report": MonitorReport,
}
"""By the name with which its files begin: `trainer-config.full.json` is a TrainerConfig."""

FULL_PIPELINE: Obj = {
    "data": [
        {
            "name": "customers",
            "uri": "s3://lake/customers.parquet",
            "format": "Parquet",
            "secretRef": {"name": "lake"},
            "expectations": {
                "minRows": 100,
                "columns": [
                    {"name": "tenure", "type": "Number", "min": 0, "max": 900, "maxMissingRatio": 0.1},
                    {"name": "plan", "type": "Category", "allowed": ["basic", "pro"]},
                ],
            },
        },
        {"name": "calls", "uri": "pvc://lake/calls.csv"},
    ],
    "parameters": {"C": "0.5"},
    "seed": 7,
    "evaluation": {
        "holdoutRatio": 0.3,
        "gates": [{"metric": "accuracy", "min": 0.5}, {"metric": "roc_auc", "againstChampion": {"minDelta": 0.01}}],
    },
    "artifacts": {"uri": "s3://models/churn", "secretRef": {"name": "lake"}},
    "allowPickle": True,
}
FULL_DEPLOYMENT: Obj = {
    "server": {
        "runtime": "ONNX",
        "workers": 2,
        "batching": {"enabled": True, "maxRows": 64, "maxDelayMilliseconds": 5},
        "maxBodyBytes": 1048576,
        "maxInFlight": 64,
        "requestTimeoutSeconds": 10,
        "accessLogRatio": 0.5,
    },
    "logging": {"sampleRatio": 0.25},
    "rollout": {
        "strategy": "Canary",
        "steps": [{"weight": 10, "durationSeconds": 60}],
        "analysis": {"intervalSeconds": 15, "checks": [{"metric": "LatencyP99Milliseconds", "max": 40}]},
    },
}
FULL_MONITOR: Obj = {
    "deployment": "churn",
    "window": {"seconds": 600, "minRows": 100},
    "drift": {
        "features": {"test": "JensenShannon", "threshold": 0.15},
        "overrides": [{"name": "tenure", "test": "KolmogorovSmirnov", "threshold": 0.3}],
        "predictions": {"test": "PSI", "threshold": 0.25},
        "driftedShare": 0.4,
    },
    "quality": {"maxMissingRatio": 0.05, "maxUnseenRatio": 0.01, "maxOutOfRangeRatio": 0.02},
    "performance": {"metric": "accuracy", "min": 0.8, "max": 1, "minLabels": 50, "labelDelaySeconds": 600},
}


def of_the_operator() -> dict[str, str]:
    """What pods are given, by file name: with nothing set, and with every field set."""
    found = {
        "trainer-config.default.json": _given(_trained(make.Pipeline()), training.CONFIG_ENV),
        "trainer-config.full.json": _given(_trained(make.Pipeline().spec(**FULL_PIPELINE)), training.CONFIG_ENV),
        "trainer-config.champion.json": _given(_trained(make.Pipeline(), again=True), training.CONFIG_ENV),
        "probe-config.default.json": _given(_probed(), training.PROBE_ENV),
    }
    for name, spec in (("default", {}), ("full", FULL_DEPLOYMENT)):
        config = server.server_config(servers.snapshot(spec), servers.version(1))
        found[f"server-config.{name}.json"] = config.to_json()
    of_before = monitors.served(has_feedback_keys=False)  # deployments had no keys when these documents were first read
    for name, body in (("default", {"deployment": "churn"}), ("full", FULL_MONITOR)):
        found[f"monitor-config.{name}.json"] = workload.config(monitors.snapshot(body, served=of_before)).to_json()
    return found


def _given(job: Obj, variable: str) -> str:
    environment = job["spec"]["template"]["spec"]["containers"][0]["env"]
    return next(str(e["value"]) for e in environment if e["name"] == variable)


def _trained(pipeline: make.Pipeline, *, again: bool = False) -> Obj:
    world = World(pipeline.obj(), make.ConfigMap().obj())
    world.settle()
    if again:
        world.train()
        world.change("TrainingPipeline", "churn", lambda o: o["spec"].update(seed=2))
        world.settle()
    return world.get("Job", world.names("TrainingRun")[-1])


def _probed() -> Obj:
    world = World(make.Pipeline().data("s3://lake/customers.csv").triggers(dataChange={}).obj(), make.ConfigMap().obj())
    world.train()
    return world.get("Job", next(n for n in world.names("Job") if "-probe-" in n))


def of_a_trainer(folder: Path) -> dict[str, str]:
    """What a run leaves: its report, the version's files, and the report of one that failed."""
    good = _train(folder / "good", training_code.LOGISTIC)
    version = Path(json.loads(good)["uri"].replace("pvc:/", str(folder / "good" / "mnt" / "pvc")))
    files = {
        "manifest.json": artifact.MANIFEST_FILE,
        "reference.json": artifact.REFERENCE_FILE,
        "sample.json": artifact.SAMPLE_FILE,
    }
    return {
        "training-result.json": good,
        "training-result.failed.json": _train(folder / "bad", "def train(data, target):\n    return 1 / 0\n"),
        **{name: (version / file).read_text() for name, file in files.items()},
        "probe-result.json": training.ProbeResult(
            revisions={"calls": make.digest("c")}, errors={"customers": "s3://lake/customers.csv is not there"}
        ).to_json(),
    }


def _train(folder: Path, code: str) -> str:
    (folder / "mnt" / "pvc" / "store").mkdir(parents=True)
    (folder / "code").mkdir()
    (folder / "code" / "train.py").write_text(code)
    config = training.TrainerConfig(
        namespace="team-a",
        pipeline="churn",
        run="churn-1",
        data=(training.DataInput(name="table", uri="builtin://iris"),),
        target="target",
        code=training.Code(
            digest=code_digest({"train.py": code.encode()}), directory=str(folder / "code"), entrypoint="train:train"
        ),
        image="trainer@sha256:0",
        store="pvc://store/churn",
    )
    message = folder / "termination-log"
    environment = {
        **os.environ,
        "PYTHONHASHSEED": "0",
        "TIDEMILL_MOUNT_ROOT": str(folder / "mnt"),
        "TIDEMILL_TERMINATION_LOG": str(message),
        training.CONFIG_ENV: config.to_json(),
    }
    subprocess.run([sys.executable, "-m", "tidemill_runtime.trainer"], env=environment, check=False)
    return message.read_text()


def of_the_loop(folder: Path) -> dict[str, str]:
    """What server, client and monitor tell each other, and the monitor's database as SQL."""
    from tests.support import monitoring  # brings the monitor and numpy

    settings = monitoring.config(
        folder, performance=PerformanceConfig(metric="accuracy", min=0.5, min_labels=5), min_rows=50
    )
    clock = monitoring.Clock()
    batch = monitoring.batch(rows=40, scores=[0.75] * 40, errors=1, dropped=2, sent_at=monitoring.START)
    feedback = inference.Feedback(id="p0/0", label=batch.predictions[0])
    with monitoring.running(settings, clock) as monitor:
        monitor.add_batch(batch).result(10)
        monitor.add_batch(monitoring.batch(1, 60, shift=0.5)).result(10)
        monitor.add_feedback([feedback, inference.Feedback(id="later/0", label=1)]).result(10)
        clock.now += 2 * 86_400
        monitor.add_batch(monitoring.batch(2, 10, at=clock.now)).result(10)
        report = monitor.report(monitoring.DIGEST)
    return {
        "prediction-batch.json": batch.to_json(),
        "posted-reference.json": monitoring.reference().to_json(),
        "feedback.json": feedback.to_json(),
        "monitor-report.json": report.model_dump_json(),
        "monitor.sql": "\n".join(_dump(Path(settings.database))) + "\n",
    }


def _dump(database: Path) -> Iterator[str]:
    with sqlite3.connect(database) as connection:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        yield from connection.iterdump()
    connection.close()
    yield f"PRAGMA user_version = {version};"


def schemas() -> str:
    """How this version reads each kind of document, as JSON Schema: what it does not know, it ignores."""
    found = {name: _reading(model.model_json_schema()) for name, model in DOCUMENTS.items()}
    return json.dumps(found, indent=1, sort_keys=True) + "\n"


def _reading(schema: Any) -> Any:
    """A schema without `additionalProperties: false`, which speaks of whoever constructs a document."""
    if isinstance(schema, list):
        return [_reading(v) for v in schema]
    if not isinstance(schema, dict):
        return schema
    return {k: _reading(v) for k, v in schema.items() if (k, v) != ("additionalProperties", False)}


def main(folder: Path) -> None:
    """Write everything into a new folder."""
    folder.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as scratch:
        found = {**of_the_operator(), **of_a_trainer(Path(scratch)), **of_the_loop(Path(scratch) / "monitor")}
    for name, text in found.items():
        if name.endswith(".json"):
            text = json.dumps(json.loads(text), indent=1, ensure_ascii=False) + "\n"
        (folder / name).write_text(text, encoding="utf-8")
    (folder / "readers.schema.json").write_text(schemas(), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
