"""TrainingRuns, ModelVersions and ModelDeployments as the training policies see them: small, frozen, cheap to make.

Why not the pydantic types: a pipeline looks at all its runs on every event, and only a dozen of their fields count.
Every function here reads an object's raw JSON and must not fail on an object of an older or newer operator.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from tidemill.api.v1alpha1.rollback import RollbackWindow
from tidemill.core import conditions, hashing, references, rollback_marks
from tidemill.kube.cache import Cache
from tidemill.training import constants, registered, rejections
from tidemill.training.rejections import Said

Obj = dict[str, Any]

_WINDOW = RollbackWindow().versions


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One TrainingRun of a pipeline."""

    name: str
    uid: str
    created: datetime
    key: str
    trigger: Mapping[str, Any]
    spec_digest: str | None
    code: str
    image: str
    environment: Mapping[str, Any]
    data: Mapping[str, str]
    outcome: str
    """Status of the condition Succeeded; "Unknown" while the run goes on."""
    reason: str
    message: str
    unreported: bool
    """Nobody has written its status yet: it has the default conditions."""
    has_job: bool
    """Whether its Job is known."""
    version: str | None
    failure: Mapping[str, Any]
    completed: datetime | None
    champion: str | None
    trained_key: str = ""
    """The key of what it really read, where data changed between the decision and its start; else `key`."""
    blocked: str | None = None
    """Why the operator itself cannot go on with it, as where quota does not leave room for its Job."""

    @property
    def finished(self) -> bool:
        """Whether the run has ended, well or not."""
        return self.outcome != "Unknown"

    @property
    def trigger_type(self) -> str:
        """Kind of the trigger."""
        return str(self.trigger.get("type", ""))


# Parts of a run's spec that decide whether its pod can run, but not what comes out.
ENVIRONMENT = ("resources", "nodeSelector", "tolerations", "queueName", "serviceAccountName", "limits")


def run_record(obj: Obj, *, has_job: bool = False) -> RunRecord:
    """The record of a TrainingRun object."""
    meta, spec, status = obj["metadata"], obj.get("spec") or {}, obj.get("status") or {}
    succeeded = conditions.get(status.get("conditions") or (), constants.SUCCEEDED) or {}
    known = {d["name"]: d["revision"] for d in spec.get("data") or () if d.get("revision")}
    read = (status.get("result") or {}).get("data") or {}
    return RunRecord(
        name=meta["name"],
        uid=meta["uid"],
        created=conditions.parse_time(meta["creationTimestamp"]),
        key=spec.get("key", ""),
        trigger=spec.get("trigger") or {},
        spec_digest=(meta.get("annotations") or {}).get(constants.SPEC),
        code=(spec.get("code") or {}).get("digest", ""),
        image=spec.get("image", ""),
        environment={k: spec[k] for k in ENVIRONMENT if spec.get(k)},
        data={**known, **read},
        outcome=succeeded.get("status", "Unknown"),
        reason=succeeded.get("reason", ""),
        message=succeeded.get("message", ""),
        unreported=conditions.has_default_status(obj),
        has_job=has_job,
        version=status.get("version"),
        failure=status.get("failure") or {},
        completed=_time(status.get("completionTime")),
        champion=(spec.get("champion") or {}).get("version"),
        trained_key=_trained_key(obj, known, read),
        blocked=_blocked(status) if succeeded.get("status", "Unknown") == "Unknown" else None,
    )


def run_key(spec_digest: str | None, code: str, image: str, data: Mapping[str, str | None]) -> str:
    """The key of what a run trains on; `data`: revisions by input, None for those that only a run can tell."""
    return hashing.digest({"spec": spec_digest, "code": code, "image": image, "data": dict(data)})


def _trained_key(run: Obj, known: Mapping[str, str], read: Mapping[str, str]) -> str:
    """Equal to the run's key unless it read another revision than was decided on."""
    spec, names = run.get("spec") or {}, [d["name"] for d in (run.get("spec") or {}).get("data") or ()]
    if all(read.get(name, revision) == revision for name, revision in known.items()):
        return str(spec.get("key", ""))
    data = {name: read.get(name, known[name]) if name in known else None for name in names}
    spec_digest = (run["metadata"].get("annotations") or {}).get(constants.SPEC)
    return run_key(spec_digest, (spec.get("code") or {}).get("digest", ""), spec.get("image", ""), data)


