"""What every status of ours must hold, whatever happened before: run on each status that a test sees.

A port of Flux's status conformance checks (github.com/fluxcd/pkg, runtime/conditions/check, FAIL0001 to FAIL0009) plus
the metav1.Condition format, plus agreement with kstatus (sigs.k8s.io/cli-utils/pkg/kstatus), which Flux, Helm and kpt
read. Two deliberate differences: Ready may be Unknown, not only False, while Reconciling is True (FAIL0003), and
observedGeneration says which generation was looked at, so FAIL0010 (root below Reconciling's) does not apply.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from tests.support import manifests

CRDS = Path(__file__).resolve().parents[2] / "crds"
Obj = Mapping[str, Any]
KStatus = Literal["Current", "InProgress", "Failed", "Terminating"]

DEFAULT_STATUS = {
    name: document["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"]["default"]
    for document in (manifests.read(f) for f in sorted(CRDS.glob("tidemill.io_*.yaml")))
    for name in [document["spec"]["names"]["kind"]]
}
"""The status of a new object by kind, as the CRDs in the repository say."""
NEGATIVE = ("Reconciling", "Stalled")
_REASON = re.compile(r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$")
_TYPE = re.compile(r"^[A-Z][A-Za-z0-9]*$")


def check_status(obj: Obj) -> None:
    """AssertionError with every violation, one a line.

    An object that nobody has written the status of has exactly the default status of its CRD. Without a kind
    (a bare status) nothing more is known of it.
    """
    status = obj.get("status")
    if status in (None, {}):
        return
    if status.get("observedGeneration") == -1:
        violations = _default_status(obj, _conditions(obj))
    else:
        violations = [text for check in _CHECKS for text in check(obj, _conditions(obj))]
    where = f"{obj.get('kind')}/{obj['metadata'].get('namespace')}/{obj['metadata'].get('name')}"
    found = "\n".join(f"- {text}" for text in violations)
    assert not violations, f"{where} breaks the status rules:\n{found}\nstatus: {json.dumps(status, indent=1)}"


def kstatus(obj: Obj) -> KStatus:
    """The verdict of kstatus on a custom resource (its generic rules, in its order)."""
    meta, status = obj["metadata"], obj.get("status") or {}
    if meta.get("deletionTimestamp"):
        return "Terminating"
    observed = status.get("observedGeneration")
    if observed is not None and observed != meta.get("generation"):
        return "InProgress"
    for condition in status.get("conditions") or ():
        if condition["type"] == "Reconciling" and condition["status"] == "True":
            return "InProgress"
        if condition["type"] == "Stalled" and condition["status"] == "True":
            return "Failed"
    ready = _conditions(obj).get("Ready")
    return "InProgress" if ready and ready["status"] != "True" else "Current"


def _conditions(obj: Obj) -> dict[str, dict[str, Any]]:
    return {c["type"]: c for c in (obj.get("status") or {}).get("conditions") or ()}


def _is(conditions: Mapping[str, Obj], kind: str, status: str = "True") -> bool:
    return kind in conditions and conditions[kind]["status"] == status


def _ready_is_there(obj: Obj, conditions: Mapping[str, Obj]) -> list[str]:
    return [] if "Ready" in conditions else ["Ready must always be present"]


def _trio(obj: Obj, conditions: Mapping[str, Obj]) -> list[str]:
    found = []
    if all(kind in conditions for kind in NEGATIVE):
        found.append("only one of Reconciling and Stalled may be present")
    for kind in NEGATIVE:
        if kind in conditions and not _is(conditions, kind):
            found.append(f"{kind} must be absent unless it is True")
        if _is(conditions, kind) and _is(conditions, "Ready"):
            found.append(f"Ready must not be True while {kind} is")
    if _is(conditions, "Stalled") and not _is(conditions, "Ready", "False"):
        found.append("Ready must be False while Stalled is True")
    return found


def _generations(obj: Obj, conditions: Mapping[str, Obj]) -> list[str]:
    generation, observed = obj["metadata"].get("generation", 0), obj["status"].get("observedGeneration")
    if not isinstance(observed, int):
        return ["status.observedGeneration must be there"]
    found = []
    if observed > generation:
        found.append(f"observedGeneration {observed} is above generation {generation}")
    for kind, condition in conditions.items():
        own = condition.get("observedGeneration")
        if own is None:
            found.append(f"{kind} has no observedGeneration")
        elif own > observed:
            found.append(f"{kind} has observedGeneration {own}, above the status's {observed}")
        elif own < observed and _is(conditions, "Ready"):
            found.append(f"Ready is True while {kind} is of generation {own}, not {observed}")
    return found


def _format(obj: Obj, conditions: Mapping[str, Obj]) -> list[str]:
    listed: Sequence[Obj] = obj["status"].get("conditions") or ()
    found = [] if len(listed) == len(conditions) else ["a condition type is listed twice"]
    for kind, condition in conditions.items():
        if not _TYPE.match(kind):
            found.append(f"condition type {kind!r} is not PascalCase")
        if condition.get("status") not in ("True", "False", "Unknown"):
            found.append(f"{kind} has status {condition.get('status')!r}; allowed are True, False, Unknown")
        if not _REASON.match(condition.get("reason") or ""):
            found.append(f"{kind} has reason {condition.get('reason')!r}, not a PascalCase word")
        if not (condition.get("message") or "").strip() and kind in ("Ready", *NEGATIVE):
            found.append(f"{kind} has no message")
        if len(condition.get("message") or "") > 32768:
            found.append(f"{kind} has a message above 32768 characters")
        found += _times(obj, kind, condition.get("lastTransitionTime"))
    return found


def _times(obj: Obj, kind: str, changed: str | None) -> list[str]:
    if not changed:
        return [f"{kind} has no lastTransitionTime"]
    try:
        when = datetime.fromisoformat(changed.replace("Z", "+00:00"))
    except ValueError:
        return [f"{kind} has lastTransitionTime {changed!r}, not RFC 3339"]
    made = obj["metadata"].get("creationTimestamp")
    if made and when < datetime.fromisoformat(made.replace("Z", "+00:00")):
        return [f"{kind} changed at {changed}, before the object was made at {made}"]
    return []


def _default_status(obj: Obj, conditions: Mapping[str, Obj]) -> list[str]:
    """The state before the first write: the CRD's default and nothing else, and in progress for every tool."""
    found = [*_ready_is_there(obj, conditions), *_trio(obj, conditions)]
    if obj.get("kind") in DEFAULT_STATUS and obj["status"] != DEFAULT_STATUS[obj["kind"]]:
        found.append("observedGeneration is -1, but the status is not the default one")
    for kind, condition in conditions.items():
        if condition.get("status") != ("True" if kind == "Reconciling" else "Unknown"):
            found.append(f"{kind} is {condition.get('status')} before anybody has looked")
        if "observedGeneration" in condition:
            found.append(f"{kind} has observedGeneration {condition['observedGeneration']} before anybody has looked")
        if condition.get("lastTransitionTime") != "1970-01-01T00:00:00Z":
            when = condition.get("lastTransitionTime")
            found.append(f"{kind} has lastTransitionTime {when}, not that of the default")
    if kstatus(obj) not in ("InProgress", "Terminating"):
        found.append(f"kstatus reads {kstatus(obj)}, a new object is in progress")
    return found


def _shape(obj: Obj, conditions: Mapping[str, Obj]) -> list[str]:
    found = []
    if "phase" in obj["status"]:
        found.append("status.phase is deprecated by the API conventions")
    try:
        json.dumps(obj["status"], allow_nan=False)
    except ValueError:
        found.append("the status holds NaN or infinity, which JSON does not know")
    return found


def _kstatus_agrees(obj: Obj, conditions: Mapping[str, Obj]) -> list[str]:
    verdict = kstatus(obj)
    if verdict == "Terminating" or obj["status"].get("observedGeneration") != obj["metadata"].get("generation"):
        return []
    stalled, ready = _is(conditions, "Stalled"), _is(conditions, "Ready")
    wanted = "Failed" if stalled else ("Current" if ready else "InProgress")
    return [] if verdict == wanted else [f"kstatus reads {verdict}, the conditions mean {wanted}"]


_CHECKS: tuple[Callable[[Obj, Mapping[str, Obj]], list[str]], ...] = (
    _ready_is_there,
    _trio,
    _generations,
    _format,
    _shape,
    _kstatus_agrees,
)
