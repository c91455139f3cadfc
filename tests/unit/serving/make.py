"""Makers of snapshots for table tests: a row shows only what matters to it; and what the roll-out decides on them."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from tidemill.api.v1alpha1.model_deployment import (
    CandidateStatus,
    ModelDeploymentSpec,
    ModelDeploymentStatus,
    StableStatus,
)
from tidemill.api.v1alpha1.rollback import FailedVersion
from tidemill.api.v1alpha1.rollout_analysis import AnalysisStatus
from tidemill.serving.policy import rollout, target
from tidemill.serving.router_stats import ClusterStats, Scrape
from tidemill.serving.snapshot import (
    Measurement,
    Router,
    RouterPod,
    Settings,
    Snapshot,
    Version,
    Workload,
    children_of,
)
from tidemill.serving.state import State
from tidemill_contracts.runtimes import PARITY_CHECK

NOW = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)
UID = "11111111-2222-3333-4444-555555555555"
CANARY = {
    "strategy": "Canary",
    "steps": [{"weight": 10, "durationSeconds": 60}, {"weight": 50, "durationSeconds": 60}],
}
ANALYSIS = {
    "intervalSeconds": 15,
    "minRequests": 50,
    "failureLimit": 2,
    "checks": [{"metric": "ErrorRatio", "max": 0.01}],
}


COLUMNS = {
    "inputs": [{"name": name, "datatype": "FP64", "shape": [-1]} for name in ("tenure", "age")],
    "outputs": [{"name": "label", "datatype": "INT64", "shape": [-1]}],
}
"""The signature of every version, unless a test says another."""


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def digest(number: int) -> str:
    return f"sha256:{number:064x}"


def version(number: int, **changes: Any) -> Version:
    found = Version(
        name=f"churn-{number}",
        number=number,
        digest=digest(number),
        uri=f"pvc://models/churn/{number}",
        formats=("onnx", "skops"),
        onnx_check=PARITY_CHECK,
        approved=True,
        columns=COLUMNS,
    )
    return replace(found, **changes)


def workload(number: int, *, ready: int = 1, replicas: int = 1, **changes: Any) -> Workload:
    found = Workload(
        name=children_of("churn", version(number))[0],
        version=version(number),
        replicas=replicas,
        ready=ready,
        settled=ready >= replicas,
        available_since=ago(600) if ready else None,
        unavailable_since=None if ready else ago(5),
    )
    return replace(found, **changes)


def stable(number: int, since: float = 3600) -> StableStatus:
    return StableStatus(version=f"churn-{number}", digest=digest(number), since=ago(since))


def candidate(number: int, step: int = -1, *, started: float = 100, step_started: float | None = None, **changes: Any):
    return CandidateStatus(
        version=f"churn-{number}",
        digest=digest(number),
        step=step,
        started_at=ago(started),
        step_started_at=None if step_started is None else ago(step_started),
        **changes,
    )


def measured(verdict: str, *, time: float = 15, since: float = 30) -> AnalysisStatus:
    return AnalysisStatus(time=ago(time), since=ago(since), verdict=verdict, requests=100, message="as measured")


def failed(number: int, spec: dict[str, Any] | None = None) -> FailedVersion:
    """Rolled back while the spec was that of `snapshot(spec)`."""
    return FailedVersion(
        version=f"churn-{number}",
        digest=digest(number),
        reason="AnalysisFailed",
        message="too slow",
        time=ago(300),
        spec=snapshot(spec).spec_digest,
    )


def scrape(routes_version: str | None = None, members: dict[int, int] | None = None, **stats: ClusterStats) -> Scrape:
    known = {children_of("churn", version(n))[0]: count for n, count in (members or {}).items()}
    return Scrape(stats, known, routes_version)


def router(
    *scrapes: Scrape | None, ready: bool = True, since: float | None = None, routes: str | None = None
) -> Router:
    pods = tuple(RouterPod(f"churn-router-{n}", ready, None, s) for n, s in enumerate(scrapes or (None,)))
    return Router(pods, routes, None if since is None else ago(since))


def stats(requests: int, errors: int = 0, milliseconds: float = 5) -> ClusterStats:
    bounds = (1.0, 5.0, 10.0, 50.0, 100.0, 500.0, float("inf"))
    return ClusterStats(requests, errors, {b: float(requests) if b >= milliseconds else 0.0 for b in bounds})


def measurement(
    *, stable: tuple[int, ClusterStats], candidate: tuple[int, ClusterStats], seconds: float = 15, **changes: Any
):
    after = {children_of("churn", version(n))[0]: f for n, f in (stable, candidate)}
    return replace(Measurement(ago(seconds), {"p": Scrape({}, {})}, {"p": Scrape(after, {})}), **changes)


def snapshot(
    spec: dict[str, Any] | None = None,
    status: dict[str, Any] | None = None,
    *,
    name: str = "churn",
    generation: int = 1,
    annotations: dict[str, str] | None = None,
    **fields: Any,
) -> Snapshot:
    """`status`: fields of ModelDeploymentStatus by their Python names."""
    body = {"model": {"pipeline": "churn"}, **(spec or {})}
    parsed = ModelDeploymentStatus(**(status or {}))
    obj = {
        "apiVersion": "tidemill.io/v1alpha1",
        "kind": "ModelDeployment",
        "metadata": {
            "name": name,
            "namespace": "team",
            "uid": UID,
            "generation": generation,
            "annotations": annotations or {},
        },
        "spec": body,
        "status": parsed.to_json(),
    }
    fields.setdefault("router", router(scrape(members={1: 1, 2: 1, 3: 1})))
    return Snapshot(
        object=obj,
        spec=ModelDeploymentSpec.model_validate(body),
        status=parsed,
        now=NOW,
        settings=Settings("server:1", "router:1"),
        **fields,
    )


TWO = {"versions": (version(1), version(2)), "workloads": (workload(1), workload(2))}


def decide(found: Snapshot) -> tuple[State, list[str]]:
    """The state after one pass, and the reasons of its events."""
    before = State.of(found.status)
    after = rollout.decide(found, before, target.choose(found, before))
    return after.state, [e.reason for e in after.events]


def brief(state: State) -> tuple[int | None, int | None, int | None]:
    """Number of the stable version, number and step of the candidate."""
    number = lambda record: int(record.version.partition("-")[2]) if record else None  # noqa: E731
    return number(state.stable), number(state.candidate), state.candidate.step if state.candidate else None
