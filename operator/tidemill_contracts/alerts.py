"""Every Prometheus alert: the condition that it follows, how urgent it is, and what to do about it.

One row is one alert. From the rows come the PrometheusRule of each monitor (spec.prometheus), and by `make generate`
manifests/prometheus/rules.yaml and docs/runbooks.md. tests/architecture/test_alerts.py holds that each condition has an
alert here or a reason in `NO_ALERT`. The operator decides when a condition changes; a rule repeats no limit of a spec.
"""

from __future__ import annotations

from typing import Final

from tidemill_contracts import burn_rates, metrics
from tidemill_contracts.alert import Alert

CONDITION_SERIES: Final = "tidemill_operator_resource_condition"
"""1 for the current status and reason of each condition of an object. Only the leader of the operator has it."""
LEADER_SERIES: Final = "leader_election_master_status"
LEASE_NAME: Final = "tidemill-operator"
"""Name of the Lease unless TIDEMILL_LEASE_NAME says otherwise."""
RUNBOOKS: Final = "docs/runbooks.md"


MONITOR: Final = (
    Alert(
        name="TidemillPerformanceDegraded",
        condition="PerformanceDegraded",
        severity="page",
        summary="predictions are worse than spec.performance allows",
        meaning="The metric of spec.performance, computed on the labels that have arrived, is beyond its limit.",
        todo=(
            "Read the message of the condition: the value, the limit and the number of labels.",
            "Check the labels. Labels of another spelling or of other rows look like a bad model.",
            "Look at DriftDetected and DataQualityDegraded of the same monitor: broken inputs are mended first.",
            "Roll back to the previous version if that one was better, or train again.",
        ),
        command="kubectl describe mm NAME",
    ),
    Alert(
        name="TidemillDataQualityDegraded",
        condition="DataQualityDegraded",
        severity="page",
        summary="the inputs are broken",
        meaning="Features of the last judged window are missing, unseen or out of range far more often than allowed.",
        todo=(
            "Read which columns and which problem the message of the condition names.",
            "Find what changed at the sender: a renamed column, another type, a source that is empty.",
            "Do not train on this data. Predictions made meanwhile may have to be made again.",
        ),
        command="kubectl get mm NAME -o jsonpath='{.status.window.qualityProblems}'",
    ),
    Alert(
        name="TidemillDriftDetected",
        condition="DriftDetected",
        severity="ticket",
        summary="the data differs from the training data",
        meaning="Features or predictions differ from those that the served version was trained on, in as many windows "
        "as spec.drift requires. Drift explains worse predictions; it does not show that there are any.",
        todo=(
            "Read which columns drifted, and by how much.",
            "Decide whether the change is real (a season, a new market) or a fault at the sender.",
            "If it is real and labels are late or missing, train again on newer data.",
        ),
        command="kubectl get mm NAME -o jsonpath='{.status.window.driftedFeatures}'",
    ),
    Alert(
        name="TidemillDriftNotJudged",
        condition="DriftDetected",
        status="Unknown",
        reasons=("FeaturesWithoutScore",),
        severity="ticket",
        hold=3600,
        summary="drift cannot be judged",
        meaning="Too many features of the last judged window have no usable values, so that the others do not stand "
        "for all. Drift would not be found.",
        todo=(
            "Read which features the message of the condition names.",
            "Find what changed at the sender: a renamed column, another type, a source that is empty.",
            "If a feature is meant to be empty, set its type to Ignore in spec.columns.",
        ),
        command="kubectl get mm NAME -o jsonpath='{.status.window.featuresWithoutScore}'",
    ),
    Alert(
        name="TidemillEstimatedPerformanceLow",
        condition="EstimatedPerformanceLow",
        severity="ticket",
        summary="predictions are estimated to be worse than spec.performance allows",
        meaning="The metric of spec.performance, estimated without labels in the last judged window, is beyond its "
        "limit by more than the error of the estimate. It assumes that labels depend on the answers of the model as "
        "they did on the holdout.",
        todo=(
            "Look at DriftDetected and DataQualityDegraded of the same monitor: which inputs changed, and why.",
            "Compare estimated.valueAtLabels with the value from labels in status.verdicts.performance. If they are "
            "far apart, the assumption does not hold, and the estimate says little.",
            "Get labels for a random sample of these predictions, or train again on newer data.",
        ),
        command="kubectl get mm NAME -o jsonpath='{.status.verdicts.performance}'",
    ),
    Alert(
        name="TidemillFairnessLimitExceeded",
        condition="FairnessLimitExceeded",
        severity="ticket",
        summary="groups are treated more differently than spec.fairness allows",
        meaning="A rate of a group is further from the privileged group's than a limit allows; it does not say why.",
        todo=(
            "Read group, comparison and rows in the message, and the rates of all groups in status.",
            "Check whether the rows of the group changed (DriftDetected), the version did, or which rows get labels.",
            "Roll back, or train again with the difference among what the version is judged by.",
        ),
        command="kubectl get mm NAME -o jsonpath='{.status.verdicts.fairness}'",
    ),
    Alert(
        name="TidemillGamingSuspected",
        condition="GamingSuspected",
        severity="ticket",
        summary="a client may game the system",
        meaning="A client, known by its key, exceeds a limit of spec.gaming: its labels differ from those of others at "
        "the same scores, or it sends too many labels, labels for others, near-duplicates or requests. That is a "
        "suspicion with evidence and no proof of intent.",
        todo=(
            "Read kind and evidence in the message of the condition. The client is named by a hash; "
            "docs/monitoring-statistics.md says how to find the name.",
            "Talk to the client: a change of its sources or of how it makes labels looks the same.",
            "Where labels are false, take its key out of the Secret of spec.access.feedback, and train without its "
            "rows.",
        ),
        command="kubectl describe mm NAME",
    ),
    Alert(
        name="TidemillDataNotArriving",
        condition="DataArriving",
        status="False",
        severity="ticket",
        summary="no predictions arrive",
        meaning="The monitor has got no prediction of the served version for two windows, or has never got one. "
        "Nothing is judged, so the other conditions of the monitor say nothing about the present.",
        todo=(
            "Check whether clients call the model at all.",
            "If they do, look at the servers: they send records to the monitor, and count those that they drop.",
            "Check NetworkPolicies between servers and monitor.",
        ),
        command="kubectl get mm NAME -o jsonpath='{.status.lastRecordTime}'",
    ),
    Alert(
        name="TidemillLabelsNotArriving",
        condition="LabelsArriving",
        status="False",
        severity="ticket",
        hold=3600,
        summary="no usable labels arrive",
        meaning="No prediction that is older than spec.performance.labelDelaySeconds has a label, or labels name no "
        "class of the model. The performance of the model is not known.",
        todo=(
            "Check that the job that sends feedback runs, and that it sends the ids of the predictions.",
            "If the reason is LabelsNotRecognized, compare the examples in the message with the classes of the model.",
            "If labels come later than that, raise spec.performance.labelDelaySeconds.",
        ),
        command="kubectl logs -l tidemill.io/monitor=NAME --tail=20",
    ),
    Alert(
        name="TidemillActionsHeld",
        condition="ActionsHeld",
        other_reasons=("DryRun", "DisabledInNamespace", "RetrainWaits"),
        severity="ticket",
        summary="a finding is true and the action that follows from it is held",
        meaning="A retrain or a rollback would be requested, and something does not allow it: whoever is acted on, "
        "labels that nobody answers for, or a version to return to that had the same finding.",
        todo=("Read what is held and why in the message of the condition.", "Decide, or act by hand."),
        command="kubectl describe mm NAME",
    ),
    Alert(
        name="TidemillRetentionTooSmall",
        condition="RetentionTooSmall",
        severity="ticket",
        hold=3600,
        summary="predictions are discarded before their labels are due",
        meaning="Predictions are not kept until their labels are due, so labels find none. The performance of the "
        "model is not known.",
        todo=("Read what is needed and given in the message of the condition.", "Change the field that it names."),
        command="kubectl describe mm NAME",
    ),
    Alert(
        name="TidemillPayloadsNotWritten",
        condition="PayloadsWritten",
        status="False",
        severity="ticket",
        hold=3600,
        summary="the store does not take the rows that are to be kept",
        meaning="Rows wait on the volume of the monitor. When their share of it is full, the oldest are discarded.",
        todo=(
            "Read the error of the store in the message of the condition.",
            "Correct the store, its Secret or spec.logging.payloads.uri of the deployment.",
        ),
        command="kubectl describe mm NAME",
    ),
    Alert(
        name="TidemillAlertsNotDelivered",
        condition="AlertsDelivered",
        status="False",
        severity="ticket",
        hold=600,
        summary="a webhook does not take the alerts",
        meaning="Who waits for messages of the webhook is told nothing. Messages are sent again for about a day.",
        todo=("Read which webhook it is, and why, in the message.", "Correct the receiver, its Secret or its url."),
        command="kubectl describe mm NAME",
    ),
    Alert(
        name="TidemillProfileTooOld",
        condition="ProfileTooOld",
        severity="ticket",
        hold=3600,
        summary="the served version cannot be judged in full",
        meaning="The served version was trained with an older image, and its reference profile lacks what the spec "
        "asks for.",
        todo=("Train the version again with the present image.",),
        command="kubectl get mv",
    ),
    Alert(
        name="TidemillMonitorNotReady",
        condition="Ready",
        status="False",
        other_reasons=("DeploymentNotServing",),
        severity="ticket",
        hold=600,
        summary="the model is not monitored",
        meaning="The monitor does not run, does not answer, or has nothing to watch. Nothing is judged.",
        todo=(
            "Read reason and message of the condition Ready.",
            "Look at the pod of the monitor: its node, its claim, its image, its log.",
        ),
        command="kubectl describe pod -l tidemill.io/monitor=NAME",
    ),
    Alert(
        name="TidemillMonitorUnobserved",
        severity="ticket",
        hold=900,
        expression=f'absent_over_time({CONDITION_SERIES}{{kind="$kind",namespace="$namespace",name="$name"}}[2m])',
        summary="Prometheus knows no condition of the monitor",
        meaning="The operator does not run or is not scraped, so no other alert of this monitor can fire.",
        todo=(
            "Check that the operator runs and has a leader.",
            "Check that Prometheus scrapes the operator with honorLabels: manifests/prometheus has a ServiceMonitor.",
        ),
        command="kubectl -n tidemill-system get pods",
    ),
    Alert(
        name="TidemillPredictionRecordsDropped",
        severity="ticket",
        hold=600,
        expression=f"sum(rate({metrics.RECORDS_DROPPED.name}"
        '{namespace="$namespace",deployment="$deployment"}[5m])) > 0',
        summary="prediction records are dropped",
        meaning="Servers drop records because the monitor is slow or unreachable. Dropped ones are never judged.",
        todo=(
            "Look at the pod of the monitor: CPU, memory, disk.",
            "Raise spec.resources, or make windows longer.",
        ),
        command="kubectl describe pod -l tidemill.io/monitor=NAME",
    ),
)
"""Rules that each ModelMonitor with spec.prometheus gets, about itself."""

