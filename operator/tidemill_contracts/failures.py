"""Why a run failed, why a pod does not run, why a server does not start: one row each, with who can do what about it.

What derives: the categories of the API and of the trainer's report, the trainer's exit code, what the operator makes of
a pod that does not start, what the pipeline retries, and the tables in docs/conditions-training.md,
docs/training-code.md and docs/conditions-serving.md. tests/architecture/test_reasons.py compares them with the code.
"""

from dataclasses import dataclass
from typing import Final, Literal

FailureCategory = Literal[
    "UserError", "DataInvalid", "OutOfMemory", "ImagePull", "Unschedulable", "Deadline", "Infrastructure"
]


@dataclass(frozen=True, slots=True)
class Category:
    """Who can do something about a failed run."""

    name: FailureCategory
    means: str
    """In the description of the API's field."""
    who: str
    is_retried: bool = False
    """Whether another try of the same inputs may help: by the Job, and after it by the pipeline."""


CATEGORIES: Final = (
    Category("UserError", "training code or settings", "the author of the code"),
    Category("DataInvalid", "data", "the owner of the data"),
    Category("OutOfMemory", "resources", "whoever sets `spec.resources`"),
    Category("ImagePull", "image or pull secrets", "whoever sets the image or the pull secrets"),
    Category(
        "Unschedulable",
        "no suitable node",
        "the cluster administrator, or whoever sets resources and node selector",
    ),
    Category("Deadline", "limits of the run", "whoever sets `spec.run`"),
    Category(
        "Infrastructure",
        "cluster or storage; the pipeline retries by itself",
        "the cluster administrator. The pipeline retries after 1, 2, 4, … 60 minutes",
        is_retried=True,
    ),
)
RETRIED: Final = frozenset(category.name for category in CATEGORIES if category.is_retried)


@dataclass(frozen=True, slots=True)
class Failure:
    """A reason in the `failure` of a TrainingRun's status; a reason may have a row in two categories."""

    reason: str
    category: FailureCategory
    by: Literal["trainer", "operator"]
    """Who finds it."""
    help: str
    """What it means and what to do."""
    is_final: bool = False
    """Whether the pipeline does not retry it, although its category is retried."""
    is_final_for_job: bool = False
    """Whether the Job ends at once, although its category is retried."""


def _trainer(category: FailureCategory, **reasons: str) -> tuple[Failure, ...]:
    return tuple(Failure(reason, category, "trainer", text) for reason, text in reasons.items())


def _operator(category: FailureCategory, **reasons: str) -> tuple[Failure, ...]:
    return tuple(Failure(reason, category, "operator", text) for reason, text in reasons.items())


