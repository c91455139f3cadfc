"""What holds a request although its finding is true and new: whoever is acted on, or for, has to agree.

A request that is held uses up no evidence and no cooldown: it is made as soon as nothing holds it, if its finding is
still true then.
"""

from __future__ import annotations

from typing import NamedTuple

from tidemill.api.v1alpha1.model_monitor import ActionStatus, VersionFinding
from tidemill.monitoring.snapshot import Served, Snapshot
from tidemill.monitoring.state import CONDITION_OF, Evaluation

MAX_FINDINGS = 20


class Hold(NamedTuple):
    """Why a request is not made."""

    reason: str
    message: str


def of(snapshot: Snapshot, served: Served, action: ActionStatus) -> Hold | None:
    """The first that applies: who forbids it for all, who wants to see it only, who is acted on, what came of it."""
    if snapshot.actions_held:
        return Hold("DisabledInNamespace", snapshot.actions_held)
    if snapshot.spec.actions is not None and snapshot.spec.actions.dry_run:
        return Hold("DryRun", f"spec.actions.dryRun is true; {action.message}")
    if action.type == "Retrain" and (nobody := retrains_nobody(served)) is not None:
        return nobody
    if action.type == "Retrain" and (waits := _unserved(snapshot, served)) is not None:
        return Hold("RetrainWaits", f"TrainingPipeline {action.target} has not served request {waits} yet")
    if action.type == "Rollback" and served.monitor_rollback == "Never":
        return Hold("NotAllowed", f"spec.rollout.monitorRollback of ModelDeployment {action.target} is Never")
    if action.type == "Rollback" and served.suspended:
        return Hold("DeploymentSuspended", f"spec.suspend of ModelDeployment {action.target} is true")
    if action.type == "Rollback" and served.previous is None:
        text = f"no version that served before {served.version} may serve again: there is none, or it was rolled back"
        return Hold("NoEarlierVersion", text)
    if action.cause == "Performance" and not served.has_feedback_keys:
        text = (
            f"spec.access.feedback of ModelDeployment {snapshot.spec.deployment} is not set, so anybody may send labels"
        )
        return Hold("LabelsNotAuthenticated", text)
    if action.cause == "Performance" and not _are_labels_authenticated(snapshot):
        return Hold("LabelsNotAuthenticated", "it rests on labels that were sent without a feedback key")
    if action.type == "Rollback" and VersionFinding(version=served.previous or "", cause=action.cause) in (
        snapshot.status.findings
    ):
        return Hold(
            "SameFinding", f"{served.previous}, to which it would return, had the same finding when it was served"
        )
    return None


def retrains_nobody(served: Served) -> Hold | None:
    """Why no retrain that a monitor requests could ever start a run; None where a pipeline listens."""
    if served.pipeline is None:
        text = f"version {served.version} is of no pipeline, and a retrain needs a TrainingPipeline"
        return Hold("PipelineNotFound", text)
    if not served.pipeline_exists:
        return Hold("PipelineNotFound", f"TrainingPipeline {served.pipeline} does not exist")
    if not served.allows_retrain:
        return Hold("NotAllowed", f"spec.triggers.monitors of TrainingPipeline {served.pipeline} is not set")
    return None


def _unserved(snapshot: Snapshot, served: Served) -> str | None:
    """Id of the last retrain request, while its pipeline lets it wait: another one would say the same."""
    earlier = [a for a in snapshot.status.actions if a.type == "Retrain" and a.target == served.pipeline]
    if not earlier or served.handled_request == earlier[-1].id:
        return None
    return earlier[-1].id


def _are_labels_authenticated(snapshot: Snapshot) -> bool:
    found = snapshot.version_report.performance if snapshot.version_report is not None else None
    return found is not None and found.authenticated


def remember(snapshot: Snapshot, evaluated: Evaluation) -> list[VersionFinding]:
    """The findings to record: those about the served version as they are now, those about others as they were last."""
    old = list(snapshot.status.findings)
    version = snapshot.served.version if snapshot.served is not None else None
    if version is None:
        return old
    for cause, condition in CONDITION_OF.items():
        found, entry = evaluated.get(condition), VersionFinding(version=version, cause=cause)
        if found is None or found.status == "Unknown":
            continue
        old = [f for f in old if f != entry]
        if found.status == "True":
            old.append(entry)
    return old[-MAX_FINDINGS:]
