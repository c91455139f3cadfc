"""What a person gets back from `kubectl apply` for what cannot work: a sentence with the field and the values.

Every CEL rule of every kind has a row that it refuses and a row that it lets through, on a real API server.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hack.generate.crd import object_schema
from hack.generate.schema import Schema
from tests.support import podsections
from tests.support.apiserver import ApiServer, with_crds
from tests.support.objects import REMOVE, make

from tidemill.api.v1alpha1 import KINDS
from tidemill.serving.policy.strategies import STRATEGIES

pytestmark = pytest.mark.integration

Json = dict[str, Any]
HOOK = {"name": "hook"}
SPAN = {"type": "Window", "window": {"start": "2026-11-01T00:00:00Z", "end": "2026-11-04T00:00:00Z"}}
TP, TR, MV, MD, MM = "TrainingPipeline", "TrainingRun", "ModelVersion", "ModelDeployment", "ModelMonitor"
GROUPS: dict[str, Any] = {"groups": [{"column": "gender", "privileged": "m"}]}
FAIR = {**GROUPS, "limits": [{"metric": "SelectionRateRatio", "min": 0.8}]}
MI = "ModelImport"


@pytest.fixture(scope="module")
def api(kubeconfig: Path) -> Iterator[ApiServer]:
    with with_crds(kubeconfig) as server:
        yield server


def steps(*weights: int) -> Json:
    return {"strategy": "Canary", "steps": [{"weight": w, "durationSeconds": 20} for w in weights]}


def gates(*items: Json) -> Json:
    return {"gates": list(items)}


def column(**fields: Any) -> Json:
    return {"columns": [{"name": "tenure", **fields}]}


CHECK = {"metric": "ErrorRatio", "max": 0.01}
SUPPORTED = ", ".join(f'"{name}"' for name in sorted(STRATEGIES))
DIGEST = "sha256:" + "0" * 64
EXPECT = "spec.data.0.expectations"

# name: (kind, changes to the minimal object, causes that the answer must name)
REFUSED: dict[str, tuple[str, Json, list[str]]] = {
    # Values
    "weight above 100": (
        MD,
        {"spec.rollout": steps(10, 150)},
        [
            "spec.rollout.steps[1].weight: Invalid value: 150: "
            "spec.rollout.steps[1].weight in body should be less than or equal to 100"
        ],
    ),
    "weights fall": (
        MD,
        {"spec.rollout": steps(50, 10)},
        ["spec.rollout.steps: weights must increase from step to step"],
    ),
    "equal weights": (
        MD,
        {"spec.rollout": steps(10, 10)},
        ["spec.rollout.steps: weights must increase from step to step"],
    ),
    "objectives of nothing": (MD, {"spec.slo": {}}, ["at least one of availability and latency"]),
    "an objective that leaves no budget": (MD, {"spec.slo": {"availability": 1}}, ["spec.slo.availability"]),
    "an objective in percent": (MD, {"spec.slo": {"availability": 99.9}}, ["spec.slo.availability"]),
    "a latency between the router's buckets": (
        MD,
        {"spec.slo": {"latency": {"quantile": 0.99, "milliseconds": 125}}},
        ["at most two significant digits"],
    ),
    "a latency without a share": (MD, {"spec.slo": {"latency": {"milliseconds": 50}}}, ["spec.slo.latency.quantile"]),
    "a budget of a day": (MD, {"spec.slo": {"availability": 0.9, "windowDays": 1}}, ["spec.slo.windowDays"]),
    "weight zero": (MD, {"spec.rollout": steps(0)}, ["spec.rollout.steps[0].weight"]),
    "unknown strategy": (
        MD,
        {"spec.rollout": {"strategy": "Unknown"}},
        [f'spec.rollout.strategy: Unsupported value: "Unknown": supported values: {SUPPORTED}'],
    ),
    "unknown drift test": (
        MM,
        {"spec.drift": {"features": {"test": "KL", "threshold": 0.1}}},
        ['"KL": supported values: "Auto", "PSI", "JensenShannon", "KolmogorovSmirnov"'],
    ),
    "a threshold for tests that are chosen by column": (
        MM,
        {"spec.drift": {"features": {"test": "Auto", "threshold": 0.1}}},
        ["threshold must not be set with test: Auto"],
    ),
    "the same for one feature": (
        MM,
        {"spec.drift": {"overrides": [{"name": "age", "test": "Auto", "threshold": 0.1}]}},
        ["threshold must not be set with test: Auto"],
    ),
    "more drifted windows than are looked at": (
        MM,
        {"spec.drift": {"consecutiveWindows": 3, "outOf": 2}},
        ["spec.drift: outOf must not be smaller than consecutiveWindows"],
    ),
    "the default of two windows, of one": (
        MM,
        {"spec.drift": {"outOf": 1}},
        ["spec.drift: outOf must not be smaller than consecutiveWindows"],
    ),
    "no false alarms at all": (
        MM,
        {"spec.drift": {"falseAlarmsPerMonth": 0}},
        ["spec.drift.falseAlarmsPerMonth"],
    ),
    "unknown type of a column": (
        MM,
        {"spec.columns": [{"name": "shop", "type": "Text"}]},
        ['spec.columns[0].type: Unsupported value: "Text": supported values: "Category", "Number", "Ignore"'],
    ),
    "two statements about a column": (
        MM,
        {"spec.columns": [{"name": "shop", "type": "Number"}, {"name": "shop", "type": "Ignore"}]},
        ['spec.columns[1]: Duplicate value: {"name":"shop"}'],
    ),
    "number where a string belongs": (TP, {"spec.parameters": {"max_depth": 8}}, ["spec.parameters.max_depth"]),
    "no data": (TP, {"spec.data": []}, ["spec.data: Invalid value: 0: spec.data in body should have at least 1 items"]),
    "two inputs of one name": (
        TP,
        {"spec.data": [{"name": "a", "uri": "pvc://c/a"}, {"name": "a", "uri": "pvc://c/b"}]},
        ['spec.data[1]: Duplicate value: {"name":"a"}'],
    ),
    "unreadable uri": (TP, {"spec.data.0.uri": "ftp://host/file"}, ["spec.data[0].uri", "builtin|configmap|pvc"]),
    "a version elsewhere": (MV, {"spec.uri": "file:///etc/x"}, ["spec.uri", "s3|gs|az"]),
    "a claim that is a path": (TP, {"spec.data.0.uri": "pvc://../secret/lake/s.csv"}, ["spec.data[0].uri"]),
    "a password in a uri": (TP, {"spec.data.0.uri": "http://user:pw@host/x"}, ["spec.data[0].uri"]),
    "a version out of its claim": (MV, {"spec.uri": "pvc://claim/a/../../b"}, ["spec.uri: '..' is not allowed"]),
    "leave for a pickle that is neither yes nor no": (
        MD,
        {"spec.server.allowPickle": "yes"},
        ["spec.server.allowPickle"],
    ),
    "leave for code that is neither yes nor no": (MD, {"spec.server.allowCode": "yes"}, ["spec.server.allowCode"]),
    "something else to do with extra columns": (
        MD,
        {"spec.server.extraColumns": "Drop"},
        ["spec.server.extraColumns", "Refuse", "Ignore"],
    ),
    "a parameter without end": (TP, {"spec.parameters": {"a": "x" * 400_001}}, ["spec.parameters.a"]),
    "parameters without end": (
        TP,
        {"spec.parameters": {"a": "x" * 200_001, "b": "x" * 200_000}},
        ["spec.parameters: the values together must have at most 400000 characters"],
    ),
    "a parameter's name without end": (
        TP,
        {"spec.parameters": {"a" * 257: "x"}},
        ["spec.parameters: names must have at most 256 characters"],
    ),
    "no required field": (TP, {"spec.code": REMOVE}, ["spec.code: Required value"]),
    "quantity that is none": (MD, {"spec.server": {"resources": {"limits": {"cpu": "much"}}}}, ["limits.cpu"]),
    "no worker": (MD, {"spec.server.workers": 0}, ["spec.server.workers in body should be greater than or equal to 1"]),
    "too many workers": (
        MD,
        {"spec.server.workers": 65},
        ["spec.server.workers in body should be less than or equal to 64"],
    ),
    "batches of one row": (
        MD,
        {"spec.server.batching.maxRows": 1},
        ["spec.server.batching.maxRows in body should be greater than or equal to 2"],
    ),
    "delay of a minute": (
        MD,
        {"spec.server.batching.maxDelayMilliseconds": 60000},
        ["spec.server.batching.maxDelayMilliseconds in body should be less than or equal to 1000"],
    ),
    "no request in flight": (MD, {"spec.server.maxInFlight": 0}, ["spec.server.maxInFlight in body should be greater"]),
    "body of nothing": (MD, {"spec.server.maxBodyBytes": 0}, ["spec.server.maxBodyBytes in body should be greater"]),
    "an hour for a request": (
        MD,
        {"spec.server.requestTimeoutSeconds": 3600},
        ["spec.server.requestTimeoutSeconds in body should be less than or equal to 600"],
    ),
    "part of a second for a request": (
        MD,
        {"spec.server.requestTimeoutSeconds": 0.5},
        ['spec.server.requestTimeoutSeconds in body must be of type integer: "number"'],
    ),
    "access log in percent": (
        MD,
        {"spec.server.accessLogRatio": 10},
        ["spec.server.accessLogRatio in body should be less than or equal to 1"],
    ),
    "tracing nowhere": (MD, {"spec.server.tracing": {}}, ["spec.server.tracing.endpoint: Required value"]),
    **{
        f"policies of no kind for a {kind}": (
            kind,
            {"spec.networkPolicies": "Off"},
            ['spec.networkPolicies: Unsupported value: "Off": supported values: "Managed", "None"'],
        )
        for kind in (MD, MM)
    },
    "condition of a cause twice": (
        MM,
        {"spec.actions": {"retrain": {"causes": ["Drift", "Drift"]}}},
        ['spec.actions.retrain.causes[1]: Duplicate value: "Drift"'],
    ),
    "unknown handling of changed signatures": (
        MD,
        {"spec.rollout.signatureChanges": "Ask"},
        ['spec.rollout.signatureChanges: Unsupported value: "Ask": supported values: "Hold", "Allow"'],
    ),
    "unknown answer to a monitor": (
        MD,
        {"spec.rollout.monitorRollback": "Ask"},
        ['spec.rollout.monitorRollback: Unsupported value: "Ask": supported values: "Never", "Propose", "Act"'],
    ),
    "a webhook with a login": (
        MM,
        {"spec.notify": {"webhooks": [{"name": "a", "url": "https://me:x@hooks.example.com", "secretRef": HOOK}]}},
        ["spec.notify.webhooks[0].url: Invalid value"],
    ),
    "a webhook of another scheme": (
        MM,
        {"spec.notify": {"webhooks": [{"name": "a", "url": "file:///etc/passwd", "secretRef": HOOK}]}},
        ["spec.notify.webhooks[0].url: Invalid value"],
    ),
    "a webhook without a key": (
        MM,
        {"spec.notify": {"webhooks": [{"name": "a", "url": "https://hooks.example.com"}]}},
        ["spec.notify.webhooks[0].secretRef: Required value"],
    ),
    "unknown severity": (
        MM,
        {
            "spec.notify": {
                "webhooks": [{"name": "a", "url": "https://x.example.com", "secretRef": HOOK, "severities": ["Info"]}]
            }
        },
        ['spec.notify.webhooks[0].severities[0]: Unsupported value: "Info": supported values: "Page", "Ticket"'],
    ),
    "rows kept for no purpose": (
        MD,
        {"spec.logging.payloads": {"uri": "s3://lake/log"}},
        ["spec.logging.payloads.purpose: Required value"],
    ),
    "rows kept nowhere": (
        MD,
        {"spec.logging.payloads": {"purpose": "audits", "uri": "https://lake/log"}},
        ["spec.logging.payloads.uri in body should match"],
    ),
    "rows kept on a claim with a Secret": (
        MD,
        {"spec.logging.payloads": {"purpose": "audits", "uri": "pvc://lake/log", "secretRef": {"name": "lake"}}},
        ["secretRef may be set only with a uri of s3://, gs:// or az://"],
    ),
    "a redacted column that is not kept": (
        MD,
        {"spec.logging.payloads": {"purpose": "a", "uri": "pvc://lake", "columns": ["age"], "redact": ["name"]}},
        ["redact may name only columns that are kept"],
    ),
    "access for nobody": (MD, {"spec.access": {}}, ["spec.access: apiKeys or feedback must be set"]),
    "keys of no Secret": (
        MD,
        {"spec.access": {"apiKeys": {}}},
        ["spec.access.apiKeys.secretRef: Required value"],
    ),
    "a window of too many versions": (
        MD,
        {"spec.rollout.rollbackWindow": {"versions": 11}},
        ["spec.rollout.rollbackWindow.versions in body should be less than or equal to 10"],
    ),
    # Rules
    "name too long for a pipeline": (
        TP,
        {"metadata.name": "a" * 64},
        ["metadata.name must have at most 63 characters"],
    ),
    "name too long for a monitor": (
        MM,
        {"metadata.name": "a" * 64},
        ["metadata.name must have at most 63 characters"],
    ),
    "name that is no Service's": (MD, {"metadata.name": "churn.v1"}, ["metadata.name must be a valid Service name"]),
    "name that starts with a digit": (MD, {"metadata.name": "1churn"}, ["starting with a letter"]),
    "name too long for a deployment": (MD, {"metadata.name": "a" * 64}, ["at most 63 characters"]),
    "entrypoint and command": (
        TP,
        {"spec.code.command": ["true"]},
        ["code: exactly one of entrypoint and command must be set"],
    ),
    "neither entrypoint nor command": (
        TP,
        {"spec.code.entrypoint": REMOVE},
        ["code: exactly one of entrypoint and command must be set"],
    ),
    "entrypoint without code": (
        TP,
        {"spec.code.configMap": REMOVE},
        ["spec.code.configMap or spec.image must be set because the default trainer image contains no training code"],
    ),
    "unknown bundled data": (
        TP,
        {"spec.data.0.uri": "builtin://mnist"},
        ["uri: builtin:// must be followed by one of breast-cancer, diabetes, digits, iris, wine"],
    ),
    "ConfigMap without key": (
        TP,
        {"spec.data.0.uri": "configmap://data"},
        ["uri: a ConfigMap must be given as configmap://name/key"],
    ),
    "a file of kept rows": (
        TP,
        {"spec.data.0.uri": "feedback://churn/rows"},
        ["uri: kept rows must be given as feedback://deployment"],
    ),
    "kept rows with a Secret": (
        TP,
        {"spec.data.0.uri": "feedback://churn", "spec.data.0.secretRef.name": "lake"},
        ["secretRef may be set only with a uri of s3://, gs://, az://, http:// or https://"],
    ),
    "kept rows in a format": (
        TP,
        {"spec.data.0.uri": "feedback://churn", "spec.data.0.format": "Parquet"},
        ["format must not be set with a uri of feedback://"],
    ),
    "rows of a bucket as kept rows": (
        TP,
        {"spec.data.0.uri": "s3://lake/rows", "spec.data.0.feedback": {"minNewRows": 5}},
        ["feedback may be set only with a uri of feedback://"],
    ),
    "kept rows that are half left out": (
        TP,
        {"spec.data.0.uri": "feedback://churn", "spec.data.0.feedback": {"suspectedClients": "Half"}},
        ['Unsupported value: "Half"'],
    ),
    "no new rows": (
        TP,
        {"spec.data.0.uri": "feedback://churn", "spec.data.0.feedback": {"minNewRows": 0}},
        ["minNewRows in body should be greater than or equal to 1"],
    ),
    "Secret for a claim": (
        TP,
        {"spec.data.0.uri": "pvc://claim/path", "spec.data.0.secretRef.name": "lake"},
        ["secretRef may be set only with a uri of s3://, gs://, az://, http:// or https://"],
    ),
    "format of bundled data": (
        TP,
        {"spec.data.0.uri": "builtin://iris", "spec.data.0.format": "CSV"},
        ["format must not be set with a uri of builtin://"],
    ),
    "column min above max": (TP, {EXPECT: column(min=2, max=1)}, ["min must not be greater than max"]),
    "min of a category": (
        TP,
        {EXPECT: column(type="Category", min=2)},
        ["min and max may be set only for a column of type Number"],
    ),
    "allowed of a number": (
        TP,
        {EXPECT: column(type="Number", allowed=["a"])},
        ["allowed may be set only for a column of type Category"],
    ),
    "gate without a limit": (
        TP,
        {"spec.evaluation": gates({"metric": "f1"})},
        ["gate: at least one of min, max and againstChampion must be set"],
    ),
    "gate that none can pass": (
        TP,
        {"spec.evaluation": gates({"metric": "f1", "min": 0.9, "max": 0.8})},
        ["gate: min must not be greater than max"],
    ),
    "direction of a gate that is none": (
        TP,
        {"spec.evaluation": gates({"metric": "brier", "againstChampion": {"minDelta": 0, "better": "Smaller"}})},
        ['supported values: "Higher", "Lower"'],
    ),
    "split by a column without one": (
        TP,
        {"spec.evaluation.split": {"type": "Group"}},
        ["split: column must be set for type Group, Time and Column, and must not be set for type Hash"],
    ),
    "split by time without a column": (
        TP,
        {"spec.evaluation.split": {"type": "Time"}},
        ["spec.evaluation.split: Invalid value"],
    ),
    "split by content with a column": (
        TP,
        {"spec.evaluation.split": {"type": "Hash", "column": "id"}},
        ["split: column must be set for type Group, Time and Column, and must not be set for type Hash"],
    ),
    "split without a type": (TP, {"spec.evaluation.split": {"column": "id"}}, ["spec.evaluation.split.type: Required"]),
    "split of another type": (
        TP,
        {"spec.evaluation.split": {"type": "Random"}},
        ['"Random": supported values: "Hash", "Group", "Time", "Column"'],
    ),
    "column of sides for the model": (
        TP,
        {"spec.evaluation.split": {"type": "Column", "column": "side", "keepColumn": False}},
        ["split: keepColumn may be set only for type Group and Time"],
    ),
    "share beside a column of sides": (
        TP,
        {"spec.evaluation": {"holdoutRatio": 0.3, "split": {"type": "Column", "column": "side"}}},
        ["evaluation: holdoutRatio must not be set with split.type Column, where the column says which rows are held"],
    ),
    "split by the target": (
        TP,
        {"spec.evaluation.split": {"type": "Group", "column": "churned"}},
        ["spec.evaluation.split.column must not be the target column"],
    ),
    "built-in metric without target": (
        TP,
        {"spec.target": REMOVE, "spec.evaluation": gates({"metric": "f1", "min": 0.5})},
        ["spec.target must be set because a gate uses a built-in metric"],
    ),
    "polling data that never changes": (
        TP,
        {"spec.data.0.uri": "builtin://iris", "spec.triggers": {"dataChange": {}}},
        ["spec.triggers.dataChange must not be set if all inputs are builtin://, because these never change"],
    ),
    "time zone in the schedule": (
        TP,
        {"spec.triggers": {"schedule": {"cron": "TZ=UTC 0 3 * * *"}}},
        ["cron must not contain TZ= or CRON_TZ=; use timeZone instead"],
    ),
    "six cron fields": (TP, {"spec.triggers": {"schedule": {"cron": "0 0 3 * * *"}}}, ["spec.triggers.schedule.cron"]),
    "local time zone": (
        TP,
        {"spec.triggers": {"schedule": {"cron": "@daily", "timeZone": "Local"}}},
        ["timeZone must be an IANA name such as Europe/Berlin, not Local"],
    ),
    "Secret for a claim of artifacts": (
        TP,
        {"spec.artifacts": {"secretRef": {"name": "lake"}}},
        ["secretRef may be set only with a uri of s3://, gs:// or az://"],
    ),
    "two models": (
        MD,
        {"spec.model.version": "churn-1"},
        ["spec.model: exactly one of pipeline and version must be set"],
    ),
    "no model": (MD, {"spec.model": {}}, ["spec.model: exactly one of pipeline and version must be set"]),
    "number of a named version": (
        MD,
        {"spec.model": {"version": "churn-1", "number": 1}},
        ["spec.model.number may be set only together with pipeline"],
    ),
    "replicas and autoscaling": (
        MD,
        {"spec.replicas": 2, "spec.autoscaling": {"maxReplicas": 3}},
        ["spec: at most one of replicas and autoscaling may be set"],
    ),
    "fewest above most replicas": (
        MD,
        {"spec.autoscaling": {"minReplicas": 4, "maxReplicas": 3}},
        ["spec.autoscaling: minReplicas must not be greater than maxReplicas"],
    ),
    "steps without canary": (
        MD,
        {"spec.rollout": {"strategy": "Immediate", "steps": [{"weight": 10}]}},
        ["spec.rollout.steps may be set only with strategy Canary"],
    ),
    "analysis without canary": (
        MD,
        {"spec.rollout": {"analysis": {"checks": [CHECK]}}},
        ["spec.rollout.analysis may be set only with strategy Canary"],
    ),
    "canary without steps": (
        MD,
        {"spec.rollout": {"strategy": "Canary"}},
        ["spec.rollout.steps must have at least one step with strategy Canary"],
    ),
    "a comparison with a version without requests": (
        MD,
        {
            "spec.rollout": {
                **steps(100),
                "analysis": {"checks": [{"metric": "ErrorRatio", "max": 0.1}, {**CHECK, "maxRatioToStable": 2}]},
            }
        },
        ["spec.rollout.steps: a check with maxRatioToStable needs a step with a weight below 100"],
    ),
    "check without a limit": (
        MD,
        {"spec.rollout": {**steps(10), "analysis": {"checks": [{"metric": "ErrorRatio"}]}}},
        ["check: at least one of max and maxRatioToStable must be set"],
    ),
    "refused requests both ignored and checked": (
        MD,
        {
            "spec.rollout": {
                **steps(10),
                "analysis": {"clientErrors": "Ignore", "checks": [{"metric": "ClientErrorRatio", "max": 0.1}]},
            }
        },
        ["spec.rollout.analysis: clientErrors must be Compare if a check has the metric ClientErrorRatio"],
    ),
    "proof without requests": (
        MD,
        {"spec.rollout": {**steps(10), "analysis": {"requireProof": True, "noTraffic": "Proceed", "checks": [CHECK]}}},
        ["spec.rollout.analysis: noTraffic must be Wait if requireProof is true"],
    ),
    "proof of no errors at all": (
        MD,
        {
            "spec.rollout": {
                **steps(10),
                "analysis": {"requireProof": True, "checks": [{"metric": "ErrorRatio", "max": 0}]},
            }
        },
        ["spec.rollout.analysis: with requireProof, max must be at least 0.000001"],
    ),
    "proof of a latency below the histogram": (
        MD,
        {
            "spec.rollout": {
                **steps(10),
                "analysis": {"requireProof": True, "checks": [{"metric": "LatencyP50Milliseconds", "max": 0.4}]},
            }
        },
        ["spec.rollout.analysis: with requireProof, max must be at least", "0.5 milliseconds"],
    ),
    "unknown confidence": (
        MD,
        {"spec.rollout": {**steps(10), "analysis": {"confidence": 1, "checks": [CHECK]}}},
        ["spec.rollout.analysis.confidence"],
    ),
    "unknown way to treat refused requests": (
        MD,
        {"spec.rollout": {**steps(10), "analysis": {"clientErrors": "Never"}}},
        ["spec.rollout.analysis.clientErrors", "Compare", "Ignore"],
    ),
    "monitor that watches nothing": (
        MM,
        {"spec.drift": REMOVE},
        ["spec: at least one of drift, quality, performance, fairness and gaming must be set"],
    ),
    "error rates of groups without labels": (
        MM,
        {"spec.fairness": {**GROUPS, "limits": [{"metric": "FalsePositiveRateDifference", "max": 0.1}]}},
        ["spec.fairness.limits: FalsePositiveRateDifference and FalseNegativeRateDifference require spec.performance"],
    ),
    "a ratio of groups with a maximum": (
        MM,
        {"spec.fairness": {**GROUPS, "limits": [{"metric": "SelectionRateRatio", "max": 0.8}]}},
        ["spec.fairness.limits: SelectionRateRatio takes min, the differences take max"],
    ),
    "a difference of groups of all": (
        MM,
        {"spec.fairness": {**GROUPS, "limits": [{"metric": "SelectionRateDifference", "max": 1}]}},
        ["spec.fairness.limits[0].max"],
    ),
    "a limit of groups that is none": (
        MM,
        {"spec.fairness": {**GROUPS, "limits": [{"metric": "Justice", "max": 0.1}]}},
        ["spec.fairness.limits[0].metric", "SelectionRateRatio"],
    ),
    "groups without a limit": (MM, {"spec.fairness": {**GROUPS, "limits": []}}, ["spec.fairness.limits"]),
    "a group that is compared with itself": (
        MM,
        {"spec.fairness": {**FAIR, "groups": [{"column": "gender", "privileged": "m", "values": ["f", "m"]}]}},
        ["spec.fairness.groups: values are the groups that are compared with privileged"],
    ),
    "the same column of groups twice": (
        MM,
        {"spec.fairness": {**FAIR, "groups": [{"column": "gender", "privileged": p} for p in ("m", "f")]}},
        ["spec.fairness.groups"],
    ),
    "the same logged column twice": (
        MD,
        {"spec.logging": {"columns": ["gender", "gender"]}},
        ["spec.logging.columns"],
    ),
    "cause that is not watched": (
        MM,
        {"spec.actions": {"retrain": {"causes": ["Drift", "Performance"]}}},
        ["spec.actions: each entry of causes (Drift, Quality, Performance) requires the section of that name in spec"],
    ),
    "an estimate as cause that is not asked for": (
        MM,
        {
            "spec.performance": {"metric": "rmse", "max": 3},
            "spec.actions": {"retrain": {"causes": ["EstimatedPerformance"]}},
        },
        ["and EstimatedPerformance requires spec.performance.estimate"],
    ),
    "a roll-back by an estimate": (
        MM,
        {
            "spec.performance": {"metric": "rmse", "max": 3, "estimate": {}},
            "spec.actions": {"rollback": {"causes": ["EstimatedPerformance"]}},
        },
        ['spec.actions.rollback.causes[0]: Unsupported value: "EstimatedPerformance"'],
    ),
    "roll-back cause that is not watched": (
        MM,
        {
            "spec.drift": REMOVE,
            "spec.performance": {"metric": "rmse", "max": 3},
            "spec.actions": {"rollback": {"causes": ["Quality"]}},
        },
        ["spec.actions: each entry of causes (Drift, Quality, Performance) requires the section of that name in spec"],
    ),
    "an increase of more than all values": (
        MM,
        {"spec.quality": {"maxMissingIncrease": 1.5}},
        ["spec.quality.maxMissingIncrease", "less than or equal to 1"],
    ),
    "an exception with a limit below nothing": (
        MM,
        {"spec.columns": [{"name": "age", "maxMissingIncrease": -0.1}]},
        ["spec.columns[0].maxMissingIncrease", "greater than or equal to 0"],
    ),
    "two exceptions for one column": (
        MM,
        {"spec.columns": [{"name": "age"}, {"name": "age"}]},
        ["spec.columns[1]", "Duplicate value"],
    ),
    "limits of batching that is off": (
        MD,
        {"spec.server.batching": {"enabled": False, "maxRows": 8}},
        ["spec.server.batching: maxRows and maxDelayMilliseconds may be set only with enabled true"],
    ),
    **{
        f"tracing to {endpoint}": (
            MD,
            {"spec.server.tracing": {"endpoint": endpoint}},
            [
                "spec.server.tracing.endpoint must be the URL of an OTLP collector, http:// or https://, "
                "for example http://otel-collector.observability:4318"
            ],
        )
        for endpoint in ("otel-collector:4318", "grpc://otel:4317", "/v1/traces", "http://")
    },
    "two ways in": (
        MI,
        {"spec.as": {"pipeline": "churn", "name": "fraud"}},
        ["as: exactly one of pipeline and name must be set"],
    ),
    "no way in": (MI, {"spec.as": {}}, ["as: exactly one of pipeline and name must be set"]),
    "a name like that of a pipeline's version": (
        MI,
        {"spec.as": {"name": "churn-7"}},
        ["as.name must not end with a hyphen and a number, as the versions of pipelines do"],
    ),
    **{
        f"import of {end}": (
            MI,
            {"spec.source.uri": f"pvc://uploads/model.{end}"},
            [
                "source.uri: a pickle (.pkl, .pickle, .joblib) is not imported, because loading one runs code; "
                "expected a folder of a version, or a file that ends with .skops or .onnx"
            ],
        )
        for end in ("pkl", "pickle", "joblib")
    },
    "import from above": (
        MI,
        {"spec.source.uri": "pvc://uploads/../other"},
        ["source.uri: '..' is not allowed in a path"],
    ),
    "import over the web": (MI, {"spec.source.uri": "https://example.com/model.onnx"}, ["spec.source.uri"]),
    "import without a digest": (MI, {"spec.source.digest": REMOVE}, ["spec.source.digest: Required value"]),
    "import with a short digest": (MI, {"spec.source.digest": "sha256:0f"}, ["spec.source.digest"]),
    "Secret for a claim that is imported from": (
        MI,
        {"spec.source": {"uri": "pvc://uploads/m.onnx", "digest": DIGEST, "secretRef": {"name": "x"}}},
        ["source.secretRef may be set only with a uri of s3://, gs:// or az://"],
    ),
    "long name of an import": (
        MI,
        {"metadata.name": "a" * 64},
        ["metadata.name must have at most 63 characters"],
    ),
    "a version of nothing": (
        MV,
        {"spec.lineage": REMOVE},
        ["spec.lineage must be set, with run, trigger and key, unless spec.source is"],
    ),
    "a version of no run": (
        MV,
        {"spec.lineage.run": REMOVE},
        ["spec.lineage must be set, with run, trigger and key, unless spec.source is"],
    ),
    "performance without a limit": (
        MM,
        {"spec.performance": {"metric": "accuracy"}},
        ["spec.performance: at least one of min and max must be set"],
    ),
    "false alarms in every window": (
        MM,
        {
            "spec.window": {"seconds": 604_800},
            "spec.performance": {"metric": "accuracy", "min": 0.8, "falseAlarmsPerMonth": 0.5},
        },
        ["at most one window in ten may raise a false alarm"],
    ),
    "no false alarms of performance at all": (
        MM,
        {"spec.performance": {"metric": "accuracy", "min": 0.8, "falseAlarmsPerMonth": 0}},
        ["spec.performance.falseAlarmsPerMonth"],
    ),
    "more labels than predictions": (
        MM,
        {"spec.performance": {"metric": "accuracy", "min": 0.8, "minLabelsRatio": 1.1}},
        ["spec.performance.minLabelsRatio"],
    ),
    "a baseline without drift": (
        MM,
        {"spec.drift": REMOVE, "spec.quality": {}, "spec.baseline": {"type": "Previous"}},
        ["spec.baseline requires spec.drift"],
    ),
    "a baseline of no type": (
        MM,
        {"spec.baseline": {"type": "Yesterday"}},
        ["spec.baseline.type: Unsupported value", "Previous", "Seasonal", "Training", "Window"],
    ),
    "a span without its times": (
        MM,
        {"spec.baseline": {"type": "Window"}},
        ["spec.baseline: window must be set with type: Window, and with no other type"],
    ),
    "a season beside another type": (
        MM,
        {"spec.baseline": {"type": "Previous", "seasonal": {}}},
        ["spec.baseline: seasonal must be set with type: Seasonal, and with no other type"],
    ),
    "a span that ends before it starts": (
        MM,
        {"spec.baseline": SPAN | {"window": {"start": "2026-11-08T00:00:00Z", "end": "2026-11-01T00:00:00Z"}}},
        ["spec.baseline.window: start must be before end"],
    ),
    "a span of another form": (
        MM,
        {"spec.baseline": SPAN | {"window": {"start": "last week", "end": "2026-11-01T00:00:00Z"}}},
        ["spec.baseline.window.start"],
    ),
    "a span shorter than a window": (
        MM,
        {"spec.window": {"seconds": 604_800}, "spec.baseline": SPAN},
        ["spec.baseline.window must be at least spec.window.seconds and at most 1900 windows long"],
    ),
    "a span of too many windows": (
        MM,
        {"spec.window": {"seconds": 60}, "spec.baseline": SPAN},
        ["spec.baseline.window must be at least spec.window.seconds and at most 1900 windows long"],
    ),
    "a season that windows do not divide": (
        MM,
        {"spec.window": {"seconds": 7_000}, "spec.baseline": {"type": "Seasonal", "seasonal": {"period": "Day"}}},
        ["spec.baseline.seasonal: period (Day: 86400 s, Week: 604800 s) must be a multiple of spec.window.seconds"],
    ),
    "seasons of too many windows": (
        MM,
        {"spec.window": {"seconds": 900}, "spec.baseline": {"type": "Seasonal", "seasonal": {}}},
        ["count periods must have at most 1900 windows"],
    ),
    "more seasons than are kept": (
        MM,
        {"spec.baseline": {"type": "Seasonal", "seasonal": {"count": 13}}},
        ["spec.baseline.seasonal.count"],
    ),
    **podsections.REFUSED,
}

ACCEPTED: dict[str, tuple[str, Json]] = {
    "objectives": (
        MD,
        {"spec.slo": {"availability": 0.999, "latency": {"quantile": 0.99, "milliseconds": 2500}, "windowDays": 28}},
    ),
    "an objective of latency alone": (MD, {"spec.slo": {"latency": {"quantile": 0.5, "milliseconds": 55}}}),
    **{f"minimal {kind}": (kind, {}) for kind in (TP, TR, MI, MV, MD, MM)},
    "rows kept, with nothing but ids": (
        MD,
        {"spec.logging.payloads": {"purpose": "audits", "uri": "pvc://lake/log", "columns": []}},
    ),
    "rows kept, one column redacted": (
        MD,
        {"spec.logging.payloads": {"purpose": "a", "uri": "s3://lake", "secretRef": {"name": "l"}, "redact": ["name"]}},
    ),
    "ways back and changed signatures": (
        MD,
        {"spec.rollout": {"signatureChanges": "Allow", "rollbackWindow": {"versions": 0}}},
    ),
    "rising weights": (MD, {"spec.rollout": steps(1, 50, 100)}),
    "longest name of a pipeline": (TP, {"metadata.name": "a" * 63}),
    "clients alone watched": (MM, {"spec.drift": REMOVE, "spec.gaming": {"maxPredictionsPerMinute": 600}}),
    "longest name of a monitor": (MM, {"metadata.name": "a" * 63}),
    "longest name of a deployment": (MD, {"metadata.name": "a" + "-b" * 31}),
    "import of a file": (MI, {"spec.source.uri": "pvc://uploads/model.skops"}),
    "import under a name": (MI, {"spec.as": {"name": "fraud-2nd"}}),
    "an imported version without lineage": (
        MV,
        {
            "spec.lineage": REMOVE,
            "spec.source": {"import": "x", "generation": 1, "uri": "s3://models/x", "digest": DIGEST},
        },
    ),
    "command without ConfigMap": (TP, {"spec.code": {"command": ["true"]}}),
    "entrypoint in the image": (TP, {"spec.code": {"entrypoint": "train:train"}, "spec.image": "trainer:1"}),
    "bundled data": (TP, {"spec.data.0.uri": "builtin://wine", "spec.data.0.format": "Auto"}),
    "ConfigMap with key": (TP, {"spec.data.0.uri": "configmap://data/rows.csv"}),
    "Secret for a web address": (TP, {"spec.data.0.uri": "https://h/f.csv", "spec.data.0.secretRef.name": "web"}),
    "column with min and max": (TP, {EXPECT: column(type="Number", min=1, max=1.5)}),
    "column without type": (TP, {EXPECT: column(min=1)}),
    "category with values": (TP, {EXPECT: column(type="Category", allowed=["größe", "青"])}),
    "gates of all forms": (
        TP,
        {
            "spec.evaluation": gates(
                {"metric": "f1", "min": 0.5, "max": 1},
                {"metric": "f1", "againstChampion": {"minDelta": -0.1}},
                {"metric": "own", "max": 3},
                {"metric": "own", "againstChampion": {"minDelta": 0, "better": "Lower"}},
                *({"metric": name, "max": 1} for name in ("brier", "mape", "average_precision")),
            )
        },
    ),
    "split by content": (TP, {"spec.evaluation.split": {"type": "Hash"}}),
    "split by group": (
        TP,
        {"spec.evaluation": {"holdoutRatio": 0.3, "split": {"type": "Group", "column": "id", "keepColumn": True}}},
    ),
    "split by time": (TP, {"spec.evaluation.split": {"type": "Time", "column": "day", "keepColumn": False}}),
    "split by a column": (TP, {"spec.evaluation.split": {"type": "Column", "column": "side"}}),
    "split without target": (TP, {"spec.target": REMOVE, "spec.evaluation.split": {"type": "Group", "column": "id"}}),
    "own metric without target": (TP, {"spec.target": REMOVE, "spec.evaluation": gates({"metric": "own", "min": 1})}),
    "program with a built-in name and no target": (
        TP,
        {
            "spec.target": REMOVE,
            "spec.code": {"command": ["true"]},
            "spec.evaluation": gates({"metric": "f1", "min": 0.5}),
        },
    ),
    "polling one of two inputs": (
        TP,
        {
            "spec.data": [{"name": "a", "uri": "builtin://iris"}, {"name": "b", "uri": "pvc://claim/b"}],
            "spec.triggers": {"dataChange": {}},
        },
    ),
    "schedule with time zone": (
        TP,
        {"spec.triggers": {"schedule": {"cron": "0 3 * * 1-5", "timeZone": "America/Argentina/Buenos_Aires"}}},
    ),
    "macro schedule": (TP, {"spec.triggers": {"schedule": {"cron": "@hourly"}}}),
    "Secret for a bucket of artifacts": (TP, {"spec.artifacts": {"uri": "s3://m", "secretRef": {"name": "lake"}}}),
    "pinned by number": (MD, {"spec.model.number": 7}),
    "pinned by name": (MD, {"spec.model": {"version": "churn-7"}}),
    "no replicas": (MD, {"spec.replicas": 0}),
    "autoscaling": (MD, {"spec.autoscaling": {"minReplicas": 3, "maxReplicas": 3}}),
    "a server with every setting": (
        MD,
        {
            "spec.server": {
                "workers": 64,
                "batching": {"maxRows": 2, "maxDelayMilliseconds": 0.5},
                "maxInFlight": 1,
                "maxBodyBytes": 2**30,
                "requestTimeoutSeconds": 600,
                "accessLogRatio": 0.001,
                "tracing": {"endpoint": "https://otel.example.com/otlp", "sampleRatio": 0},
            }
        },
    ),
    "no batching": (MD, {"spec.server": {"batching": {"enabled": False}}}),
    "more workers than CPUs": (MD, {"spec.server": {"workers": 4, "resources": {"limits": {"cpu": "500m"}}}}),
    "canary with analysis": (
        MD,
        {"spec.rollout": {**steps(10), "analysis": {"checks": [CHECK, {**CHECK, "maxRatioToStable": 1.5}]}}},
    ),
    "canary that compares nothing": (MD, {"spec.rollout": {**steps(10), "analysis": {"clientErrors": "Ignore"}}}),
    "canary with proof": (
        MD,
        {"spec.rollout": {**steps(10), "analysis": {"requireProof": True, "confidence": 0.9999, "checks": [CHECK]}}},
    ),
    "canary with its own limit for refused requests": (
        MD,
        {
            "spec.rollout": {
                **steps(10),
                "analysis": {"checks": [{"metric": "ClientErrorRatio", "maxRatioToStable": 5}]},
            }
        },
    ),
    "every cause watched": (
        MM,
        {
            "spec.quality": {"maxUnseenRatio": 0},
            "spec.performance": {"metric": "rmse", "max": 3},
            "spec.actions": {
                "retrain": {"causes": ["Quality", "Drift", "Performance"]},
                "rollback": {"causes": ["Performance"]},
            },
        },
    ),
    "an estimate as cause": (
        MM,
        {
            "spec.performance": {"metric": "rmse", "max": 3, "estimate": {}},
            "spec.actions": {"retrain": {"causes": ["EstimatedPerformance"]}},
        },
    ),
    "groups, and nothing else": (MM, {"spec.drift": REMOVE, "spec.fairness": FAIR}),
    "error rates of groups": (
        MM,
        {
            "spec.performance": {"metric": "f1", "min": 0.8},
            "spec.fairness": {
                **FAIR,
                "limits": [{"metric": f"False{kind}RateDifference", "max": 0.1} for kind in ("Positive", "Negative")],
                "positive": "approved",
            },
        },
    ),
    "logged columns": (MD, {"spec.logging": {"columns": ["gender", "age group"]}}),
    "rare false alarms of a few labels": (
        MM,
        {"spec.performance": {"metric": "f1", "min": 0.8, "minLabelsRatio": 0.3, "falseAlarmsPerMonth": 0.02}},
    ),
    "false alarms once a week in windows of a day": (
        MM,
        {
            "spec.window": {"seconds": 14_400},
            "spec.performance": {"metric": "mae", "max": 3, "falseAlarmsPerMonth": 10},
        },
    ),
    "training as baseline": (MM, {"spec.baseline": {"type": "Training"}}),
    "a span of time as baseline": (MM, {"spec.window": {"seconds": 3_600}, "spec.baseline": SPAN}),
    "the window before as baseline": (MM, {"spec.baseline": {"type": "Previous"}}),
    "the same hours of four weeks as baseline": (
        MM,
        {"spec.window": {"seconds": 3_600}, "spec.baseline": {"type": "Seasonal", "seasonal": {}}},
    ),
    "the same minute of a day as baseline": (
        MM,
        {
            "spec.window": {"seconds": 60},
            "spec.baseline": {"type": "Seasonal", "seasonal": {"period": "Day", "count": 1}},
        },
    ),
    "actions that ask for nothing": (MM, {"spec.actions": {}}),
    "quality as cause with drift alone": (MM, {"spec.actions": {"retrain": {"causes": ["Quality"]}}}),
    "quality with its defaults": (MM, {"spec.quality": {}}),
    "limits of missing values for all and for one": (
        MM,
        {
            "spec.quality": {"maxMissingIncrease": 0, "maxMissingRatio": 0.3},
            "spec.columns": [{"name": "fax", "maxMissingIncrease": 1}],
        },
    ),
    **{
        f"policies {value} for a {kind}": (kind, {"spec.networkPolicies": value})
        for kind in (MD, MM)
        for value in ("Managed", "None")
    },
    **podsections.ACCEPTED,
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_with_a_sentence(api: ApiServer, case: str) -> None:
    kind, changes, wanted = REFUSED[case]

    answer = api.create(make(kind, changes))

    assert answer.code == 422, answer
    for text in wanted:
        assert text in answer.message, answer.message


@pytest.mark.parametrize("case", ACCEPTED)
def test_accepted(api: ApiServer, case: str) -> None:
    kind, changes = ACCEPTED[case]

    answer = api.create(make(kind, changes))

    assert answer.ok, answer.message


@pytest.mark.parametrize("kind", [MD, MM])
def test_who_says_nothing_about_policies_stores_nothing(api: ApiServer, kind: str) -> None:
    """Absent means what the operator takes it for; a stored default could never change."""
    answer = api.create(make(kind))
    assert answer.ok and "networkPolicies" not in answer.body["spec"]


@pytest.mark.parametrize("kind", [TP, TR, MI, MV, MD, MM])
def test_an_unknown_field_is_named(api: ApiServer, kind: str) -> None:
    answer = api.create(make(kind, {"spec.sede": 1}))

    assert answer.code == 400
    assert 'strict decoding error: unknown field "spec.sede"' in answer.message


@pytest.mark.parametrize("case", podsections.UNKNOWN)
def test_what_a_section_about_pods_does_not_take_is_named(api: ApiServer, case: str) -> None:
    changes, field = podsections.UNKNOWN[case]
    answer = api.create(make(MD, changes))
    assert answer.code == 400 and f'unknown field "spec.server.pod.{field}"' in answer.message, answer.message


CHANGES: dict[str, tuple[str, Json, str]] = {
    "spec of a run": (TR, {"spec.seed": 7}, "spec is immutable; create a new object instead"),
    "field added to a run": (TR, {"spec.queueName": "q"}, "spec is immutable"),
    "spec of a version": (MV, {"spec.metrics": {"f1": 0.9}}, "spec is immutable"),
    "what an import becomes": (MI, {"spec.as": {"name": "other"}}, "as is immutable; create another ModelImport"),
    "store of an import": (MI, {"spec.artifacts": {"uri": "s3://other"}}, "artifacts.uri is immutable"),
    "digest of a named import": (
        MI,
        {"spec.source.digest": "sha256:" + "1" * 64},
        "source.digest is immutable with as.name, because a ModelVersion is; create another ModelImport, or use "
        "as.pipeline",
    ),
    "deployment of a monitor": (MM, {"spec.deployment": "other"}, "spec.deployment is immutable"),
}


@pytest.mark.parametrize("case", CHANGES)
def test_records_cannot_be_changed(api: ApiServer, case: str) -> None:
    kind, changes, sentence = CHANGES[case]
    name: Json = {"metadata.name": case.replace(" ", "-")}
    if "named" in case:
        name["spec.as"] = {"name": "fraud"}
    assert api.create(make(kind, name), dry_run=False).ok
    same = api.apply(make(kind, {**name, "metadata.labels": {"team": "a"}}))

    changed = api.apply(make(kind, {**name, **changes}))

    assert same.ok, same.message
    assert changed.code == 422
    assert sentence in changed.message


@pytest.mark.parametrize(
    ("field", "value"),
    [("source.digest", "sha256:" + "1" * 64), ("source.uri", "s3://moved"), ("approval", "Manual")],
)
def test_what_an_import_names_may_be_changed(api: ApiServer, field: str, value: str) -> None:
    name, changes = {"metadata.name": f"changed-{field.replace('.', '-')}"}, {f"spec.{field}": value}
    assert api.create(make(MI, name), dry_run=False).ok

    changed = api.apply(make(MI, {**name, **changes}))

    assert changed.ok, changed.message


def cel_messages(schema: Schema) -> set[str]:
    """Return the message of every CEL rule below a schema."""
    found = {item["message"] for item in schema.get("x-kubernetes-validations", [])}
    for child in [
        *schema.get("properties", {}).values(),
        *(schema[k] for k in ("items", "additionalProperties") if k in schema),
    ]:
        found |= cel_messages(child)
    return found


def test_every_rule_of_every_kind_has_a_row_that_it_refuses() -> None:
    rows = [text for _, _, wanted in REFUSED.values() for text in wanted] + [text for _, _, text in CHANGES.values()]
    messages = set().union(*(cel_messages(object_schema(kind)) for kind in KINDS))

    unproven = {message for message in messages if not any(row in message for row in rows)}

    assert unproven == set()
