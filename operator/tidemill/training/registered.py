"""Does a ModelVersion count? Only what the operator has written says so, never the object itself.

Whoever may create a ModelVersion may write any spec, label, annotation and owner; the API server lets nobody but the
operator write status. So a version counts by its own `status.registered`, or by the status of the run (or import) whose
result it is: that names the version and the digest of its whole spec. A version of a release before `status.registered`
existed counts when that release has written its status and it bears the marks that release gave to its own, or a
person's decision (docs/decisions/0207).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import ValidationError

from tidemill.api.base import PENDING
from tidemill.api.v1alpha1.model_version import ModelVersionSpec
from tidemill.core import conditions, hashing, labels
from tidemill.training import constants

Obj = dict[str, Any]

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
BY_ANNOTATION = "annotation "
"""How `decision.by` begins where a person decided."""


def content_digest(spec: Mapping[str, Any]) -> str | None:
    """Digest of what the spec of a ModelVersion says, however it is spelt; None where it cannot be read.

    Defaults are left out, so that a release with one field more comes to the same digest.
    """
    try:
        parsed = ModelVersionSpec.model_validate(spec, extra="ignore")
    except ValidationError:
        return None
    return hashing.digest(parsed.model_dump(mode="json", by_alias=True, exclude_defaults=True, exclude_none=True))


def is_registered(version: Obj, origin: Obj | None) -> bool:
    """Whether the version counts. `origin`: the run or import that its spec names, as it is now."""
    return is_recorded(version) or is_result_of(version, origin) or is_of_earlier_release(version)


def is_recorded(version: Obj) -> bool:
    """Whether its own status says that this very content was registered."""
    recorded = (version.get("status") or {}).get("registered") or {}
    return bool(recorded) and recorded.get("digest") == (version.get("spec") or {}).get("digest")


def is_result_of(version: Obj, origin: Obj | None) -> bool:
    """Whether the status of a run or import names this version with this content (`version`, `versionContent`)."""
    status = (origin or {}).get("status") or {}
    content = status.get("versionContent")
    if not content or status.get("version") != version["metadata"]["name"]:
        return False
    return bool(content == content_digest(version.get("spec") or {}))


def is_of_earlier_release(version: Obj) -> bool:
    """Whether a release before `status.registered` has registered or decided on it.

    Such a release has written the condition Approved with a reason of its own, which this one does with
    `status.registered` only; so an object that is made today can never come here. What a person made by hand and no
    person decided on does not count any more.
    """
    status = version.get("status") or {}
    approved = conditions.get(status.get("conditions") or (), constants.APPROVED) or {}
    if status.get("registered") or approved.get("reason", PENDING) in (PENDING, constants.NOT_REGISTERED):
        return False
    return _has_own_marks(version) or str((status.get("decision") or {}).get("by", "")).startswith(BY_ANNOTATION)


def _has_own_marks(version: Obj) -> bool:
    meta, lineage = version["metadata"], (version.get("spec") or {}).get("lineage") or {}
    managed = (meta.get("labels") or {}).get(labels.MANAGED_BY) == labels.MANAGED_BY_VALUE
    return bool(managed and (meta.get("annotations") or {}).get(labels.APPLIED) and lineage.get("run"))


def training_of(version: Obj, origin: Obj | None) -> str | None:
    """Digest of the part of the pipeline's spec that the version was trained from, None where it was not.

    By the version's own status. A release before it had the field wrote the annotation alone, which people may have
    changed since: that of the run counts first, which they cannot.
    """
    spec, recorded = version.get("spec") or {}, (version.get("status") or {}).get("registered") or {}
    if recorded.get("training") or spec.get("source"):
        return recorded.get("training") or None
    is_run = (origin or {}).get("kind") == "TrainingRun" and ((origin or {}).get("status") or {}).get(
        "version"
    ) == version["metadata"]["name"]
    for obj in ([origin] if is_run else []) + [version]:
        found = ((obj or {}).get("metadata") or {}).get("annotations") or {}
        value = str(found.get(constants.SPEC) or "")
        if _DIGEST.fullmatch(value):
            return value
    return None


def origin_of(version: Obj) -> tuple[str, str] | None:
    """Kind and name of the object that the version says it is the result of: its ModelImport or TrainingRun."""
    imported = ((version.get("spec") or {}).get("source") or {}).get("import")
    if imported:
        return "ModelImport", str(imported)
    run = run_of(version)
    return ("TrainingRun", run) if run else None


def run_of(version: Obj) -> str | None:
    """Name of the run that the version says it is the result of."""
    found = ((version.get("spec") or {}).get("lineage") or {}).get("run")
    return str(found) if found else None


def gates_of(origin: Obj | None, version: Obj) -> Literal["Passed", "NotJudged", "Unknown"]:
    """What the gates of its run say of a version: Passed, NotJudged, or Unknown where the run is gone or another.

    There are none for an import.
    """
    if (origin or {}).get("kind") == "ModelImport":
        return "NotJudged"
    status = (origin or {}).get("status") or {}
    named = status.get("version") == version["metadata"]["name"]
    if not named or (status.get("result") or {}).get("digest") != (version.get("spec") or {}).get("digest"):
        return "Unknown"
    return "Passed" if status.get("gates") else "NotJudged"
