"""Stands in for kubelet and Job controller at the benchmark's API server: pods run for a while and succeed."""

import asyncio
import json
import time
from typing import Any

from tidemill.core.plan import ObjectRef
from tidemill.kube.client import KubeClient
from tidemill_contracts.training import CONFIG_ENV


async def run_job(client: KubeClient, job: dict[str, Any], seconds: float) -> None:
    """Let a Job's pod start now, run that many seconds and end with a result, and complete the Job."""
    pod = ObjectRef.of(await client.create(_pod(job)))
    started = _now()
    if seconds:
        await _report(client, pod, "Running", {"running": {"startedAt": started}})
        await asyncio.sleep(seconds)
    ended = {"exitCode": 0, "reason": "Completed", "startedAt": started, "finishedAt": _now(), "message": _result(job)}
    await _report(client, pod, "Succeeded", {"terminated": ended})
    now = _now()
    reached = {"status": "True", "reason": "CompletionsReached", "lastTransitionTime": now, "lastProbeTime": now}
    conditions = [{"type": kind, **reached} for kind in ("SuccessCriteriaMet", "Complete")]
    status = {"succeeded": 1, "startTime": started, "completionTime": now, "conditions": conditions}
    await client.patch_merge(ObjectRef.of(job), {"status": status}, "status")


async def _report(client: KubeClient, pod: ObjectRef, phase: str, state: dict[str, Any]) -> None:
    status = {
        "name": "train",
        "image": "none",
        "imageID": "none",
        "ready": phase == "Running",
        "restartCount": 0,
        "state": state,
    }
    await client.patch_merge(pod, {"status": {"phase": phase, "containerStatuses": [status]}}, "status")


def _pod(job: dict[str, Any]) -> dict[str, Any]:
    meta, template = job["metadata"], job["spec"]["template"]
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": meta["name"], "uid": meta["uid"], "controller": True}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": meta["name"] + "-pod",
            "namespace": meta["namespace"],
            "ownerReferences": [owner],
            "labels": {**template["metadata"]["labels"], "batch.kubernetes.io/job-name": meta["name"]},
        },
        "spec": {"containers": [{"name": "train", "image": "none"}], "restartPolicy": "Never"},
    }


def _result(job: dict[str, Any]) -> str:
    """Return the trainer's report; each run has content of its own."""
    content = job["metadata"]["uid"].replace("-", "").ljust(64, "0")
    environment = job["spec"]["template"]["spec"]["containers"][0]["env"]
    config = json.loads(next(e["value"] for e in environment if e["name"] == CONFIG_ENV))
    digest = f"sha256:{content}"
    return json.dumps(
        {
            "outcome": "Succeeded",
            "digest": digest,
            "model_digest": digest,
            "uri": f"{config['store']}/{content}",
            "task": "classification",
            "formats": ["skops"],
            "metrics": {"accuracy": 0.9},
            "rows": {"train": 120, "holdout": 30},
            "data": {source["name"]: digest for source in config["data"]},
        }
    )


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