def _blocked(status: Mapping[str, Any]) -> str | None:
    """Ready is False of a run that goes on only where a pass over it has failed."""
    ready = conditions.get(status.get("conditions") or (), conditions.READY) or {}
    return f"{ready.get('reason')}: {ready.get('message')}" if ready.get("status") == "False" else None


@dataclass(frozen=True, slots=True)
class VersionRecord:
    """One ModelVersion of a pipeline."""

    name: str
    uid: str
    created: datetime
    number: int
    digest: str
    uri: str
    run: str
    spec_digest: str | None
    metrics: Mapping[str, float]
    approved: bool | None
    """None: waits for a decision."""
    imported_by: tuple[str, int] | None = None
    """Name and generation of the ModelImport that registered it; None: it was trained here."""
    source_digest: str | None = None
    """Digest of what was imported."""
    rolled_back: str | None = None
    """Where and why a ModelDeployment rolled it back, as half a sentence."""
    said: Said | None = None
    """What a person has decided on it, or on another version with its content."""
    restored: bool = False
    """It was found again in the artifact store: a run of the name that it bears here has not made it."""

    def is_of(self, run: RunRecord) -> bool:
        """Whether this very run made it: a pipeline that was made again has runs of its predecessor's names."""
        return self.run == run.name and self.created >= run.created and not self.restored


def version_record(obj: Obj, origin: Obj | None = None) -> VersionRecord:
    """The record of a registered ModelVersion. Automatic approval counts at once; a decision overrides it.

    `origin`: the run or import that it names, where its own status does not say what was trained.
    """
    meta, spec, status = obj["metadata"], obj["spec"], obj.get("status") or {}
    decision, source = status.get("decision") or {}, spec.get("source") or {}
    approved: bool | None = decision.get("approved")
    if approved is None and spec.get("approval", "Automatic") == "Automatic":
        approved = True
    return VersionRecord(
        name=meta["name"],
        uid=meta["uid"],
        created=conditions.parse_time(meta["creationTimestamp"]),
        number=spec["number"],
        digest=spec["digest"],
        uri=spec["uri"],
        run=(spec.get("lineage") or {}).get("run", ""),
        spec_digest=registered.training_of(obj, origin),
        metrics=spec.get("metrics") or {},
        approved=approved,
        imported_by=(source["import"], source["generation"]) if source else None,
        source_digest=source.get("digest"),
        rolled_back=_rolled_back(obj),
        said=rejections.said(obj),
        restored=bool((status.get("registered") or {}).get("restored")),
    )


def _rolled_back(version: Obj) -> str | None:
    """The newest mark."""
    found = [(m.get("time", ""), name, m) for name, m in rollback_marks.active(version).items()]
    if not found:
        return None
    _, name, mark = max(found, key=lambda f: f[:2])
    return f"rolled back by ModelDeployment {name} ({mark.get('reason')}: {mark.get('message')})"


def version_records(
    cache: Cache, namespace: str, pipeline: str, model_import: str | None = None
) -> tuple[VersionRecord, ...]:
    """All registered versions of a pipeline of that name, by number: also those that an earlier one of it left.

    `model_import`: only those that a ModelImport of this name has brought, at the cost of these alone.
    """
    found = [o for o in _versions(cache, namespace, pipeline, model_import) if _is_registered(cache, o)]
    return tuple(sorted((in_series(cache, o) for o in found), key=lambda v: v.number))


def in_series(cache: Cache, version: Obj) -> VersionRecord:
    """The record of a version; one that nobody has decided on yet is rejected where its content is."""
    is_known = bool(((version.get("status") or {}).get("registered") or {}).get("training"))
    found = version_record(version, None if is_known else origin(cache, version))
    if (version.get("status") or {}).get("decision"):
        return found
    newest = rejections.elsewhere(cache, version)
    return found if newest is None or newest.approved else replace(found, approved=False, said=newest)


