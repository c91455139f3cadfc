"""Every condition type, reason and annotation of the training slice: part of the public API.

docs/conditions-training.md lists them with their meaning; a test holds the two against each other. No logic here.
"""

from __future__ import annotations

from typing import Final

from tidemill.api.base import GROUP

# Annotations of people on a ModelVersion; the value is the digest that is decided on.
APPROVE: Final = f"{GROUP}/approve"
REJECT: Final = f"{GROUP}/reject"
DECISION_COMMENT: Final = f"{GROUP}/decision-comment"

# Annotation of the operator on its TrainingRuns and ModelVersions: digest of the parts of the pipeline's spec that
# decide the outcome. Says whether the spec in force has been trained.
SPEC: Final = f"{GROUP}/spec"
SCHEDULED: Final = "batch.kubernetes.io/cronjob-scheduled-timestamp"
PROBE: Final = f"{GROUP}/probe"
"""Label of probe Jobs."""
RECORDS: Final = f"{GROUP}/records"
"""Label of Jobs that read or write records of versions in the artifact store; the value says which."""
RECORD: Final = f"{GROUP}/record"
"""Annotation of the operator on a ModelVersion that it found again in the artifact store: its signed record."""
KUEUE_QUEUE: Final = "kueue.x-k8s.io/queue-name"
JOB_NAME: Final = "batch.kubernetes.io/job-name"

# Condition types beside Ready, Reconciling and Stalled.
SUCCEEDED: Final = "Succeeded"
APPROVED: Final = "Approved"
TRIGGERS_SLOWED: Final = "TriggersSlowed"
SOURCES_READABLE: Final = "SourcesReadable"
APPROVAL_PENDING: Final = "ApprovalPending"
TAKEN_BACK: Final = "TakenBack"
VERSIONS_RECORDED: Final = "VersionsRecorded"
RETRAIN_HELD: Final = "RetrainHeld"

# TrainingPipeline
TRAINED: Final = "Trained"
RUN_PENDING: Final = "RunPending"
RUN_IN_PROGRESS: Final = "RunInProgress"
RUN_CANNOT_START: Final = "RunCannotStart"
RUN_FAILED: Final = "RunFailed"
RUN_REJECTED: Final = "RunRejected"
RUN_DELETED: Final = "RunDeleted"
AWAITING_APPROVAL: Final = "AwaitingApproval"
VERSION_REJECTED: Final = "VersionRejected"
SUSPENDED: Final = "Suspended"
CODE_NOT_FOUND: Final = "CodeNotFound"
DATA_NOT_FOUND: Final = "DataNotFound"
TOO_FEW_LABELS: Final = "TooFewLabels"
INVALID_ENTRYPOINT: Final = "InvalidEntrypoint"
INVALID_SCHEDULE: Final = "InvalidSchedule"
INVALID_DATA: Final = "InvalidData"
INVALID_ARTIFACTS: Final = "InvalidArtifacts"
SPEC_TOO_LARGE: Final = "SpecTooLarge"
REPEATED_FAILURES: Final = "RepeatedFailures"
PROBE_FAILED: Final = "ProbeFailed"
PROBED: Final = "Probed"
DATA_UNCHANGED: Final = "DataUnchanged"
MISSED_SCHEDULE: Final = "MissedSchedule"
RECORDS_NOT_READ: Final = "RecordsNotRead"
RECORDS_NOT_WRITTEN: Final = "RecordsNotWritten"
RECORDS_REFUSED: Final = "RecordsRefused"
VERSIONS_NOT_LISTED: Final = "VersionsNotListed"

# TrainingRun
PENDING: Final = "Pending"
QUEUED: Final = "Queued"
RUNNING: Final = "Running"
CANNOT_START: Final = "CannotStart"
RUN_SUCCEEDED: Final = "Succeeded"
UNCHANGED: Final = "Unchanged"
REJECTED: Final = "Rejected"
FAILED: Final = "Failed"

# ModelImport
IMPORTED: Final = "Imported"
IMPORTING: Final = "Importing"
IMPORT_FAILED: Final = "ImportFailed"
INVALID_SOURCE: Final = "InvalidSource"
NAME_TAKEN: Final = "NameTaken"

# ModelVersion
GATES_PASSED: Final = "GatesPassed"
NOT_JUDGED: Final = "NotJudged"
APPROVED_EARLIER: Final = "ApprovedEarlier"
NOT_REGISTERED: Final = "NotRegistered"
APPROVED_BY_HAND: Final = "ApprovedByHand"
REJECTED_BY_HAND: Final = "RejectedByHand"
DIGEST_MISMATCH: Final = "DigestMismatch"
REGISTERED: Final = "Registered"
