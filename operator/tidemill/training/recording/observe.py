"""Raw objects → what the policy of records knows of them. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tidemill.core.conditions import parse_time
from tidemill.core.podfailure import PodFailure
from tidemill.training import constants, job_status
from tidemill.training.recording.snapshot import RecordsJob

Obj = dict[str, Any]


def records_mode(job: Obj) -> str | None:
    """What a Job does with records, read or write; None for other Jobs."""
    return (job["metadata"].get("labels") or {}).get(constants.RECORDS)


def is_restored(version: Obj) -> bool:
    """Whether a ModelVersion was made of a record in the artifact store."""
    return bool((version["metadata"].get("annotations") or {}).get(constants.RECORD))


def records_job(job: Obj, pods: Sequence[Obj], log: str, event: PodFailure | None = None) -> RecordsJob:
    """A Job that reads or writes records, with its pods and the log of the one that has read."""
    meta, newest = job["metadata"], job_status.newest(pods)
    digest, _, count = (meta.get("annotations") or {}).get(constants.RECORDS, "").partition(" ")
    return RecordsJob(
        name=meta["name"],
        uid=meta["uid"],
        created=parse_time(meta["creationTimestamp"]),
        mode=records_mode(job) or "",
        digest=digest,
        versions=int(count) if count.isdecimal() else None,
        finished=job_status.job_outcome(job) is not None,
        message=(job_status.termination_message(newest) if newest else None) or job_status.job_message(job),
        log=log,
        problem=job_status.start_problem(job, pods, event),
        is_silent=job_status.silent(job, pods) is not None,
    )