FAILURES: Final = (
    *_trainer(
        "UserError",
        SyntaxError="The code cannot be parsed. Correct the line in the message.",
        ImportError="The code imports what the image does not have. Use an image with it.",
        EntrypointNotFound="The module has no such function. Correct `spec.code.entrypoint`.",
        CodeFailed="The code raised an exception, or its model did. The message has its place.",
        CodeNotFound="The mounted folder has no code. Add it to the ConfigMap.",
        CodeChanged="The code changed between the decision and the start. A new run follows by itself.",
        InvalidSignature="The function's parameters cannot be filled. Use the documented ones.",
        UnknownParameter="A parameter of the spec is none of the function. Remove or rename it.",
        MissingParameter="A parameter of the function has no default and is not in the spec. Set it.",
        InvalidParameter="The value of a parameter has the wrong type. Correct it.",
        NotAnEstimator="The code returned no model of a known family. Return one.",
        NotFitted="The returned model is not fitted. Fit it.",
        ColumnsDiffer="The model takes other columns than the data has. Fit it on the given columns.",
        InvalidFeatures="The features that the code returned cannot be used. Correct `features`.",
        InvalidMetrics="The metrics are not a table of names and numbers. Correct `evaluate`.",
        UntrustedType="The model holds types that servers do not load. The message says what would help.",
        Unservable="The model cannot be stored or loaded again. The message says which part.",
        PickleRefused="An import takes no pickle, because loading one runs code. Store it with skops or as ONNX.",
        ProgramFailed="The program ended with an error. The log has its last lines.",
        NoModel="The program wrote no model into the output folder. Write one.",
        AccessDenied="The source or store refuses the credentials. Correct the Secret or its rights.",
        AddressRefused="The URI leads to an address that is not allowed. Use another one.",
        LinkRefused="A symbolic link leads out of the claim. Remove it.",
        TooManyFiles="A folder of the store holds more files than are looked at. Remove those that are not Tidemill's.",
        InvalidUri="The URI, or what it redirects to, has no meaning. Correct it.",
        StorageUnavailable="The source answers with an error that no further try changes. The message has it.",
    ),
    *_trainer(
        "DataInvalid",
        DataNotFound="There is nothing at the URI. Correct it, or put the data there.",
        NotFound="The object, bucket or file does not exist. Correct the URI, or put the data there.",
        UnknownFormat="No file ends like a supported format. Rename the files, or set `format`.",
        PartitionedFolder="The folder is partitioned by names, which would lose a column. Write it unpartitioned.",
        InvalidData="A file cannot be parsed. The message has file and place.",
        TooLarge="A file is larger than allowed, unpacked or as it is. Split it, or raise the operator's limit.",
        DigestMismatch="What an import found has another digest. Correct `spec.source.digest`, or restore the content.",
        Incomplete="A version to be imported was never fully written, or lost a file. Restore it at its source.",
        InvalidManifest="A version to be imported cannot be read, or no server could start with it: see the message.",
        DuplicateColumns="Two columns have one name. Rename one.",
        ColumnsDiffer="The files of a data set have different columns. Use the same in each.",
        EmptyData="The data has no rows or no columns.",
        ExpectationFailed="The data fails a check of `expectations`. The message has rows and columns.",
        MissingTarget="No input has the target column. Correct `spec.target` or the data.",
        AmbiguousTarget="Several inputs have the target column. Rename all but one.",
        TargetAllMissing="All values of the target are missing.",
        TargetNotFinite="The target holds infinite values. Remove these rows.",
        NoFeatures="The data has no column but the target.",
        TooFewLabels="No row that a deployment keeps has a label, or all were left out. Send labels.",
        MissingSplitColumn="The column of `spec.evaluation.split` is not in the data. Correct the name or the data.",
        InvalidSplitColumn="The column of `spec.evaluation.split` has values that do not fit. The message has them.",
        OneSided="`spec.evaluation.split` puts all rows on one side. The message says what would divide them.",
        OneClass="One side of `spec.evaluation.split` has rows of one class only. Divide otherwise, or provide more.",
        TooFewRows="There are too few rows to hold some out. Provide more.",
        InvalidUri="The URI of an input has no meaning. Correct it.",
    ),
    *_trainer(
        "OutOfMemory",
        MemoryError="The code needs more memory than there is. Raise the memory limit.",
        Killed="The kernel killed the program, most likely for its memory. Raise the memory limit.",
    ),
    *_operator("OutOfMemory", OOMKilled="The container used more memory than its limit. Raise the memory limit."),
    *_trainer(
        "Infrastructure",
        StorageFull="The volume or the store is full. Make room.",
        StorageUnavailable="The source or the store does not answer.",
        SecretNotFound="The Secret does not exist, or has none of the keys. Create it.",
        Terminated="The pod was stopped, and no reason is known.",
        InternalError="A fault of the trainer. Please report it with the log.",
    ),
    Failure(
        "InvalidConfig",
        "Infrastructure",
        "trainer",
        "The image cannot read the operator's configuration (an older image, a newer setting). Use a newer image.",
        is_final_for_job=True,
    ),
    *_operator(
        "Infrastructure",
        Evicted="The node was short of memory or disk and stopped the pod.",
        Disrupted="The pod was stopped for another one, or its node was drained or lost.",
        Killed="The container was killed (exit code 137). The node may have run out of memory.",
        Crashed="The container was killed by another signal.",
        NoPod="The Job created no pod in time and gave no reason. Is the Job controller of the cluster at work?",
        NotStarted="The pod did not start in time. The message says what it may wait for.",
        ResultLost="The Job completed, but no pod with a termination message exists any more.",
        JobFailed="The Job failed and gave no reason.",
        BackoffLimitExceeded="The Job has used up its tries, and its pods are gone.",
        PodFailurePolicy="The Job ended because of an exit code, and its pods are gone.",
    ),
    Failure(
        "JobDeleted", "Infrastructure", "operator", "Somebody deleted the Job. Request another run.", is_final=True
    ),
    Failure(
        "JobNotOwned",
        "Infrastructure",
        "operator",
        "An object of the Job's name belongs to somebody else, or the Job has lost its label. Delete or rename it.",
        is_final=True,
    ),
    *_operator(
        "UserError",
        ExitCode="The program ended with an exit code and without a report. The log has its last lines.",
        NoResult="The trainer ended with exit code 42 and without a report.",
        ResultRefused="The report of the pod is invalid (below).",
        JobRejected="The API server refused the Job. Correct the field of the spec that the message names.",
    ),
    *_operator(
        "Deadline", DeadlineExceeded="The run took longer than `spec.run.activeDeadlineSeconds`. Raise it, or do less."
    ),
)

