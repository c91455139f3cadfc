"""Makers of snapshots for table tests of training's policies: a row shows only what matters to it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tests.support import builders_training as build

from tidemill.api.v1alpha1.training_pipeline import TrainingPipeline
from tidemill.config import OperatorConfig
from tidemill.core.conditions import format_time
from tidemill.training.pipeline.policy import context as contexts
from tidemill.training.pipeline.policy.context import Context
from tidemill.training.pipeline.policy.inputs import outcome_digest
from tidemill.training.pipeline.snapshot import CodeContent, MonitorRequest, PipelineSnapshot, ProbeJob
from tidemill.training.pipeline.state import Inputs
from tidemill.training.records import DeploymentRecord, RunRecord, VersionRecord

Obj = dict[str, Any]
NOW, ago = build.NOW, build.ago
CODE = CodeContent(build.digest("c"), frozenset({"train.py"}))
DAYS = {"schedule": {"cron": "0 * * * *", "timeZone": "UTC"}}


def when(**parts: float) -> str:
    """A time before NOW as status has it."""
    return format_time(ago(**parts))


def run(name: str = "churn-a", *, minutes: float = 60, outcome: str = "True", **changes: Any) -> RunRecord:
    """A run that was created so long ago; `outcome` Unknown: it goes on."""
    found = RunRecord(
        name=name,
        uid=f"uid-{name}",
        created=ago(minutes=minutes),
        key=f"key-{name}",
        trigger={"type": "CodeChanged"},
        spec_digest="spec-1",
        code="code-1",
        image="image-1",
        environment={},
        data={},
        outcome=outcome,
        reason="",
        message="",
        unreported=False,
        has_job=True,
        version=None,
        failure={},
        completed=ago(minutes=minutes - 1) if outcome != "Unknown" else None,
        champion=None,
    )
    return replace(found, **changes)


def failed(category: str = "UserError", reason: str = "CodeFailed", **changes: Any) -> RunRecord:
    """A run that failed."""
    return run(outcome="False", failure={"category": category, "reason": reason}, **changes)


def version(number: int = 1, *, minutes: float = 50, **changes: Any) -> VersionRecord:
    """An approved version that was registered so long ago."""
    found = VersionRecord(
        name=f"churn-{number}",
        uid=f"uid-version-{number}",
        created=ago(minutes=minutes),
        number=number,
        digest=build.digest("123456789abcdef"[number - 1]),
        uri=f"pvc://store/{number}",
        run=f"run-{number}",
        spec_digest="spec-1",
        metrics={},
        approved=True,
    )
    return replace(found, **changes)


def deployment(name: str = "web", **uses: Any) -> DeploymentRecord:
    """A ModelDeployment; `uses`: fields of its record."""
    empty: frozenset[str] = frozenset()
    found = DeploymentRecord(name, f"uid-{name}", None, empty, empty, empty, None)
    return replace(found, **uses)


def request(monitor: str = "watch", id_: str = "r1", **changes: Any) -> MonitorRequest:
    """A retrain request."""
    return replace(MonitorRequest(monitor, f"uid-{monitor}", id_, "Drift", "tenure drifted"), **changes)


def probe(number: int = 1, *, minutes: float = 5, finished: bool = True, message: str | None = None) -> ProbeJob:
    """A probe Job that was created so long ago."""
    return ProbeJob(f"churn-probe-{number}", f"uid-probe-{number}", ago(minutes=minutes), finished, message)


def snapshot(spec: Obj | None = None, status: Obj | None = None, *, request_: str | None = None, **fields: Any) -> Any:
    """A pipeline on bundled data with code; `spec` and `status`: their JSON."""
    builder = build.Pipeline().spec(**(spec or {})).status(**(status or {}))
    if request_ is not None:
        builder = builder.annotated("tidemill.io/run-requested-at", request_)
    obj = builder.obj()
    fields.setdefault("code", CODE)
    parsed = TrainingPipeline.model_validate(obj)
    return PipelineSnapshot(object=obj, now=NOW, pipeline=parsed, config=OperatorConfig(), **fields)


def context(spec: Obj | None = None, status: Obj | None = None, **fields: Any) -> Context:
    """The context of such a snapshot."""
    return contexts.context(snapshot(spec, status, **fields))


def inputs(found: Context) -> Inputs:
    """Its inputs."""
    assert found.inputs is not None
    return found.inputs


def observed(spec: Obj | None = None, *, data: dict[str, str] | None = None, **changes: Any) -> Obj:
    """`status.observed` of a pipeline that last ran with this spec and today's code."""
    digest = outcome_digest(snapshot(spec).pipeline.spec)
    return {"spec": digest, "code": CODE.digest, "image": "tidemill.io/trainer:dev", "data": data or {}, **changes}


def trained(spec: Obj | None = None, **status: Any) -> Obj:
    """The status of a pipeline that has a version and last ran with this spec and today's code."""
    return {"versions": 1, "observed": observed(spec), "lastRun": "churn-a", **status}
