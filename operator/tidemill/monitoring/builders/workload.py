"""The monitor's own children: claim, Deployment with one pod, and the Service that the servers report to.

One pod with one claim: counters live in SQLite, so the strategy is Recreate and the database is never opened twice.
"""

from __future__ import annotations

import json
from typing import Any

from tidemill.api.v1alpha1.monitor_baseline import Baseline
from tidemill.api.v1alpha1.monitor_drift import Drift, DriftTestSpec, FeatureTest
from tidemill.api.v1alpha1.monitor_fairness import Fairness
from tidemill.core import children, hashing, ingest, names, networkpolicy, pod, staged_updates
from tidemill.core import labels as keys
from tidemill.core.delivery import Delivery, deliver
from tidemill.core.plan import ObjectRef, Patch
from tidemill.monitoring import notices
from tidemill.monitoring.builders import payloads
from tidemill.monitoring.snapshot import Snapshot, child, storage_bytes
from tidemill_contracts import drift_tests
from tidemill_contracts.baselines import PERIOD_SECONDS, BaselineConfig
from tidemill_contracts.fairness import FairnessConfig, FairnessLimit, GroupColumnConfig
from tidemill_contracts.gaming import GamingConfig
from tidemill_contracts.inference import MONITOR_CONFIG_ENV, SERVED_KEY, SERVED_ROOT
from tidemill_contracts.monitoring import (
    ColumnConfig,
    DriftConfig,
    MonitorConfig,
    PerformanceConfig,
    QualityConfig,
    TestConfig,
)
from tidemill_contracts.notices import ALERTS_KEY, KEY_ENTRY, WEBHOOKS_ROOT, WebhookConfig
from tidemill_contracts.ports import ADMIN_PORT, PORTS
from tidemill_contracts.retention import STORAGE_BYTES

COMPONENT = "monitor"
CONTAINER = "monitor"
DATA_DIR = "/data"
SERVED_VOLUME = "served"

DEFAULT_RESOURCES: dict[str, Any] = {
    "requests": {"cpu": "50m", "memory": "128Mi"},
    "limits": {"memory": "1Gi"},
}


def build(snapshot: Snapshot) -> list[dict[str, Any]]:
    """Claim, Service, ConfigMap where the configuration needs one, Deployment, and the policy unless spec says None."""
    made = unit(snapshot)
    return [*made.others, *made.fitting, made.deployment]


def _delivery(snapshot: Snapshot) -> Delivery:
    """One ConfigMap for good: there is one pod, and a new document makes a new one."""
    name = names.child_name(snapshot.name, "monitor", "config")
    text = config(snapshot).to_json()
    return deliver(MONITOR_CONFIG_ENV, text, name=name, owner=snapshot.object, labels=labels(snapshot))


def unit(snapshot: Snapshot) -> staged_updates.Unit:
    """The pod with all that belongs to it, and all that a user can change about the pod.

    A pod of before listens elsewhere, so the policy comes with the new one.
    """
    parts = {"deployment", "window", "baseline", "columns", "drift", "quality", "performance", "gaming", "notify"}
    parts |= {"resources", "pod"}
    settings = snapshot.spec.model_dump(mode="json", by_alias=True, exclude_defaults=True, include=parts)
    _leave_out_usual_thresholds(settings.get("drift") or {})
    inputs = {
        "spec": settings,
        "scrapedByOperator": bool(snapshot.prometheus_kinds),
    }
    if (size := storage_bytes(snapshot.spec.storage.size)) != STORAGE_BYTES:  # of the section, the pod knows only this
        inputs["storageBytes"] = size
    if snapshot.spec.performance is not None and _has_feedback_keys(snapshot):
        inputs["authenticatedLabels"] = True
    if (kept := payloads.wanted(snapshot)) is not None:
        inputs["payloads"] = kept.model_dump(mode="json", by_alias=True, exclude_defaults=True, exclude={"purpose"})
    policy = () if snapshot.spec.network_policies == "None" else (network_policy(snapshot),)
    fitting = (*_delivery(snapshot).objects, *policy)
    return staged_updates.Unit(
        deployment(snapshot), inputs, (claim(snapshot), service(snapshot), served(snapshot)), fitting
    )


