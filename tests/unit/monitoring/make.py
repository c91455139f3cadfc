"""Makers of snapshots for table tests of monitoring: a row shows only what matters to it."""

from datetime import UTC, datetime, timedelta
from typing import Any

from tidemill.api.v1alpha1.model_monitor import ModelMonitorSpec, ModelMonitorStatus
from tidemill.monitoring.snapshot import Reading, Served, Settings, Snapshot
from tidemill_contracts.monitoring import (
    ColumnNote,
    ColumnScore,
    MonitorReport,
    PerformanceReport,
    VersionReport,
    WindowReport,
)
from tidemill_contracts.reference import CURRENT

NOW = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)
UID = "99999999-2222-3333-4444-555555555555"
DIGEST = "sha256:" + "2" * 64
WINDOW = 60
SPEC: dict[str, Any] = {
    "deployment": "churn",
    "window": {"seconds": WINDOW, "minRows": 50},
    "drift": {"features": {"test": "PSI", "threshold": 0.2}, "consecutiveWindows": 2},
}
FULL: dict[str, Any] = {
    **SPEC,
    "quality": {"maxMissingRatio": 0.05},
    "performance": {"metric": "accuracy", "min": 0.8, "minLabels": 10},
}


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def served(**changes: Any) -> Served:
    fields = {
        "version": "churn-2",
        "digest": DIGEST,
        "since": ago(7200),
        "previous": "churn-1",
        "pipeline": "churn",
        "has_feedback_keys": True,
        **changes,
    }
    return Served(**fields)


def window(
    number: int, *, drift: bool = False, judged: bool = True, closed: bool = True, **changes: Any
) -> WindowReport:
    """The `number`-th window before now; 0 is the open one."""
    end = NOW.timestamp() - (number - 1) * WINDOW
    score = 0.612345 if drift else 0.012345
    fields: dict[str, Any] = {
        "start": end - WINDOW,
        "end": end,
        "closed": closed,
        "rows": 100 if judged else 5,
        "judged": judged,
        "drift": drift,
        "drifted_share": 1.0 if drift else 0.0,
        "features": (ColumnScore(name="tenure", test="PSI", score=score, threshold=0.2, drifted=drift),),
        **changes,
    }
    return WindowReport(**fields)


def performance(
    value: float | None,
    labels: int = 100,
    ratio: float | None = 0.5,
    degraded: bool = False,
    authenticated: bool = True,
):
    """`degraded`: proven by the last window; `authenticated`: by labels that were sent with a key."""
    proof = {"breach_start": NOW.timestamp() - WINDOW, "breach_end": NOW.timestamp()} if degraded else {}
    return PerformanceReport(
        metric="accuracy",
        value=value,
        labels=labels,
        labels_ratio=ratio,
        degraded=degraded,
        authenticated=authenticated,
        **proof,
    )


def report(
    *windows: WindowReport,
    last: float | None = 5,
    started: float = 7200,
    digest: str = DIGEST,
    performance: PerformanceReport | None = None,
    profile_version: int = CURRENT,
    column_notes: tuple[ColumnNote, ...] = (),
) -> MonitorReport:
    """`last`: seconds since the newest prediction."""
    version = VersionReport(
        version="churn-2",
        digest=digest,
        rows=sum(w.rows for w in windows),
        last_record_at=None if last is None else NOW.timestamp() - last,
        windows=windows,
        performance=performance,
        profile_version=profile_version,
        column_notes=column_notes,
    )
    return MonitorReport(
        monitor="churn", now=NOW.timestamp(), started_at=NOW.timestamp() - started, versions=(version,)
    )


def snapshot(
    spec: dict[str, Any] | None = None,
    status: dict[str, Any] | None = None,
    *,
    read: MonitorReport | None = None,
    error: str = "",
    created: float = 7200,
    generation: int = 1,
    name: str = "churn",
    **fields: Any,
) -> Snapshot:
    """`status`: JSON as the API server has it; `read`: what the monitor answered now.

    The pipeline has served what was requested, unless `served` is given.
    """
    body = SPEC if spec is None else spec
    obj = {
        "apiVersion": "tidemill.io/v1alpha1",
        "kind": "ModelMonitor",
        "metadata": {
            "name": name,
            "namespace": "team",
            "uid": UID,
            "generation": generation,
            "creationTimestamp": ago(created).strftime("%Y-%m-%dT%H:%M:%SZ"),
        },
        "spec": body,
        "status": status or {},
    }
    asked = [a["id"] for a in (status or {}).get("actions") or () if a["type"] == "Retrain"]
    fields.setdefault("served", served(handled_request=asked[-1] if asked else None))
    fields.setdefault("pod_ready", True)
    fields.setdefault("settings", Settings("monitor:1"))
    fields.setdefault("reading", Reading(read, NOW if read else None, error))
    return Snapshot(
        object=obj,
        spec=ModelMonitorSpec.model_validate(body),
        status=ModelMonitorStatus.model_validate(status or {}),
        now=NOW,
        **fields,
    )
