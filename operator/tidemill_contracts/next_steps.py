"""What to do when: the next command for each reason that a condition of our kinds can have.

`make generate` writes docs/what-to-do.md from it. tests/architecture/test_next_steps.py compares the reasons with the
pages of conditions, and the commands with what the CRDs have. A reason that only means "it works" has a command that
shows more. In commands, NAME is the name of the object, VERSION that of a ModelVersion and DIGEST its spec.digest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tidemill_contracts.failures import POD_REASONS, START_REASONS, FailureCategory


@dataclass(frozen=True, slots=True)
class Step:
    """A reason, what to do about it in a sentence, and the command to begin with."""

    reason: str
    todo: str
    command: str


_PIPELINE_RUN = "kubectl get tr -l tidemill.io/pipeline=NAME --sort-by=.metadata.creationTimestamp"
_RUN_NOW = 'kubectl annotate tp NAME --overwrite tidemill.io/run-requested-at="$(date +%s)"'
_SPEC = "Correct the field that the message names."
_EVENTS = "kubectl get events --sort-by=.lastTimestamp"
_LOOK = "Nothing."


def _names(kind: str) -> Step:
    """Of a `pod` section; admission names what is accepted when the object is written again."""
    return Step("NamesRefused", "Take the names in the message out of the pod section.", f"kubectl edit {kind} NAME")


_PIPELINE: Final = (
    Step("Pending", "Nothing: the operator has not looked yet. If it stays, look at the operator.",
         "kubectl -n tidemill-system logs deploy/tidemill-operator --tail=50"),
    Step("Trained", _LOOK, "kubectl get mv -l tidemill.io/pipeline=NAME"),
    Step("RunInProgress", "Wait. The message has what the run says of itself.", _PIPELINE_RUN),
    Step("RunCannotStart", "Remove what the message names: quota, image, node, volume. The run goes on by itself.",
         _EVENTS),
    Step("RunPending", "Wait, or look which limit holds the run back.",
         "kubectl get tp NAME -o jsonpath='{.status.pendingTrigger}'"),
    Step("RunFailed", "Read category and message; what has to change is in the table of categories below.",
         _PIPELINE_RUN),
    Step("RunRejected", "Compare the metrics with the gates; change code, data or gates.",
         f"{_PIPELINE_RUN} -o jsonpath='{{.items[-1:].status.gates}}'"),
    Step("RunDeleted", "Request another run.", _RUN_NOW),
    Step("AwaitingApproval", "Approve the version, by its digest, or reject it with tidemill.io/reject.",
         "kubectl annotate mv VERSION --overwrite tidemill.io/approve=DIGEST"),
    Step("VersionRejected", "Train another version, or approve this one after all, without tidemill.io/reject.",
         'kubectl annotate mv VERSION --overwrite tidemill.io/reject- tidemill.io/approve="DIGEST/$(date +%s)"'),
    Step("Suspended", "Set spec.suspend to false when runs shall start again.",
         "kubectl patch tp NAME --type=merge -p '{\"spec\":{\"suspend\":false}}'"),
    Step("CodeNotFound", "Create the ConfigMap that spec.code names.",
         "kubectl create configmap CODE --from-file=train.py"),
    Step("DataNotFound", "Create the ConfigMap or its key, or let the ModelDeployment keep rows, as the message says.",
         "kubectl get configmaps,md,mm"),
    Step("TooFewLabels", "Send labels, or lower spec.data[].feedback.minNewRows; rows are written when labels are due.",
         "kubectl get tp NAME -o jsonpath='{.status.data}'"),
    Step("InvalidEntrypoint", "Name a module that is a key of the code's ConfigMap.", "kubectl edit tp NAME"),
    Step("InvalidSchedule", "Correct the cron expression or the time zone.", "kubectl edit tp NAME"),
    Step("InvalidData", "Correct the URI that the message names.", "kubectl edit tp NAME"),
    Step("InvalidArtifacts", "Correct spec.artifacts.", "kubectl edit tp NAME"),
    Step("SpecTooLarge", "Put large parameters into data, or make the list of inputs shorter.", "kubectl edit tp NAME"),
    Step("RepeatedFailures", "Find out why the last runs failed. Until then, request runs by hand.", _PIPELINE_RUN),
    Step("DataUnchanged", "Bring new data, or change the code; a run of the same is requested by hand.",
         "kubectl get tp NAME -o jsonpath='{.status.data}'"),
    Step("Probed", _LOOK, "kubectl get tp NAME -o jsonpath='{.status.data}'"),
    Step("ProbeFailed", "Check URI, Secret and reachability of the input that the message names.",
         "kubectl get tp NAME -o jsonpath='{.status.data}'"),
    Step("RecordsNotRead", "Check store, Secret and reachability, or set spec.artifacts.restore to Never to begin with "
         "version 1.", "kubectl get tp NAME -o jsonpath='{.status.records.read}'"),
    Step("VersionsNotListed", "Look at the versions that came back. Reject those that had been deleted.",
         "kubectl get mv"),
    Step("RecordsRefused", "Where these are records of yours, give the operator the key that signed them, and create "
         "the pipeline again.", "kubectl get tp NAME -o jsonpath='{.status.records.read}'"),
    Step("RecordsNotWritten", "Check store, Secret and reachability. It is tried again by itself.",
         "kubectl get tp NAME -o jsonpath='{.status.records.written}'"),
    _names("tp"),
)  # fmt: skip

_RUN: Final = (
    Step("Running", "Wait.", "kubectl logs job/NAME --tail=20"),
    Step("Pending", "Wait. If it stays, look at the pod.", "kubectl describe pod -l tidemill.io/run=NAME"),
    Step("CannotStart", "Remove what the message names: quota, image, node, volume. The run goes on by itself until "
         "spec.run.pendingDeadlineSeconds are over.", "kubectl describe job NAME"),
    Step("Queued", "Wait until Kueue admits the Job.", "kubectl get workloads.kueue.x-k8s.io"),
    Step("Succeeded", _LOOK, "kubectl get tr NAME -o jsonpath='{.status.version}'"),
    Step("Unchanged", "Nothing: the same model is registered already.",
         "kubectl get tr NAME -o jsonpath='{.status.version}'"),
    Step("Rejected", "Compare the metrics with the gates.", "kubectl get tr NAME -o jsonpath='{.status.gates}'"),
    Step("Failed", "Read category, reason and the last lines of the log.",
         "kubectl get tr NAME -o jsonpath='{.status.failure}'"),
)  # fmt: skip

_AGAIN = 'kubectl annotate mi NAME --overwrite tidemill.io/retry="$(date +%s)"'
_IMPORT: Final = (
    Step("Pending", "Wait. If it stays, look at the pod.", "kubectl describe pod -l tidemill.io/import=NAME"),
    Step("CannotStart", "Remove what the message names: quota, image, node, volume. It goes on by itself for ten "
         "minutes.", "kubectl describe pod -l tidemill.io/import=NAME"),
    Step("Importing", "Wait.", "kubectl logs -l tidemill.io/import=NAME --tail=20"),
    Step("Imported", _LOOK, "kubectl get mi NAME -o jsonpath='{.status.version}'"),
    _names("mi"),
    Step("AwaitingApproval", "Approve the version, by its digest, or reject it with tidemill.io/reject.",
         "kubectl annotate mv VERSION --overwrite tidemill.io/approve=DIGEST"),
    Step("VersionRejected", "Import another digest, or approve the version after all, without tidemill.io/reject.",
         'kubectl annotate mv VERSION --overwrite tidemill.io/reject- tidemill.io/approve="DIGEST/$(date +%s)"'),
    Step("ImportFailed", "Read category, reason and message. Correct the spec or what it names, and try again.",
         _AGAIN),
    Step("InvalidSource", "Correct spec.source.uri.", "kubectl edit mi NAME"),
    Step("InvalidArtifacts", "Correct spec.artifacts in a new ModelImport.", "kubectl explain mi.spec.artifacts"),
    Step("NameTaken", "Choose another name, or spec.as.pipeline, in a new ModelImport.", "kubectl get mv"),
    Step("RecordsNotRead", "Check store, Secret and reachability. It is tried again by itself.",
         "kubectl get mi NAME -o jsonpath='{.status.records.read}'"),
    Step("VersionsNotListed", "Look at the versions that came back. Reject those that had been deleted.",
         "kubectl get mv"),
    Step("RecordsRefused", "Where these are records of yours, give the operator the key that signed them, and create "
         "the import again.", "kubectl get mi NAME -o jsonpath='{.status.records.read}'"),
    Step("RecordsNotWritten", "Check store, Secret and reachability. It is tried again by itself.",
         "kubectl get mi NAME -o jsonpath='{.status.records.written}'"),
)  # fmt: skip

_VERSION: Final = (
    Step("Pending", "Nothing: the operator has not looked yet.", "kubectl get mv NAME"),
    Step("Registered", _LOOK, "kubectl get mv NAME -o jsonpath='{.status.registered}'"),
    Step("NotRegistered", "Delete the object, and create a ModelImport to bring a model in.",
         "kubectl get mv NAME -o jsonpath='{.spec.lineage}'"),
    Step("GatesPassed", _LOOK, "kubectl get mv NAME -o jsonpath='{.status.deployments}'"),
    Step("NotJudged", "Nothing, or add gates to the pipeline.", "kubectl get mv NAME -o jsonpath='{.spec.metrics}'"),
    Step("Imported", "Nothing: its ModelImport has approval Automatic.",
         "kubectl get mv NAME -o jsonpath='{.spec.source}'"),
    Step("ApprovedEarlier", _LOOK, "kubectl get mv NAME -o jsonpath='{.status.decision}'"),
    Step("ApprovedByHand", "Nothing. Who set the annotation is in the audit log of the API server.",
         "kubectl get mv NAME -o jsonpath='{.status.decision}'"),
    Step("RejectedByHand", "To take it back, remove tidemill.io/reject and approve the digest.",
         'kubectl annotate mv NAME --overwrite tidemill.io/reject- tidemill.io/approve="DIGEST/$(date +%s)"'),
    Step("VersionRejected", "To approve the content after all, approve this version with a new word.",
         'kubectl annotate mv NAME --overwrite tidemill.io/approve="DIGEST/$(date +%s)"'),
    Step("AwaitingApproval", "Approve it by its digest, or reject it with tidemill.io/reject.",
         "kubectl annotate mv NAME --overwrite tidemill.io/approve=DIGEST"),
    Step("DigestMismatch", "Look at this version's spec.digest, and set the annotation again with it.",
         "kubectl annotate mv NAME --overwrite tidemill.io/approve=DIGEST"),
    Step("AnalysisFailed", "Read which check failed. Lift the rollback if the version may be tried again.",
         'kubectl annotate mv NAME --overwrite tidemill.io/retry="$(date +%s)"'),
    Step("MonitorRequested", "Read what the monitor found.", "kubectl get mv NAME -o jsonpath='{.status.takenBack}'"),
    Step("Aborted", "Lift the rollback if the version may be tried again.",
         'kubectl annotate mv NAME --overwrite tidemill.io/retry="$(date +%s)"'),
    Step("Rejected", "Nothing, or approve it again.", "kubectl get mv NAME -o jsonpath='{.status.decision}'"),
)  # fmt: skip

_SERVERS = "kubectl get pods -l tidemill.io/deployment=NAME"
_SLO = "kubectl get md NAME -o jsonpath='{.status.slo}'"
_RETRY = 'kubectl annotate md NAME --overwrite tidemill.io/retry="$(date +%s)"'
_NAME_IT = 'kubectl annotate md NAME --overwrite tidemill.io/promote="VERSION/$(date +%s)"'
_UPGRADES = "kubectl get md,mm -A"
_VERSIONS = "kubectl get mv"
_DEPLOYMENT: Final = (
    Step("Pending", "Nothing: the operator has not looked yet. If it stays, look at the operator.",
         "kubectl -n tidemill-system logs deploy/tidemill-operator --tail=50"),
    Step("Serving", _LOOK, "kubectl get md NAME -o jsonpath='{.status.url}'"),
    Step("ScaledToZero", "Set spec.replicas when it shall serve.", "kubectl scale md NAME --replicas=2"),
    Step("Suspended", "Set spec.suspend to false when it shall go on.",
         "kubectl patch md NAME --type=merge -p '{\"spec\":{\"suspend\":false}}'"),
    Step("RollingOut", "Wait; the message has step, weight and last measurement.", "kubectl get md NAME --watch"),
    Step("Updating", "Wait. If it stays, look at the pods.", _SERVERS),
    Step("Starting", "Wait. If it stays, look at the pods.", _SERVERS),
    Step("PodsRefused", "Remove what the message names: quota, image, node, volume. It goes on by itself.", _EVENTS),
    Step("PodsFailing", "Read the reason of the pods in the message, and their last words.",
         "kubectl logs -l tidemill.io/deployment=NAME --tail=20 --prefix"),
    Step("NoReadyPod", "Read the reason of the pods in the message.", _SERVERS),
    Step("NoReadyRouter", "Read the reason of the router's pods in the message.",
         "kubectl describe pod -l tidemill.io/deployment=NAME,app.kubernetes.io/component=router"),
    Step("NoReachablePod", "Wait some seconds. If it stays, look whether the Service of the version has addresses, "
         "and at the cluster's DNS.", "kubectl get endpointslices -l tidemill.io/deployment=NAME"),
    Step("NotYetServed", "Wait for the first version.", "kubectl get tp,mv"),
    Step("ProgressDeadlineExceeded", "Look why the pods are not ready, or raise "
         "spec.rollout.progressDeadlineSeconds. A candidate is tried again with tidemill.io/retry.", _SERVERS),
    Step("CandidateUnavailable", "Look why its pods went away; try again.", _RETRY),
    Step("CanaryStep", "Wait.", "kubectl get md NAME --watch"),
    Step("WaitingForMeasurement", "Send more requests, raise the weight of the step, lower "
         "spec.rollout.analysis.minRequests, or set noTraffic to Proceed. Or promote it by hand: it gets all requests "
         "at once.",
         'kubectl annotate md NAME --overwrite tidemill.io/promote="$(date +%s)"'),
    Step("WaitingForPromotion", "Promote the candidate, or abort with tidemill.io/abort.",
         'kubectl annotate md NAME --overwrite tidemill.io/promote="$(date +%s)"'),
    Step("SignatureChanged", "Set spec.server.extraColumns to Ignore, let clients send the columns of both versions by "
         "name, then name the version: it begins with the first step, and the same command again sends all requests at "
         "once. Or drop it with tidemill.io/abort.", _NAME_IT),
    Step("SignatureUnknown", "Wait, or let the operator reach port 8081 of the servers. Or name the version.",
         _NAME_IT),
    Step("RolledBack", "Read why. Try the version again when the cause is gone, or name another one.", _RETRY),
    Step("AnalysisFailed", "Read which check failed; a newer version is rolled out as usual. Or try again.", _RETRY),
    Step("Aborted", "Try the version again, or roll out a newer one.", _RETRY),
    Step("MonitorRequested", "Read what the monitor found.", "kubectl get mm"),
    Step("BurnRate1h", "Look for the cause of errors or slow answers now; abort a rollout that has just begun.", _SLO),
    Step("BurnRate6h", "Look for the cause of errors or slow answers; abort a rollout that has just begun.", _SLO),
    Step("BurnRate1d", "Look for the cause of errors or slow answers within a day.", _SLO),
    Step("BurnRate3d", "Look for the cause of errors or slow answers within a few days.", _SLO),
    Step("BudgetSpent", "Put off risky changes, or change spec.slo if it is stricter than users need.", _SLO),
    Step("WithinObjectives", "Nothing.", _SLO),
    Step("NoRequests", "Send requests to the address of the deployment.",
         "kubectl get md NAME -o jsonpath='{.status.url}'"),
    Step("NotMeasured", "Let the operator reach port 9901 of the router's pods.", _SERVERS),
    Step("Rejected", "Approve another version.", _VERSIONS),
    Step("PipelineNotFound", "Create the pipeline, or correct spec.model.pipeline.", "kubectl get tp"),
    Step("WaitingForVersion", "Look why the pipeline has no version yet.", "kubectl get tp"),
    Step("WaitingForApproval", "Approve a version by its digest.",
         "kubectl annotate mv VERSION --overwrite tidemill.io/approve=DIGEST"),
    Step("VersionNotFound", "Name a version that exists.", _VERSIONS),
    Step("VersionNotApproved", "Approve the version by its digest, or name another one.",
         "kubectl annotate mv VERSION --overwrite tidemill.io/approve=DIGEST"),
    Step("VersionRejected", "Approve a version, or delete the deployment.", _VERSIONS),
    Step("FormatNotServable", "Set spec.server.runtime to one that the version has a form for, or train again.",
         "kubectl get mv VERSION -o jsonpath='{.spec.formats}'"),
    Step("PickleNotAllowed", "Set spec.server.allowPickle if you trust the training code, or train a safe form.",
         "kubectl get mv VERSION -o jsonpath='{.spec.formats}'"),
    Step("CodeNotAllowed", "Set spec.server.allowCode if you trust the code, or use scikit-learn's own classes.",
         "kubectl patch md NAME --type=merge -p '{\"spec\":{\"server\":{\"allowCode\":true}}}'"),
    Step("WaitingForTurn", "Wait: other objects are replaced first after an upgrade.", _UPGRADES),
    Step("UpdatesStopped", "Repair the object whose pods did not get ready after the upgrade.", _UPGRADES),
    Step("NotReadyInTime", "Look why the new pods are not ready; the old ones serve.", _SERVERS),
    _names("md"),
)  # fmt: skip

_MONITOR_POD = "kubectl describe pod -l tidemill.io/monitor=NAME"
_WINDOW = "kubectl get mm NAME -o jsonpath='{.status.window}'"
_MONITOR: Final = (
    Step("Pending", "Nothing: the operator has not looked yet.", "kubectl get mm NAME"),
    Step("Watching", _LOOK, _WINDOW),
    Step("Suspended", "Set spec.suspend to false when windows shall be judged again.",
         "kubectl patch mm NAME --type=merge -p '{\"spec\":{\"suspend\":false}}'"),
    Step("DeploymentNotFound", "Create the deployment, or correct spec.deployment.", "kubectl get md"),
    Step("DeploymentNotServing", "Look why the deployment serves no version.", "kubectl get md"),
    Step("DeploymentAlreadyMonitored", "Delete one of the two monitors.", "kubectl get mm"),
    Step("MonitorNotReady", "Read the reason of the pod in the message.", _MONITOR_POD),
    Step("MonitorUnreachable", "Look at the pod, and at NetworkPolicies between operator and monitor.",
         "kubectl logs -l tidemill.io/monitor=NAME --tail=20"),
    Step("DatabaseTooNew", "Use the newer image again, or delete claim and pod to start with an empty database.",
         "kubectl get pvc"),
    Step("NothingServed", "Look why the deployment serves no version.", "kubectl get md"),
    Step("PredictionsArrive", _LOOK, "kubectl get mm NAME -o jsonpath='{.status.lastRecordTime}'"),
    Step("NoDataYet", "Send predictions.", "kubectl get md"),
    Step("NoTraffic", "Look why clients send nothing.", "kubectl get svc"),
    Step("NoJudgedWindow", "Wait for a window with spec.window.minRows rows, or lower it.", _WINDOW),
    Step("NoDrift", _LOOK, _WINDOW),
    Step("DriftBelowShare", "Look at the columns; set spec.columns[].decisive for those that matter alone.", _WINDOW),
    Step("DriftNotSustained", "Wait for the next windows.", _WINDOW),
    Step("DriftSustained", "Look at the columns; train again if the change is real.",
         "kubectl get mm NAME -o jsonpath='{.status.window.driftedFeatures}'"),
    Step("WithinLimits", _LOOK, _WINDOW),
    Step("LimitsExceeded", "Read the message; look at the columns or the metric that it names.",
         "kubectl describe mm NAME"),
    Step("FeaturesWithoutScore", "Look at DataQualityDegraded: repair what sends these features without usable values.",
         "kubectl get mm NAME -o jsonpath='{.status.window.featuresWithoutScore}'"),
    Step("LabelsNotRecognized", "Let feedback spell labels as predictions are spelt; the message has examples.",
         "kubectl describe mm NAME"),
    Step("LabelsNotDue", "Wait until enough labelled predictions are older than spec.performance.labelDelaySeconds.",
         "kubectl get mm NAME -o jsonpath='{.spec.performance.labelDelaySeconds}'"),
    Step("LimitNotExcluded", "Wait for labels: the message says about how many would decide.",
         "kubectl get mm NAME -o jsonpath='{.status.verdicts.performance}'"),
    Step("LabelsRatioTooLow", "Send more labels, or lower spec.performance.minLabelsRatio.",
         "kubectl get mm NAME -o jsonpath='{.status.performance}'"),
    Step("NotEnoughLabels", "Wait for labels, or lower spec.performance.minLabels.",
         "kubectl get mm NAME -o jsonpath='{.status.performance}'"),
    Step("MetricNotDefined", "Choose a metric of the model's task.", "kubectl explain mm.spec.performance.metric"),
    Step("EstimateNotPossible", "Train a new version with labels in its holdout, or remove spec.performance.estimate.",
         _VERSIONS),
    Step("EstimateNotTrusted", "Look at DriftDetected: predictions are of a kind that the holdout had too few of.",
         "kubectl get mm NAME -o jsonpath='{.status.verdicts.performance.estimated}'"),
    Step("ColumnNotLogged", "Name the column in spec.logging.columns of the ModelDeployment, and send it.",
         "kubectl get md NAME -o jsonpath='{.spec.logging}'"),
    Step("PositiveClassNotKnown", "Name a class of the model in spec.fairness.positive.",
         "kubectl explain mm.spec.fairness.positive"),
    Step("NotEnoughRows", "Wait for more rows of each group, or lower spec.fairness.minRows.",
         "kubectl get mm NAME -o jsonpath='{.status.verdicts.fairness}'"),
    Step("NoLabelDue", "Wait: no prediction is older than spec.performance.labelDelaySeconds.",
         "kubectl get mm NAME -o jsonpath='{.spec.performance.labelDelaySeconds}'"),
    Step("NoLabels", "Look why feedback does not arrive.", "kubectl logs -l tidemill.io/monitor=NAME --tail=20"),
    Step("LabelsArrive", _LOOK, "kubectl get mm NAME -o jsonpath='{.status.performance}'"),
    Step("ClientsNotKnown", "Set spec.access of the ModelDeployment, or wait for requests with a key.",
         "kubectl get md -o jsonpath='{.items[*].spec.access}'"),
    Step("NobodySuspected", "Nothing.", "kubectl describe mm NAME"),
    Step("ClientsSuspected", "Read the evidence in the message, and talk to the client before anything else.",
         "kubectl describe mm NAME"),
    Step("NotJudged", "Train the version again with the present image.", _VERSIONS),
    Step("TypesAssumed", "Nothing, or state the type of a column in spec.columns.", "kubectl describe mm NAME"),
    Step("StatementNotApplied", "Correct the name or type of the column that the message names.",
         "kubectl get mm NAME -o jsonpath='{.spec.columns}'"),
    Step("StorageTooSmall", "Set spec.storage.size and the claim's size as the message says, or record less.",
         "kubectl get mm NAME -o jsonpath='{.spec.storage.size}'"),
    Step("WindowsTooShort", "Set spec.window.seconds as the message says.", _WINDOW),
    Step("RetentionTooSmall", "Look at the condition RetentionTooSmall: it names the field to change.",
         "kubectl describe mm NAME"),
    Step("RowsWritten", _LOOK, "kubectl get md NAME -o jsonpath='{.spec.logging.payloads}'"),
    Step("StoreFailed", "Correct the store or the Secret that spec.logging.payloads of the deployment names.",
         "kubectl describe mm NAME"),
    Step("MessagesTaken", _LOOK, "kubectl get mm NAME -o jsonpath='{.spec.notify.webhooks[*].name}'"),
    Step("NothingSent", _LOOK, "kubectl get mm NAME -o jsonpath='{.spec.notify.webhooks[*].name}'"),
    Step("MessagesNotTaken", "Correct what the message names: the receiver, the Secret, or spec.notify.webhooks.",
         "kubectl describe mm NAME"),
    Step("DisabledInNamespace", "Take the label that the message names off the Namespace when actions may run again.",
         "kubectl describe mm NAME"),
    Step("DryRun", "Read what would be requested; set spec.actions.dryRun to false to let it happen.",
         "kubectl describe mm NAME"),
    Step("NotAllowed", "Set the field that the message names, or take the action out of spec.actions.",
         "kubectl describe mm NAME"),
    Step("PipelineNotFound", "Create the pipeline, with spec.triggers.monitors, or take retrain out of spec.actions.",
         "kubectl get tp"),
    Step("NoEarlierVersion", "Roll out a better version, as there is none to return to. Or accept the finding.",
         "kubectl get mv"),
    Step("DeploymentSuspended", "Set spec.suspend of the deployment to false when rollbacks may happen again.",
         "kubectl get md"),
    Step("RetrainWaits", "Bring new data to the pipeline: its condition RetrainHeld says what it waits for.",
         "kubectl describe tp PIPELINE"),
    Step("SameFinding", "Choose a version by hand, or train again: the version before had the same trouble.",
         "kubectl get mm NAME -o jsonpath='{.status.findings}'"),
    Step("LabelsNotAuthenticated", "Set spec.access.feedback of the deployment, and send labels with such a key.",
         "kubectl explain md.spec.access.feedback"),
    Step("ObjectsApplied", _LOOK, "kubectl get servicemonitors,prometheusrules"),
    Step("KindsMissing", "Install the Prometheus operator, or remove spec.prometheus.", "kubectl get crd"),
    Step("Updating", "Wait.", _MONITOR_POD),
    Step("WaitingForTurn", "Wait: other objects are replaced first after an upgrade.", _UPGRADES),
    Step("UpdatesStopped", "Repair the object whose pods did not get ready after the upgrade.", _UPGRADES),
    Step("NotReadyInTime", "Look why the new pod is not ready.", _MONITOR_POD),
    _names("mm"),
)  # fmt: skip

_EVERY: Final = (
    Step("InvalidSpec", _SPEC, "kubectl get tidemill"),
    Step("NotOwned", "Delete or rename the object that the message names. The operator looks every 15 s, or at once "
         "when it is requested: the same for each kind.",
         'kubectl annotate md NAME --overwrite tidemill.io/reconcile-requested-at="$(date +%s)"'),
    Step("Rejected", "Correct the value in spec that the API server's message names.", "kubectl get tidemill"),
    Step("ChildTerminating", "Wait. If it stays, look for a finalizer of somebody else on the object.", _EVENTS),
    Step("ReconcileError", "Read the API server's message: quota, Pod Security, an admission policy.",
         "kubectl describe resourcequota"),
    Step("ProgressingWithRetry", "As ReconcileError: the operator tries again by itself.",
         "kubectl describe resourcequota"),
)  # fmt: skip

CONDITIONS: Final = {
    "TrainingPipeline": _PIPELINE,
    "TrainingRun": _RUN,
    "ModelImport": _IMPORT,
    "ModelVersion": _VERSION,
    "ModelDeployment": _DEPLOYMENT,
    "ModelMonitor": _MONITOR,
    "": _EVERY,
}
"""By kind; the empty one is every kind."""

_OF_POD: Final = {
    "waiting": "kubectl describe pod POD",
    "ended": "kubectl logs POD --previous --tail=50",
    "pod": "kubectl describe pod POD",
    "controller": "kubectl describe resourcequota,limitrange",
    "event": "kubectl get events --field-selector involvedObject.name=POD --sort-by=.lastTimestamp",
}
PODS: Final = tuple(Step(reason.name, reason.help, _OF_POD[reason.of]) for reason in POD_REASONS)
"""Reasons of pods, as messages of runs, deployments and monitors quote them."""

STARTS: Final = tuple(Step(reason.name, reason.help, _OF_POD["ended"]) for reason in START_REASONS)
"""Reasons of a server that does not start."""

CATEGORIES: Final[dict[FailureCategory, str]] = {
    "UserError": "kubectl get tr NAME -o jsonpath='{.status.failure.log}'",
    "DataInvalid": "kubectl get tr NAME -o jsonpath='{.status.failure.message}'",
    "OutOfMemory": "kubectl explain tp.spec.resources",
    "ImagePull": "kubectl get tr NAME -o jsonpath='{.spec.image}'",
    "Unschedulable": "kubectl describe nodes",
    "Deadline": "kubectl explain tp.spec.run",
    "Infrastructure": "kubectl get events --sort-by=.lastTimestamp",
}
"""By category of a failed run, the command to begin with."""