def labels(snapshot: Snapshot) -> dict[str, str]:
    """Labels of the monitor's children and pod."""
    return children.labels(COMPONENT, snapshot.name, {keys.MONITOR: snapshot.name})


def selector(snapshot: Snapshot) -> dict[str, str]:
    """The labels that select the monitor's pod and its Service."""
    return {k: v for k, v in labels(snapshot).items() if k in (keys.COMPONENT, keys.MONITOR)}


def config(snapshot: Snapshot) -> MonitorConfig:
    """The monitor's configuration. What only the operator judges (actions) is not in it."""
    spec = snapshot.spec
    quality = performance = None
    if spec.quality is not None:
        quality = QualityConfig(
            max_missing_increase=spec.quality.max_missing_increase,
            max_missing_ratio=spec.quality.max_missing_ratio,
            max_unseen_ratio=spec.quality.max_unseen_ratio,
            max_out_of_range_ratio=spec.quality.max_out_of_range_ratio,
        )
    if spec.performance is not None:
        performance = PerformanceConfig(
            metric=spec.performance.metric,
            min=spec.performance.min,
            max=spec.performance.max,
            min_labels=spec.performance.min_labels,
            label_delay_seconds=spec.performance.label_delay_seconds,
            min_labels_ratio=spec.performance.min_labels_ratio,
            false_alarms_per_month=spec.performance.false_alarms_per_month,
            authenticated=_has_feedback_keys(snapshot),
            estimate=spec.performance.estimate is not None,
            segments=tuple(spec.performance.segments),
            random_sample=spec.performance.labels == "RandomSample",
        )
    return MonitorConfig(
        namespace=snapshot.namespace,
        monitor=snapshot.name,
        deployment=spec.deployment,
        window_seconds=spec.window.seconds,
        min_rows=spec.window.min_rows,
        drift=_drift(spec.drift) if spec.drift is not None else None,
        baseline=_baseline(spec.baseline) if spec.baseline is not None else None,
        quality=quality,
        performance=performance,
        fairness=_fairness(spec.fairness) if spec.fairness is not None else None,
        gaming=GamingConfig(**spec.gaming.model_dump()) if spec.gaming is not None else None,
        columns={
            c.name: ColumnConfig(type=c.type, max_missing_increase=c.max_missing_increase, decisive=c.decisive)
            for c in spec.columns
        },
        database=f"{DATA_DIR}/monitor.db",
        storage_bytes=storage_bytes(spec.storage.size),
        payloads=payloads.config(snapshot),
        webhooks=_webhooks(snapshot),
        webhook_targets=snapshot.settings.webhook_targets if spec.notify is not None else (),
    )


def _webhooks(snapshot: Snapshot) -> tuple[WebhookConfig, ...]:
    found = snapshot.spec.notify.webhooks if snapshot.spec.notify is not None else []
    return tuple(WebhookConfig(name=w.name, url=w.url, severities=tuple(w.severities), format=w.format) for w in found)


