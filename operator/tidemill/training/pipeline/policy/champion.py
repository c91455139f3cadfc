"""Which version is in force: the champion that candidates are compared with."""

from __future__ import annotations

from tidemill.training.pipeline.policy.history import History
from tidemill.training.pipeline.snapshot import PipelineSnapshot
from tidemill.training.records import VersionRecord


def champion(snapshot: PipelineSnapshot, history: History) -> VersionRecord | None:
    """The newest approved version that no deployment rolled back; where all were, the newest of them.

    That of a run that has not reported its end yet does not count.
    """
    active = history.active
    approved = [v for v in snapshot.versions if v.approved and not (active and v.is_of(active))]
    good = [v for v in approved if v.rolled_back is None]
    found = good or approved
    return found[-1] if found else None


def rolled_back(snapshot: PipelineSnapshot, champion: VersionRecord) -> VersionRecord | None:
    """The newest approved version that was rolled back, above the champion; the champion where all were."""
    newer = [v for v in snapshot.versions if v.approved and v.rolled_back and v.number >= champion.number]
    return newer[-1] if newer else None


def undecided(snapshot: PipelineSnapshot) -> VersionRecord | None:
    """The newest version, when it waits for a person."""
    newest = snapshot.versions[-1] if snapshot.versions else None
    return newest if newest and newest.approved is None else None