BY_OPERATOR: Final = {failure.reason: failure for failure in FAILURES if failure.by == "operator"}
FINAL: Final = frozenset(failure.reason for failure in FAILURES if failure.is_final)
"""Reasons that the pipeline does not retry, whatever their category: a person took the Job away, or holds its name."""


@dataclass(frozen=True, slots=True)
class PodReason:
    """A reason of Kubernetes for a pod that does not run."""

    name: str
    of: Literal["waiting", "ended", "pod", "controller", "event"]
    """Where Kubernetes says it: of a container that waits or ended, of the pod, of the Job or Deployment that cannot
    make pods, or in events about the pod only."""
    help: str
    category: FailureCategory | None = None
    """Of a run whose pod does not start for this reason; None: not seen of runs, or not before a start."""
    run_reason: str = ""
    """The reason of such a run; empty: the same."""
    is_permanent: bool = False
    """Whether waiting cannot help."""
    is_refusal: bool = False
    """Whether the cluster keeps the pod from running, which says nothing of what would run in it."""


_PULL = "The image cannot be pulled. Check its name, the registry and the pull secrets."
POD_REASONS: Final = (
    PodReason("ErrImagePull", "waiting", _PULL, "ImagePull", "ImagePull", is_refusal=True),
    PodReason("ImagePullBackOff", "waiting", _PULL, "ImagePull", "ImagePull", is_refusal=True),
    PodReason(
        "RegistryUnavailable", "waiting", "The registry does not answer.", "ImagePull", "ImagePull", is_refusal=True
    ),
    PodReason(
        "ErrImageNeverPull",
        "waiting",
        "The node does not have the image and may not pull it.",
        "ImagePull",
        "ImagePull",
        is_refusal=True,
    ),
    PodReason(
        "InvalidImageName",
        "waiting",
        "The name of the image is not valid. Correct it.",
        "ImagePull",
        "ImagePull",
        is_permanent=True,
        is_refusal=True,
    ),
    PodReason(
        "CreateContainerConfigError",
        "waiting",
        "The container refers to a ConfigMap or Secret that does not exist. Create it.",
        "UserError",
        is_refusal=True,
    ),
    PodReason("CreateContainerError", "waiting", "The node cannot create the container.", "UserError", is_refusal=True),
    PodReason(
        "RunContainerError",
        "waiting",
        "The node cannot start the container, for example its command.",
        "UserError",
        is_refusal=True,
    ),
    PodReason("CrashLoopBackOff", "waiting", "The container ends repeatedly. Its last output follows."),
    PodReason("Error", "ended", "The container has just ended. Its last output follows."),
    PodReason("OOMKilled", "ended", "The container used more memory than its limit. Raise the limit."),
    PodReason("StartRefused", "ended", "The server refused to start (exit code 42) and gave no reason of its own."),
    PodReason("Evicted", "pod", "The node was short of memory or disk and stopped the pod.", "Infrastructure"),
    PodReason(
        "Unschedulable", "pod", "No node can run the pod. The message says why.", "Unschedulable", is_refusal=True
    ),
    PodReason(
        "SchedulingGated",
        "pod",
        "A scheduling gate holds the pod back. Whoever set it must remove it.",
        "Unschedulable",
        is_refusal=True,
    ),
    PodReason(
        "FailedCreate",
        "controller",
        "No pod can be created. The message names the quota, the LimitRange, the rule of Pod Security or the "
        "ServiceAccount that is in the way.",
        "Infrastructure",
        is_refusal=True,
    ),
    PodReason(
        "FailedMount",
        "event",
        "A volume cannot be mounted. Create the ConfigMap, Secret or claim that the message names.",
        "Infrastructure",
        is_refusal=True,
    ),
    PodReason(
        "FailedAttachVolume",
        "event",
        "The volume of a claim cannot be attached to the node; another node may still have it.",
        "Infrastructure",
        is_refusal=True,
    ),
    PodReason(
        "FailedCreatePodSandBox",
        "event",
        "The node cannot set up the pod, for example its network.",
        "Infrastructure",
        is_refusal=True,
    ),
)
BY_REASON: Final = {reason.name: reason for reason in POD_REASONS}
WAITING: Final = {reason.name: reason for reason in POD_REASONS if reason.of == "waiting"}
"""Why a container waits that will not start by itself soon."""
IN_EVENTS: Final = frozenset(reason.name for reason in POD_REASONS if reason.of in ("controller", "event"))
"""What is read from events, where neither pod nor container says why nothing runs."""