def _webhook_mounts(snapshot: Snapshot) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Volumes and mounts for the keys of webhooks, the one entry of each Secret."""
    found = snapshot.spec.notify.webhooks if snapshot.spec.notify is not None else []
    volumes = [
        {"name": f"webhook-{number}", "secret": pod.secret_source(webhook.secret_ref.name, [KEY_ENTRY])}
        for number, webhook in enumerate(found)
    ]
    mounts = [
        {"name": f"webhook-{number}", "mountPath": f"{WEBHOOKS_ROOT}/{webhook.name}", "readOnly": True}
        for number, webhook in enumerate(found)
    ]
    return volumes, mounts


def _has_feedback_keys(snapshot: Snapshot) -> bool:
    return snapshot.served is not None and snapshot.served.has_feedback_keys


def _fairness(wanted: Fairness) -> FairnessConfig:
    return FairnessConfig(
        groups=tuple(
            GroupColumnConfig(column=g.column, privileged=g.privileged, values=tuple(g.values)) for g in wanted.groups
        ),
        limits=tuple(FairnessLimit(metric=one.metric, min=one.min, max=one.max) for one in wanted.limits),
        min_rows=wanted.min_rows,
        positive=wanted.positive,
        false_alarms_per_month=wanted.false_alarms_per_month,
    )


def _drift(spec: Drift) -> DriftConfig:
    return DriftConfig(
        features=_test(spec.features),
        overrides={entry.name: _test(entry) for entry in spec.overrides},
        predictions=_test(spec.predictions) if spec.predictions else None,
        drifted_share=spec.drifted_share,
        false_alarms_per_month=spec.false_alarms_per_month,
        consecutive_windows=spec.consecutive_windows,
        out_of=spec.out_of,
    )


def _baseline(spec: Baseline) -> BaselineConfig:
    window, season = spec.window, spec.seasonal
    return BaselineConfig(
        type=spec.type,
        start=window.start.timestamp() if window else None,
        end=window.end.timestamp() if window else None,
        period_seconds=PERIOD_SECONDS[season.period] if season else None,
        count=season.count if season else None,
    )


def _test(spec: DriftTestSpec | FeatureTest) -> TestConfig:
    """The test with the threshold that spec leaves out; those of Auto's tests are known to the monitor."""
    usual = drift_tests.BY_NAME.get(spec.test, drift_tests.FALLBACK).threshold
    return TestConfig(test=spec.test, threshold=usual if spec.threshold is None else spec.threshold)


def _leave_out_usual_thresholds(drift: dict[str, Any]) -> None:
    """Makes a threshold that is the usual one the same setting as none: objects of 0.1 have it written out."""
    for name in ("features", "predictions"):
        test = drift.get(name) or {}
        if test.get("test", "PSI") == "PSI" and test.get("threshold") == drift_tests.BY_NAME["PSI"].threshold:
            del test["threshold"]
    if drift.get("features") == {}:
        del drift["features"]


def claim(snapshot: Snapshot) -> dict[str, Any]:
    """The claim that holds the counters; goes with the ModelMonitor."""
    storage = snapshot.spec.storage
    spec: dict[str, Any] = {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": str(storage.size)}},
    }
    if storage.storage_class_name is not None:
        spec["storageClassName"] = storage.storage_class_name
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": children.metadata(child(snapshot.name), snapshot.object, labels(snapshot)),
        "spec": spec,
    }


def served(snapshot: Snapshot) -> dict[str, Any]:
    """The ConfigMap with the digests of the versions whose reference profiles the monitor may take.

    A changed one restarts no pod: the monitor reads the file when a profile comes that it does not have.
    """
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": children.metadata(_served_name(snapshot), snapshot.object, labels(snapshot)),
        "data": _files(snapshot),
    }


def _files(snapshot: Snapshot) -> dict[str, str]:
    """What changes without a restart: the digests, and for webhooks the alerts that are true now."""
    found = {SERVED_KEY: json.dumps(served_digests(snapshot))}
    if snapshot.spec.notify is None:
        return found
    return {**found, ALERTS_KEY: json.dumps([json.loads(notice.to_json()) for notice in notices.active(snapshot)])}


def served_digests(snapshot: Snapshot) -> list[str]:
    """Digests of the versions that are served, rolled out, or may be returned to, sorted."""
    return sorted(snapshot.served.digests) if snapshot.served is not None else []


def _served_name(snapshot: Snapshot) -> str:
    return names.child_name(snapshot.name, "monitor", "served")


def refreshes(snapshot: Snapshot) -> list[Patch]:
    """A changed annotation makes the kubelet look at the ConfigMap at once, not within a minute or two.

    Twice, since it may have read the ConfigMap just before it changed.
    """
    if snapshot.pod_name is None:
        return []
    first = hashing.short(served_digests(snapshot) if snapshot.spec.notify is None else _files(snapshot), 16)
    second = f"{first}.1"
    if snapshot.pod_refreshed == second:
        return []
    wanted = second if snapshot.pod_refreshed == first else first
    ref = ObjectRef("v1", "Pod", snapshot.namespace, snapshot.pod_name)
    return [Patch(ref, {"metadata": {"annotations": {keys.REFRESHED_AT: wanted}}})]


