"""What makes a random object of the API consistent: each CEL rule of the types, said once more in Python.

Used only to draw documents that the API server must accept; the rules themselves are proved by table tests.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from hypothesis import strategies as st

from tidemill.api.v1alpha1.pod_settings import TRACING_PREFIX
from tidemill_contracts.model_metrics import RESERVED

Json = dict[str, Any]
ONE_WINDOW_IN_TEN = 259200
"""Seconds of a tenth of 30 days."""

_URIS = st.sampled_from(
    [
        "builtin://iris",
        "configmap://rows/data.csv",
        "pvc://claim",
        "pvc://claim/a/b",
        "s3://bucket/prefix/",
        "gs://bucket",
        "az://container/größe",
        "https://host/data.csv?x=1#y",
        "feedback://churn",
    ]
)
_KEYS = st.sampled_from(["team", "example.com/team", "a", "A_b.c-d", "a.b-c.example/" + "x" * 63])
_LABEL_VALUES = st.sampled_from(["", "a", "A-b_c.d", "x" * 63])
_LABELS = st.dictionaries(_KEYS, _LABEL_VALUES, max_size=3)
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "DataSource.uri": _URIS,
    "ResolvedData.uri": _URIS,
    "Artifacts.uri": st.sampled_from(["pvc://claim/path", "s3://bucket", "az://container/a"]),
    "Payloads.uri": st.sampled_from(["pvc://claim/path", "s3://bucket", "az://container/a"]),
    "Schedule.cron": st.sampled_from(["0 3 * * *", "@daily", "*/5 0-6,12 1 JAN MON-FRI"]),
    "Schedule.timeZone": st.sampled_from(["UTC", "Europe/Berlin", "Etc/GMT+1"]),
    "TrainingPipelineSpec.serviceAccountName": st.just("trainer"),
    "PodSettings.labels": _LABELS,
    "PodSettings.annotations": st.dictionaries(_KEYS, st.text(st.characters(codec="utf-8"), max_size=12), max_size=3),
    "PodSettings.nodeSelector": _LABELS,
    "EnvironmentVariable.name": st.sampled_from(["OMP_NUM_THREADS", "OTEL_LOG_LEVEL", "_", "tidemill_x", "A1"]),
    "EnvironmentVariable.value": st.text(st.characters(codec="utf-8", exclude_categories=("Cc",)), max_size=12),
    "ImportSource.uri": st.sampled_from(["pvc://claim/models/a.onnx", "s3://bucket/größe", "az://container/a.skops"]),
    "Tracing.endpoint": st.sampled_from(["http://otel:4318", "https://user@[::1]:4317/otlp?a=b"]),
}


def _order(document: Json, low: str, high: str) -> None:
    if low in document and high in document:
        document[low], document[high] = sorted((document[low], document[high]))


def _column(document: Json) -> Json:
    _order(document, "min", "max")
    if document.get("type", "Number") != "Number":
        document.pop("min", None)
        document.pop("max", None)
    if document.get("type", "Category") != "Category":
        document.pop("allowed", None)
    return document


def _source(document: Json) -> Json:
    if not document["uri"].startswith(("s3", "gs", "az", "http")):
        document.pop("secretRef", None)
    if document["uri"].startswith(("builtin", "feedback")):
        document.pop("format", None)
    if not document["uri"].startswith("feedback"):
        document.pop("feedback", None)
    return document


def _code(document: Json) -> Json:
    if "command" in document:
        document.pop("entrypoint", None)
    else:
        document.setdefault("entrypoint", "train:train")
    return document


def _gate(document: Json) -> Json:
    _order(document, "min", "max")
    if not document.keys() & {"min", "max", "againstChampion"}:
        document["min"] = 0.5
    return document


def _artifacts(document: Json) -> Json:
    if not document.get("uri", "pvc").startswith(("s3", "gs", "az")):
        document.pop("secretRef", None)
    return document


def _version(document: Json) -> Json:
    """A version has an origin: the run that trained it, or the import that brought it."""
    if "source" not in document and not {"run", "trigger", "key"} <= document.get("lineage", {}).keys():
        digest = "sha256:" + "0" * 64
        origin = {"run": "run", "trigger": "NeverTrained", "key": digest}
        content = {"data": {}, "code": digest, "image": "trainer:1"}
        document["lineage"] = {**content, **document.get("lineage", {}), **origin}
    return document


def _split(document: Json) -> Json:
    kind = document["type"]
    if kind == "Hash":
        document.pop("column", None)
    else:
        document.setdefault("column", "customer")
    if kind not in ("Group", "Time"):
        document.pop("keepColumn", None)
    return document


def _evaluation(document: Json) -> Json:
    if document.get("split", {}).get("type") == "Column":
        document.pop("holdoutRatio", None)
    return document


def _pipeline(document: Json) -> Json:
    _pod_of_pipeline(document)
    if {g["metric"] for g in document.get("evaluation", {}).get("gates", [])} & set(RESERVED):
        document.setdefault("target", "label")
    if not document["code"].keys() & {"configMap", "command"}:
        document.setdefault("image", "trainer:1")
    if all(d["uri"].startswith("builtin") for d in document["data"]):
        document.get("triggers", {}).pop("dataChange", None)
    if "target" in document and document.get("evaluation", {}).get("split", {}).get("column") == document["target"]:
        document["target"] = "label"
    return document


def _pod_of_pipeline(document: Json) -> Json:
    if "pod" in document:
        for name in ("nodeSelector", "tolerations", "serviceAccountName"):
            document.pop(name, None)
    return document


def _toleration(document: Json) -> Json:
    if document.get("operator") == "Exists":
        document.pop("value", None)
    else:
        document.setdefault("key", "dedicated")
    if document.get("effect") != "NoExecute":
        document.pop("tolerationSeconds", None)
    return document


def _spread(document: Json) -> Json:
    if document["whenUnsatisfiable"] != "DoNotSchedule":
        document.pop("minDomains", None)
    return document


def _requirement(document: Json) -> Json:
    wanted = {"Exists": 0, "DoesNotExist": 0, "Gt": 1, "Lt": 1}.get(document["operator"])
    values = document.pop("values", []) or ["1"]
    return document if wanted == 0 else {**document, "values": values[:wanted]}


def _server(document: Json) -> Json:
    if "tracing" in document:
        named = document.get("pod", {}).get("env", [])
        named[:] = [variable for variable in named if not variable["name"].startswith(TRACING_PREFIX)]
    return document


def _import_source(document: Json) -> Json:
    if document["uri"].startswith("pvc"):
        document.pop("secretRef", None)
    return document


def _import_as(document: Json) -> Json:
    if "pipeline" in document or "name" not in document:
        return {"pipeline": document.get("pipeline", "churn")}
    return {"name": document["name"].rstrip("-.0123456789") or "churn"}


def _reference(document: Json) -> Json:
    if "version" in document:
        return {"version": document["version"]}
    return {"pipeline": "churn", **document}


def _autoscaling(document: Json) -> Json:
    _order(document, "minReplicas", "maxReplicas")
    return document


def _check(document: Json) -> Json:
    if not document.keys() & {"max", "maxRatioToStable"}:
        document["max"] = 1
    return document


def _analysis(document: Json) -> Json:
    if any(check["metric"] == "ClientErrorRatio" for check in document.get("checks", [])):
        document.pop("clientErrors", None)
    if document.get("requireProof"):
        document.pop("noTraffic", None)
    return document


def _rollout(document: Json) -> Json:
    if document.get("strategy", "Immediate") != "Canary":
        document.pop("steps", None)
        document.pop("analysis", None)
        return document
    by_weight = {s["weight"]: s for s in document.get("steps") or [{"weight": 10}]}
    document["steps"] = [by_weight[w] for w in sorted(by_weight)]
    return document


def _batching(document: Json) -> Json:
    return document if document.get("enabled", True) else {"enabled": False}


def _access(document: Json) -> Json:
    return document or {"apiKeys": {"secretRef": {"name": "keys"}}}


def _latency_objective(document: Json) -> Json:
    """With two significant digits at most."""
    found = int(document["milliseconds"])
    unit = 10 ** max(len(str(found)) - 2, 0)
    return document | {"milliseconds": found // unit * unit}


def _objectives(document: Json) -> Json:
    return document if document.keys() & {"availability", "latency"} else document | {"availability": 0.99}


def _deployment(document: Json) -> Json:
    if "autoscaling" in document:
        document.pop("replicas", None)
    return document


def _limits(*names: str) -> Callable[[Json], Json]:
    def repair(document: Json) -> Json:
        return document if document.keys() & set(names) else {**document, names[0]: 0.5}

    return repair


def _drift_test(document: Json) -> Json:
    if document.get("test") == "Auto":
        document.pop("threshold", None)
    return document


def _drift(document: Json) -> Json:
    if "outOf" in document:
        document["outOf"] = max(document["outOf"], document.get("consecutiveWindows", 2))
    return document


def _baseline(document: Json) -> Json:
    for kind, field in (("Window", "window"), ("Seasonal", "seasonal")):
        if document["type"] != kind:
            document.pop(field, None)
        elif field not in document:
            document["type"] = "Previous"
    return document


def _spans(baseline: Json, seconds: int) -> Json:
    """A baseline whose spans fit into windows of this length."""
    if "window" in baseline:
        end = datetime.fromtimestamp(1_800_000_000 + 3 * seconds, UTC)
        baseline["window"] = {"start": "2027-01-15T08:00:00Z", "end": end.isoformat().replace("+00:00", "Z")}
    if "seasonal" in baseline:
        season = baseline["seasonal"]
        period = {"Day": 86_400, "Week": 604_800}[season.get("period", "Week")]
        if period % seconds or period * season.get("count", 4) > 1_900 * seconds:
            return {"type": "Previous"}
    return baseline


def _payloads(document: Json) -> Json:
    if not document["uri"].startswith(("s3", "gs", "az")):
        document.pop("secretRef", None)
    if "columns" in document and "redact" in document:
        document["redact"] = [column for column in document["redact"] if column in document["columns"]]
    return document


def _group_column(document: Json) -> Json:
    if "values" in document:
        document["values"] = [value for value in document["values"] if value != document["privileged"]]
    return document


def _fairness_limit(document: Json) -> Json:
    wanted, other = ("min", "max") if document["metric"] == "SelectionRateRatio" else ("max", "min")
    document.pop(other, None)
    return {wanted: 0.5, **document}


def _monitor(document: Json) -> Json:
    watched = {name.capitalize() for name in ("drift", "quality", "performance") if name in document}
    if "fairness" in document and "Performance" not in watched:
        rates = [one for one in document["fairness"]["limits"] if one["metric"].startswith("SelectionRate")]
        document["fairness"]["limits"] = rates or [{"metric": "SelectionRateRatio", "min": 0.8}]
    if not watched and not document.keys() & {"fairness", "gaming"}:
        document["drift"], watched = {}, {"Drift"}
    if "Drift" in watched:
        watched.add("Quality")
    seconds, performance = document.get("window", {}).get("seconds", 3600), document.get("performance", {})
    if "baseline" in document:
        document["baseline"] = _spans(document["baseline"], seconds)
        if "drift" not in document:
            del document["baseline"]
    if seconds * performance.get("falseAlarmsPerMonth", 0) > ONE_WINDOW_IN_TEN:
        performance["falseAlarmsPerMonth"] = 0.2
    if "estimate" in performance:
        watched.add("EstimatedPerformance")
    for name in ("retrain", "rollback"):
        action = document.get("actions", {}).get(name)
        if action is not None:
            known = watched - {"EstimatedPerformance"} if name == "rollback" else watched
            action["causes"] = [c for c in action["causes"] if c in known] or sorted(known)[:1]
    return document


REPAIRS: dict[str, Callable[[Json], Json]] = {
    "ColumnExpectation": _column,
    "DataSource": _source,
    "ResolvedData": _source,
    "CodeSource": _code,
    "ResolvedCode": _code,
    "Gate": _gate,
    "Split": _split,
    "Evaluation": _evaluation,
    "Artifacts": _artifacts,
    "Store": _artifacts,
    "ModelVersionSpec": _version,
    "TrainingPipelineSpec": _pipeline,
    "Toleration": _toleration,
    "TopologySpreadConstraint": _spread,
    "NodeRequirement": _requirement,
    "LabelRequirement": _requirement,
    "Server": _server,
    "ImportSource": _import_source,
    "ImportAs": _import_as,
    "ModelReference": _reference,
    "Autoscaling": _autoscaling,
    "Check": _check,
    "Analysis": _analysis,
    "Rollout": _rollout,
    "Batching": _batching,
    "Access": _access,
    "LatencyObjective": _latency_objective,
    "Objectives": _objectives,
    "ModelDeploymentSpec": _deployment,
    "DriftTestSpec": _drift_test,
    "FeatureTest": _drift_test,
    "Drift": _drift,
    "Baseline": _baseline,
    "Performance": _limits("min", "max"),
    "Payloads": _payloads,
    "GroupColumn": _group_column,
    "FairnessLimit": _fairness_limit,
    "ModelMonitorSpec": _monitor,
}
