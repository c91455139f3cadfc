"""Which version is in force, and which versions must be kept."""

from __future__ import annotations

from tidemill.training.pipeline.policy.history import History
from tidemill.training.pipeline.snapshot import PipelineSnapshot
from tidemill.training.records import RunRecord, VersionRecord


def champion(snapshot: PipelineSnapshot, history: History) -> VersionRecord | None:
    """The newest approved version that no deployment took back; where all were, the newest of them.

    That of a run that has not reported its end yet does not count.
    """
    active = history.active
    approved = [v for v in snapshot.versions if v.approved and not (active and _is_of(v, active))]
    good = [v for v in approved if v.taken_back is None]
    found = good or approved
    return found[-1] if found else None


def taken_back(snapshot: PipelineSnapshot, champion: VersionRecord) -> VersionRecord | None:
    """The newest approved version that was taken back, above the champion; the champion where all were."""
    newer = [v for v in snapshot.versions if v.approved and v.taken_back and v.number >= champion.number]
    return newer[-1] if newer else None


def _is_of(version: VersionRecord, run: RunRecord) -> bool:
    """Whether this very run made the version: a pipeline that was made again has runs of its predecessor's names."""
    return version.run == run.name and version.created >= run.created


def undecided(snapshot: PipelineSnapshot) -> VersionRecord | None:
    """The newest version, when it waits for a person."""
    newest = snapshot.versions[-1] if snapshot.versions else None
    return newest if newest and newest.approved is None else None


def needed_versions(snapshot: PipelineSnapshot, history: History) -> frozenset[str]:
    """Names of versions that retention must not touch.

    Champion, newest, served or rolled back to or pinned by a ModelDeployment, or compared with by a run that goes on.
    Versions that nobody decided on are not among them, but for the newest: they would pile up.
    """
    needed: set[str] = set()
    for deployment in snapshot.deployments:
        needed |= deployment.needed
        if deployment.pinned and deployment.pinned[0] == snapshot.name:
            needed |= {v.name for v in snapshot.versions if v.number == deployment.pinned[1]}
    found = champion(snapshot, history)
    needed |= {found.name} if found else set()
    needed |= {v.name for v in snapshot.versions[-1:]}
    if history.active and history.active.champion:
        needed.add(history.active.champion)
    return frozenset(needed)


def surplus_versions(snapshot: PipelineSnapshot, history: History) -> tuple[VersionRecord, ...]:
    """Versions beyond spec.history.versions, oldest first, without those that are needed."""
    limit = snapshot.pipeline.spec.history.versions
    needed = needed_versions(snapshot, history)
    over = len(snapshot.versions) - limit
    removable = [v for v in snapshot.versions if v.name not in needed]
    return tuple(removable[: max(over, 0)])


def kept_digests(snapshot: PipelineSnapshot, history: History) -> tuple[str, ...]:
    """Content that the next run must leave in the store, sorted: versions that stay, and all that is deployed.

    A deployed model is kept by its digest, because somebody may have deleted its ModelVersion. Digests of other
    pipelines do no harm: a run removes only what lies in its own pipeline's folder.
    """
    surplus = {v.name for v in surplus_versions(snapshot, history)}
    kept = {v.digest for v in snapshot.versions if v.name not in surplus}
    return tuple(sorted(kept.union(*(d.digests for d in snapshot.deployments))))


def surplus_runs(snapshot: PipelineSnapshot, history: History) -> tuple[RunRecord, ...]:
    """Finished runs beyond spec.history.runs, oldest first; never the newest run."""
    finished = [r for r in snapshot.runs if r.finished]
    over = len(finished) - snapshot.pipeline.spec.history.runs
    newest = history.newest.name if history.newest else None
    return tuple(r for r in finished if r.name != newest)[: max(over, 0)]