def service(snapshot: Snapshot) -> dict[str, Any]:
    """Named after the deployment, so that its servers know it before there is a monitor."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": children.metadata(
            names.monitor_service(snapshot.spec.deployment), snapshot.object, labels(snapshot)
        ),
        "spec": {
            "type": "ClusterIP",
            "selector": selector(snapshot),
            "ports": [
                {"name": p.name, "port": p.number, "targetPort": p.name, "protocol": "TCP"}
                for p in PORTS[COMPONENT]
                if p.callers != ("Operator",)  # which asks the pod itself
            ],
        },
    }


def deployment(snapshot: Snapshot) -> dict[str, Any]:
    """One pod, never two at a time."""
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": children.metadata(child(snapshot.name), snapshot.object, labels(snapshot)),
        "spec": {
            "replicas": 1,
            "revisionHistoryLimit": 1,
            "strategy": {"type": "Recreate"},
            "selector": {"matchLabels": selector(snapshot)},
            "template": _pod(snapshot).template(),
        },
    }


def network_policy(snapshot: Snapshot) -> dict[str, Any]:
    """Records from the servers of the deployment, feedback from the namespace, the report for the operator."""
    settings, deployment = snapshot.settings.network, snapshot.spec.deployment
    return networkpolicy.build(snapshot.object, COMPONENT, selector(snapshot), PORTS[COMPONENT], deployment, settings)


def _pod(snapshot: Snapshot) -> pod.Pod:
    """The pod; fsGroup lets it write to the claim."""
    key_volumes, key_mounts = (
        [*a, *b] for a, b in zip(_webhook_mounts(snapshot), payloads.mounts(snapshot), strict=True)
    )
    resources, settings, delivery = snapshot.spec.resources, snapshot.settings, _delivery(snapshot)
    container = pod.Container(
        name=CONTAINER,
        image=settings.image,
        environment={**payloads.environment(snapshot), **delivery.environment, "HOME": "/tmp"},  # noqa: S108
        ports=PORTS[COMPONENT],
        resources=resources.to_json() if resources else DEFAULT_RESOURCES,
        probes=pod.Probes(
            startup=_probe("/readyz", period=1, failures=120),
            readiness=_probe("/readyz", period=2, failures=3),
            liveness=_probe("/healthz", period=10, failures=6),
        ),
        termination=pod.Termination("FallbackToLogsOnError"),
        mounts=[
            {"name": "data", "mountPath": DATA_DIR},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108
            dict(ingest.MOUNT),
            {"name": SERVED_VOLUME, "mountPath": SERVED_ROOT, "readOnly": True},
            *key_mounts,
            *delivery.mounts,
        ],
    )
    volumes = [
        {"name": "data", "persistentVolumeClaim": {"claimName": child(snapshot.name)}},
        pod.empty_dir("tmp", "256Mi"),
        ingest.volume(snapshot.spec.deployment),
        {"name": SERVED_VOLUME, "configMap": {"name": _served_name(snapshot)}},
        *key_volumes,
        *delivery.volumes,
    ]
    return pod.Pod(
        container=container,
        volumes=volumes,
        cluster=settings.cluster,
        settings=snapshot.spec.pod,
        labels={**labels(snapshot), **_outbound(snapshot)},
        selector=selector(snapshot),
        annotations={} if snapshot.prometheus_kinds else pod.scraped(ADMIN_PORT),
        grace_seconds=30,
    )


def _outbound(snapshot: Snapshot) -> dict[str, str]:
    """The label by which NetworkPolicies let the pod out: only where the spec makes it write or send somewhere."""
    leaves = payloads.over_the_network(snapshot) or _webhooks(snapshot)
    return {keys.OUTBOUND: "true"} if leaves else {}


def _probe(path: str, *, period: int, failures: int) -> dict[str, Any]:
    return pod.http_probe(path, "admin", period=period, timeout=3, failures=failures)