_KINDS: Final = ("TrainingPipeline", "ModelImport", "ModelVersion", "ModelDeployment", "ModelMonitor")

INSTALLATION: Final = (
    Alert(
        name="TidemillNoLeader",
        severity="page",
        hold=300,
        kinds=(),
        expression=f'absent({LEADER_SERIES}{{name="{LEASE_NAME}"}})'
        f' or max by (namespace) ({LEADER_SERIES}{{name="{LEASE_NAME}"}}) == 0',
        summary="no operator is the leader",
        meaning="The operator does not run or is not scraped, or no replica gets the Lease. Models go on serving, but "
        "nothing is rolled out or rolled back, and no alert that follows a condition can fire.",
        todo=(
            "Look at the pods of the operator and at their last log lines.",
            "If they run, check that Prometheus scrapes them, and read who holds the Lease.",
        ),
        command="kubectl -n tidemill-system logs deploy/tidemill-operator --tail=50",
    ),
    Alert(
        name="TidemillNotAvailable",
        kinds=("ModelDeployment",),
        condition="Available",
        status="False",
        reasons=("NoReadyPod", "NoReadyRouter"),
        severity="page",
        hold=120,
        summary="requests are not answered",
        meaning="A version was served, and now no pod of it or of the router is ready.",
        todo=(
            "Read the reason of the pods in the message of the condition Available.",
            "Look at their logs and nodes.",
        ),
        command="kubectl get pods -l tidemill.io/deployment=NAME",
    ),
    *burn_rates.ALERTS,
    Alert(
        name="TidemillRolledBack",
        kinds=("ModelDeployment",),
        condition="RolledBack",
        severity="ticket",
        summary="a version was rolled back",
        meaning="The previous version serves requests. The condition RolledBack names the version that was rolled "
        "back and the reason.",
        todo=("Read why.", "Try the version again when the cause is gone, or roll out another one."),
        command="kubectl describe md NAME",
    ),
    Alert(
        name="TidemillRollbackProposed",
        kinds=("ModelDeployment",),
        condition="RollbackProposed",
        severity="ticket",
        summary="a monitor asks for a rollback, and a person has to decide",
        meaning="The finding that the message names is true for the version that serves, and "
        "spec.rollout.monitorRollback lets monitors only propose.",
        todo=(
            "Read the message of the condition: the finding, and the version that would serve again.",
            "To go back, set the annotation that it names. Otherwise mend the cause, and the proposal ends with the "
            "next version.",
        ),
        command="kubectl describe md NAME",
    ),
    Alert(
        name="TidemillCandidateUnjudged",
        kinds=("ModelDeployment",),
        condition="Progressing",
        reasons=("WaitingForMeasurement",),
        severity="ticket",
        hold=3600,
        summary="a candidate cannot be judged",
        meaning="The time of a step is over, with too few requests to judge the candidate. The rollout waits.",
        todo=(
            "Read the last measurement in the message of the condition Progressing.",
            "Send more requests, raise the weight of the step, or lower minRequests.",
            "Or promote the candidate by hand, or abort the rollout.",
        ),
        command="kubectl describe md NAME",
    ),
    Alert(
        name="TidemillStalled",
        kinds=_KINDS,
        condition="Stalled",
        severity="ticket",
        hold=60,
        summary="a person must act",
        meaning="The operator cannot continue without help. The condition Stalled explains why and what to do.",
        todo=("Find the reason in the table of the kind in docs/what-to-do.md, with the next command.",),
        command="kubectl get tidemill",
    ),
    Alert(
        name="TidemillReconcileError",
        kinds=(*_KINDS, "TrainingRun"),
        condition="Ready",
        status="False",
        reasons=("ReconcileError",),
        severity="ticket",
        hold=600,
        summary="the operator fails again and again",
        meaning="Every attempt to bring the object into the state of its spec ends in an error. The message of the "
        "condition Ready has the last one.",
        todo=(
            "Read the API server's message: quota, Pod Security, an admission policy, rights.",
            "If the message is not the API server's, look at the operator's log.",
        ),
        command="kubectl describe resourcequota",
    ),
    Alert(
        name="TidemillPodsNotCurrent",
        kinds=("ModelDeployment", "ModelMonitor"),
        condition="PodsCurrent",
        status="False",
        reasons=("NotReadyInTime",),
        severity="ticket",
        summary="pods that were replaced after an upgrade are not ready in time",
        meaning="The operator was upgraded and replaces no further pods until these are ready.",
        todo=("Look why the new pods are not ready; the old ones serve meanwhile.",),
        command="kubectl get md,mm -A",
    ),
)
"""Rules of the whole installation: manifests/prometheus/rules.yaml."""

ALL: Final = (*MONITOR, *INSTALLATION)

NO_ALERT: Final = {
    "ModelMonitor": {
        "Reconciling": "progress; when it does not end, Ready stays False or Stalled comes",
        "ColumnsNoted": "how the spec is read, told once; nothing is wrong",
        "PodSettingsApplied": "names that the pod section may no longer have are left out; the pods run without them",
        "PrometheusReady": "without the kinds of the Prometheus operator there is no rule that could fire",
    },
    "ModelDeployment": {
        "Ready": "Available says whether requests are answered, Stalled whether a person must act",
        "Reconciling": "progress; when it does not end, Stalled comes",
        "PodSettingsApplied": "names that the pod section may no longer have are left out; the pods run without them",
    },
}
"""Conditions of these kinds that no alert follows, and why."""
