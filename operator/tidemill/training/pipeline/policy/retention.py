"""What is kept and what is removed: versions, their content in the store, and runs beyond spec.history."""

from __future__ import annotations

from tidemill.training.pipeline.policy import champion as champions
from tidemill.training.pipeline.policy import recording
from tidemill.training.pipeline.policy.history import History
from tidemill.training.pipeline.snapshot import PipelineSnapshot
from tidemill.training.records import RunRecord, VersionRecord


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
    found = champions.champion(snapshot, history)
    needed |= {found.name} if found else set()
    needed |= {v.name for v in snapshot.versions[-1:]}
    if history.active and history.active.champion:
        needed.add(history.active.champion)
    return frozenset(needed)


def surplus_versions(snapshot: PipelineSnapshot, history: History) -> tuple[VersionRecord, ...]:
    """Versions beyond spec.history.versions, oldest first, without those that are needed.

    One that was rejected goes when the status remembers that: a rejection counts for its content from then on.
    """
    limit = snapshot.pipeline.spec.history.versions
    needed = needed_versions(snapshot, history)
    over = len(snapshot.versions) - limit
    remembered = {one.digest for one in snapshot.pipeline.status.rejected}
    unknown = {one.digest for one in recording.rejected(snapshot)} - remembered
    removable = [v for v in snapshot.versions if v.name not in needed and v.digest not in unknown]
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