def rejected(cache: Cache, namespace: str, pipeline: str, versions: Iterable[VersionRecord]) -> Mapping[str, str]:
    """By digest, the version that a person has rejected content with, also where it is gone. `versions`: of all."""
    known = rejections.remembered(cache, namespace, pipeline)
    found = rejections.standing((v.said for v in versions if v.said is not None), known)
    return {one.digest: one.version for one in found}


def numbers_used(cache: Cache, namespace: str, pipeline: str) -> int:
    """The highest number of the pipeline that its status, or that of an import into it, knows to have been given.

    Versions may have been removed since: of one that was imported and deleted at once only its import may know.
    """
    own = cache.get("TrainingPipeline", namespace, pipeline)
    imports = cache.naming("ModelImport", namespace, pipeline, references.imported_into)
    given = [
        ((own or {}).get("status") or {}).get("versions"),
        *(number for o in imports for number in _numbers_of(o.get("status") or {})),
    ]
    return max((number or 0 for number in given), default=0)


def _numbers_of(status: Mapping[str, Any]) -> tuple[int | None, int | None]:
    """What the status of an import knows to have been given: to its last version, and in its records."""
    return status.get("number"), ((status.get("records") or {}).get("read") or {}).get("numbers")


def unregistered_versions(
    cache: Cache, namespace: str, pipeline: str, model_import: str | None = None
) -> tuple[Obj, ...]:
    """ModelVersions that say they are of the pipeline, and of the import where given, and that nothing has registered.

    Not yet, or never.
    """
    return tuple(o for o in _versions(cache, namespace, pipeline, model_import) if not _is_registered(cache, o))


def _versions(cache: Cache, namespace: str, pipeline: str, model_import: str | None) -> list[Obj]:
    # By the spec, which nobody can change: whoever may annotate a version may change its labels, too.
    if model_import is not None:
        named = cache.naming("ModelVersion", namespace, model_import, references.importing)
        own = [o for o in named if o["spec"].get("pipeline") == pipeline]
    else:
        own = cache.naming("ModelVersion", namespace, pipeline, references.pipeline)
    return [o for o in own if not o["metadata"].get("deletionTimestamp")]


def _is_registered(cache: Cache, version: Obj) -> bool:
    return registered.is_registered(version, origin(cache, version))


def origin(cache: Cache, version: Obj) -> Obj | None:
    """The run or import that the version says it is the result of, as it is now."""
    named = registered.origin_of(version)
    return cache.get(named[0], version["metadata"]["namespace"], named[1]) if named else None


@dataclass(frozen=True, slots=True)
class DeploymentRecord:
    """What one ModelDeployment uses of the namespace's versions."""

    name: str
    uid: str
    stable: str | None
    served: frozenset[str]
    """Stable and candidate."""
    needed: frozenset[str]
    """Served, previous, those that it returns to without steps, and pinned by name."""
    digests: frozenset[str]
    """Content of all but the pinned one: it is needed even where the ModelVersion was deleted."""
    pinned: tuple[str, int] | None
    """Pipeline and number, where the spec names a number."""


def deployment_record(obj: Obj) -> DeploymentRecord:
    """The record of a ModelDeployment object."""
    meta, status = obj["metadata"], obj.get("status") or {}
    spec = obj.get("spec") or {}
    model = spec.get("model") or {}
    window = ((spec.get("rollout") or {}).get("rollbackWindow") or {}).get("versions", _WINDOW)
    ways_back = (status.get("rollbackVersions") or ())[:window]
    roles = {role: status.get(role) or {} for role in ("stable", "candidate", "previous")}
    by_role = {role: used.get("version") for role, used in roles.items()}
    served = frozenset(v for role in ("stable", "candidate") if (v := by_role[role]))
    others = {v for v in (by_role["previous"], model.get("version"), *(w.get("version") for w in ways_back)) if v}
    pipeline, number = model.get("pipeline"), model.get("number")
    return DeploymentRecord(
        name=meta["name"],
        uid=meta.get("uid", ""),
        stable=by_role["stable"],
        served=served,
        needed=served | others,
        digests=frozenset(d for used in (*roles.values(), *ways_back) if (d := used.get("digest"))),
        pinned=(pipeline, number) if pipeline and number else None,
    )


def _time(text: str | None) -> datetime | None:
    return conditions.parse_time(text) if text else None