@dataclass(frozen=True, slots=True)
class StartReason:
    """A reason in a server's termination message, `<reason>: <sentence>`."""

    name: str
    is_retried: bool
    """Whether another start may help; False: exit code 42."""
    help: str
    is_refusal: bool = False
    """Whether it says nothing of the version, as long as another start may help."""


START_REASONS: Final = (
    StartReason(
        "ArtifactUnavailable",
        True,
        "The store does not answer, or its Secret is missing. Exit code 42 where it refuses for good: see the message.",
        is_refusal=True,
    ),
    StartReason("StartFailed", True, "A port cannot be opened."),
    StartReason("WorkersFailed", True, "Worker processes die repeatedly."),
    StartReason("InternalError", True, "A fault of the server. Please report it with the log."),
    StartReason("DigestMismatch", False, "A file differs from what the version recorded. Restore it, or train again."),
    StartReason("Incomplete", False, "Files of the version are missing. Restore them, or train again."),
    StartReason("NotFound", False, "There is no version at the URI. Restore it, or train again."),
    StartReason("InvalidManifest", False, "The manifest cannot be read. Use a newer image, or train again."),
    StartReason("FormatUnsupported", False, "The server cannot serve a form of this version. Train with another form."),
    StartReason("ModelLoadFailed", False, "The model cannot be loaded. Compare the packages of both images."),
    StartReason("WarmUpMismatch", False, "The model does not give the recorded answers. Train again with this image."),
    StartReason("ConfigInvalid", False, "The image cannot read the operator's configuration. Use a newer image."),
)
REFUSALS: Final = frozenset(
    [reason.name for reason in POD_REASONS if reason.is_refusal]
    + [reason.name for reason in START_REASONS if reason.is_refusal]
)
"""What the surroundings of a version refuse: it is not remembered as failed, and goes on when the cause is gone."""
