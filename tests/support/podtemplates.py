"""Pod templates of every kind of pod, for specs that say nothing about pods: `python -m tests.support.podtemplates`.

An operator that makes other bytes of the same spec replaces the pods of every object in every cluster that takes it.
What it prints is recorded in `tests/golden/pods/templates.json`: see the README there.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from typing import Any

from tests.support import builders_training as make
from tests.unit.monitoring import make as monitors
from tests.unit.serving import make as servers
from tests.unit.training.world import World

from tidemill.config import OperatorConfig
from tidemill.monitoring.builders import workload
from tidemill.serving.builders import router, server

Obj = dict[str, Any]

# Their own, and not those that other tests extend by every new field.
DEPLOYMENT: Obj = {
    "replicas": 2,
    "server": {
        "runtime": "ONNX",
        "workers": 2,
        "batching": {"maxRows": 64, "maxDelayMilliseconds": 5},
        "requestTimeoutSeconds": 10,
        "tracing": {"endpoint": "http://otel.team.svc:4318", "sampleRatio": 0.5},
    },
    "logging": {"sampleRatio": 0.25},
}
MONITOR: Obj = {
    "deployment": "churn",
    "drift": {"overrides": [{"name": "$price", "test": "PSI", "threshold": 0.3}]},
    "performance": {"metric": "accuracy", "min": 0.8},
    "resources": {"limits": {"memory": "2Gi"}},
}
PIPELINE: Obj = {
    "resources": {"requests": {"memory": "2Gi"}},
    "nodeSelector": {"pool": "train"},
    "tolerations": [{"key": "gpu", "operator": "Exists"}],
    "serviceAccountName": "puller",
}
IMPORT: Obj = {
    "source": {"uri": "s3://models/staging", "digest": make.DIGEST, "secretRef": {"name": "reader"}},
    "artifacts": {"uri": "s3://production", "secretRef": {"name": "writer"}},
    "resources": {"limits": {"memory": "2Gi"}},
}


def templates() -> dict[str, Obj]:
    """The templates by the kind of pod and the case."""
    bucket = servers.version(1, uri="s3://lake/churn/1", secret="lake")
    found = {
        "server, default": server.deployment(servers.snapshot(), servers.version(1)),
        "server, full": server.deployment(servers.snapshot(DEPLOYMENT), bucket),
        "monitor, default": workload.deployment(monitors.snapshot({"deployment": "churn"})),
        "monitor, full": workload.deployment(
            monitors.snapshot(MONITOR, served=monitors.served(has_feedback_keys=False))
        ),
    }
    for case, spec in (("default", {}), ("full", DEPLOYMENT)):
        snapshot = servers.snapshot(spec)
        found[f"router, {case}"] = router.deployment(snapshot, router.config(snapshot, []))
    for case, spec in (("default", {}), ("full", PIPELINE)):
        found |= {f"{kind}, {case}": job for kind, job in jobs(make.Pipeline().spec(**spec)).items()}
    for case, spec in (("default", {}), ("full", IMPORT)):
        world = World(make.Import().spec(**spec).obj())
        world.settle()
        found[f"importer, {case}"] = _without_documents(world.get("Job", "from-staging-1-1"))
    return {name: manifest["spec"]["template"] for name, manifest in sorted(found.items())}


def jobs(pipeline: make.Pipeline, config: OperatorConfig | None = None) -> dict[str, Obj]:
    """The Jobs of a pipeline by the component of their pods: of its first run, of records in its store, of a probe.

    Their pods are never replaced, and what their documents say is compared elsewhere.
    """
    probed = pipeline.data("s3://lake/customers.csv").triggers(dataChange={})
    config = replace(config or OperatorConfig(), record_keys=("k" * 32,))
    world = World(probed.obj(), make.ConfigMap().obj(), config=config)
    found: dict[str, Obj] = {}
    for act in (world.settle, world.train):
        act()
        made = [world.get("Job", name) for name in world.names("Job")]
        found |= {job["metadata"]["labels"]["app.kubernetes.io/component"]: job for job in made}
    return {component: _without_documents(job) for component, job in found.items()}


def _without_documents(job: Obj) -> Obj:
    for variable in job["spec"]["template"]["spec"]["containers"][0]["env"]:
        if variable["name"].endswith("_CONFIG"):
            variable["value"] = "{}"
    return job


if __name__ == "__main__":
    sys.stdout.write(json.dumps(templates(), indent=1, sort_keys=True) + "\n")
