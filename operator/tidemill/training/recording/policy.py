"""Records of versions in the artifact store: when they are written, and when an empty namespace looks for them.

The store is read once in the life of a pipeline, or of an import without one, before anything is registered: a first
version would get a number that was used, and one that was rolled back could come back as the first. It is written
whenever a version is registered, decided on, rolled back or removed. Both are done by short Jobs, one at a time; a
result goes into status first, and the Job is deleted in a later pass.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from pydantic import ValidationError

from tidemill.api.v1alpha1.rejected_content import RejectedContent
from tidemill.api.v1alpha1.store_records import Records, RecordsRead, RecordsWritten
from tidemill.core import hashing
from tidemill.core.conditions import parse_time
from tidemill.core.podfailure import LOOK_SECONDS
from tidemill.core.text import clean
from tidemill.training import constants, registered, store_records
from tidemill.training.recording import found_records
from tidemill.training.recording.snapshot import RecordsJob, RecordsSnapshot
from tidemill.training.store_records import StoreRecord
from tidemill_contracts.counts import counted
from tidemill_contracts.digests import LABEL_DIGITS, first_digits
from tidemill_contracts.records import (
    CLAIM,
    IMPORTED,
    LINE,
    MOST_EXAMPLES,
    MOST_RECORDS,
    TEXT_LIMIT,
    RecordsResult,
    StoredRecord,
)

Obj = dict[str, Any]

DEADLINE_SECONDS = 300
"""The longest that such a Job may run (activeDeadlineSeconds)."""
READ_AGAIN = timedelta(minutes=1)
WRITE_AGAIN = timedelta(minutes=10)
GRACE = timedelta(seconds=30)
"""Before a version that somebody deleted is struck off: who deletes all objects of a namespace means to rebuild it."""
PACE = timedelta(seconds=5)
"""Between two Jobs that write: a version that is registered and rolled back at once is recorded once."""
WRITTEN_LIMIT = 700_000
"""Characters of all records that one Job writes: its configuration must fit into a ConfigMap."""
ERROR_LIMIT = 1024
_WINDOW_SECONDS = 30
_RECORDED = ("registered", "decision", "takenBack", "lifted")


@dataclass(frozen=True, slots=True)
class Hold:
    """Why nothing is registered yet."""

    message: str
    reason: str = constants.RUN_PENDING
    """What Ready says meanwhile."""


@dataclass(frozen=True, slots=True)
class RecordActions:
    """What to do about records now."""

    status: Records | None
    """What the pipeline's status says of them now."""
    start: Literal["read", "write"] | None = None
    number: int = 0
    """Sets the Jobs of one mode apart."""
    restore: tuple[StoreRecord, ...] = ()
    """Versions that are registered again."""
    rejected: tuple[RejectedContent, ...] = ()
    """Content that people had rejected, as the store says."""
    done: tuple[RecordsJob, ...] = ()
    """Jobs whose result is in status."""
    hold: Hold | None = None
    """Why no run may start yet."""
    next: datetime | None = None
    """When to look again."""


def record_actions(snapshot: RecordsSnapshot) -> RecordActions:
    """Whether records are to be read or written now, and what came of it."""
    before = snapshot.known
    if not snapshot.config.record_keys or not snapshot.records.usable:
        return RecordActions(before, done=snapshot.records.jobs)
    known = before or Records()
    mode = "read" if snapshot.is_read_wanted else "write"
    done = tuple(job for job in snapshot.records.jobs if _is_in_status(job, known))
    running = next((job for job in snapshot.records.jobs if job not in done and job.mode == mode), None)
    if snapshot.is_read_wanted:
        return _reading(snapshot, known, running, done)
    if snapshot.records.unsettled:
        found = ", ".join(snapshot.records.unsettled)
        text = f"versions found in the artifact store are registered: {found}"
        return RecordActions(before, done=done, hold=Hold(text))
    return _writing(snapshot, known, running, done)


def digest_of(
    versions: Iterable[Obj], numbers: int = 0, listed: int | None = None, rejected: Sequence[RejectedContent] = ()
) -> str | None:
    """Digest of what is to be recorded of these ModelVersions; None while there is nothing to be said.

    `numbers`: the highest number given; `listed`: how many versions the store names, also where there is none any more;
    `rejected`: content that people have rejected.
    """
    said = [
        [version["metadata"]["name"], *(version["status"].get(field) for field in _RECORDED)] for version in versions
    ]
    if not said and not listed:
        return None
    contents = [one.to_json() for one in rejected]
    return hashing.digest([numbers, *([contents] if contents else []), *sorted(said, key=lambda one: str(one[0]))])


def is_recordable(version: Obj, folder: str, import_name: str | None = None) -> bool:
    """Whether a record of the version belongs into a folder: registered, and stored below it or imported.

    The content of an imported one lies in the store of its import, which only the import has the credentials for.
    Into that of an import (`import_name`) belong records of its own versions.
    """
    recorded, spec = (version.get("status") or {}).get("registered"), version["spec"]
    source = spec.get("source") or {}
    if import_name is not None:
        return bool(recorded) and source.get("import") == import_name
    return bool(recorded) and (bool(source) or str(spec.get("uri", "")).startswith(f"{folder}/"))


def _place(snapshot: RecordsSnapshot, spec: Mapping[str, Any]) -> str:
    """URI of the folder that the record of a version lies in: a number has one content, and a record of its own."""
    if not spec.get("source"):
        return str(spec["uri"])
    return f"{snapshot.folder}/{IMPORTED}/{spec['number']}-{first_digits(spec['digest'], LABEL_DIGITS)}"


def _folders(snapshot: RecordsSnapshot) -> tuple[str, ...]:
    """Where the records of the versions that exist lie, newest first; no Job reads more by name."""
    newest = sorted(snapshot.records.versions, key=lambda v: -int(v["spec"]["number"]))[:MOST_RECORDS]
    return tuple(_place(snapshot, v["spec"]).removeprefix(f"{snapshot.folder}/") for v in newest)


def series(snapshot: RecordsSnapshot) -> str:
    """The record of which versions there are, to be written behind those of the versions."""
    contents = (registered.content_digest(version["spec"]) for version in snapshot.records.versions)
    said = store_records.Series(
        namespace=snapshot.namespace,
        kind=snapshot.object["kind"],
        name=snapshot.name,
        time=snapshot.now,
        numbers=snapshot.numbers_used,
        versions=tuple(sorted(content for content in contents if content is not None)),
        folders=_folders(snapshot),
        rejected=snapshot.rejected,
    )
    return store_records.series_text(said, snapshot.config.record_keys[0])


def written(snapshot: RecordsSnapshot) -> tuple[StoredRecord, ...]:
    """The records to be written, newest version first, as many as one Job can take."""
    key, left = snapshot.config.record_keys[0], WRITTEN_LIMIT
    found: list[StoredRecord] = []
    for version in sorted(snapshot.records.versions, key=lambda v: -int(v["spec"]["number"])):
        said = store_records.statement(version)
        if said is None:
            continue
        text = store_records.text(said, version["spec"], key)
        left -= len(text)
        if left < 0 or len(found) == MOST_RECORDS:
            break
        if len(text) <= TEXT_LIMIT:
            found.append(StoredRecord(uri=_place(snapshot, version["spec"]), text=text))
    return tuple(found)


def _is_in_status(job: RecordsJob, known: Records) -> bool:
    part = known.read if job.mode == "read" else known.written
    return part is not None and job.created <= part.time


def _reading(
    snapshot: RecordsSnapshot, known: Records, job: RecordsJob | None, done: tuple[RecordsJob, ...]
) -> RecordActions:
    searched, shown = "the artifact store is searched for records of earlier versions", _shown(known)
    if not snapshot.records.store_exists:
        return RecordActions(_read(known, RecordsRead(time=snapshot.now)), done=done)
    if job is not None and job.finished:
        found = _result(job)
        lines, claims = found_records.lines_of(job, LINE), found_records.lines_of(job, CLAIM)
        store = found_records.believed(snapshot, lines, claims)
        error = found if isinstance(found, str) else found.error
        if not isinstance(found, str):
            error = (
                error or _incomplete(found, len(lines) + len(claims)) or found_records.crowded(snapshot, found, store)
            )
        if error is None and not isinstance(found, str):
            known_here = {v.name for v in snapshot.versions}
            believed = tuple(record for record in store.records if record.statement.version not in known_here)
            read = RecordsRead(
                time=snapshot.now,
                restored=len(believed),
                refused=store.refused + found.unreadable,
                unreadable=[clean(path)[:200] for path in found.examples[:MOST_EXAMPLES]] or None,
                numbers=store.numbers,
                unlisted=(len(believed) or None) if not store.is_listed else None,
                more=found.more or None,
            )
            more = Hold("versions found in the artifact store are registered") if believed else None
            return RecordActions(_read(known, read), restore=believed, rejected=store.rejected, done=done, hold=more)
        read = RecordsRead(time=snapshot.now, error=clean(error or "")[:ERROR_LIMIT])
        return RecordActions(
            _read(known, read), done=done, hold=_unread(snapshot, read), next=snapshot.now + READ_AGAIN
        )
    if job is not None:
        hold = Hold(searched)
        if job.problem is not None:
            text = f"{searched}, and the pod for that cannot start: {job.problem}"
            hold = Hold(text, constants.RUN_CANNOT_START)
        return RecordActions(shown, done=done, hold=hold, next=_patience(snapshot, job))
    if known.read is not None and snapshot.now < known.read.time + READ_AGAIN:
        return RecordActions(known, done=done, hold=_unread(snapshot, known.read), next=known.read.time + READ_AGAIN)
    number = int(known.read.time.timestamp()) if known.read else 0
    return RecordActions(shown, start="read", number=number, done=done, hold=Hold(searched))


def _writing(
    snapshot: RecordsSnapshot, known: Records, job: RecordsJob | None, done: tuple[RecordsJob, ...]
) -> RecordActions:
    status = _shown(known)
    last, wanted = known.written, snapshot.records.wanted
    if job is not None and job.finished:
        found = _result(job)
        error = found if isinstance(found, str) else found.error
        digest = (last.digest if last else None) if error else job.digest
        versions = (last.versions if last else None) if error else job.versions
        now = RecordsWritten(
            time=snapshot.now, digest=digest, versions=versions, error=clean(error)[:ERROR_LIMIT] if error else None
        )
        return RecordActions(known.model_copy(update={"written": now, "missing_since": None}), done=done)
    if job is not None:
        return RecordActions(status, done=done, next=_patience(snapshot, job))
    known = known.model_copy(update={"missing_since": _missing_since(snapshot, known)})
    status = _shown(known)
    if wanted is None or (last is not None and last.digest == wanted):
        return RecordActions(status, done=done)
    due = _due(snapshot, known)
    if snapshot.now < due:
        return RecordActions(status, done=done, next=due)
    number = int(last.time.timestamp()) if last else 0
    return RecordActions(status, start="write", number=number, done=done)


def _missing_since(snapshot: RecordsSnapshot, known: Records) -> datetime | None:
    """Since when there are fewer versions than the store names; those that retention removes are not counted before."""
    listed = known.written.versions if known.written else None
    if listed is None or snapshot.records.count >= listed:
        return None
    return known.missing_since or snapshot.now


def _due(snapshot: RecordsSnapshot, known: Records) -> datetime:
    """When the records may be written."""
    last = known.written
    if last is None:
        return _first_write(snapshot)
    due = last.time + (WRITE_AGAIN if last.error else PACE)
    if last.versions is None and last.error is None:  # of a release that did not record that, as all pipelines have it
        due = max(due, _first_write(snapshot))
    return max(due, known.missing_since + GRACE) if known.missing_since else due


def _first_write(snapshot: RecordsSnapshot) -> datetime:
    """When a pipeline is recorded for the first time: at once where a version is new.

    Otherwise an operator that records has just been installed, and all pipelines want a Job: they get ten minutes.
    """
    facts = [version["status"]["registered"] for version in snapshot.records.versions]
    newest = max((parse_time(f.get("restored") or f["time"]) for f in facts), default=snapshot.now)
    spread, uid = int(WRITE_AGAIN.total_seconds()), snapshot.object["metadata"]["uid"]
    late = (int(snapshot.now.timestamp()) - int(hashing.short(uid.encode(), 8), 16)) % spread
    if newest > snapshot.now - WRITE_AGAIN or late < _WINDOW_SECONDS:
        return snapshot.now
    return snapshot.now + timedelta(seconds=spread - late)


def _shown(known: Records) -> Records | None:
    return known if known.read or known.written else None


def _patience(snapshot: RecordsSnapshot, job: RecordsJob) -> datetime:
    """When to look again at a Job that has not ended."""
    late = job.created + timedelta(seconds=DEADLINE_SECONDS + 60)
    return min(late, snapshot.now + timedelta(seconds=LOOK_SECONDS)) if job.is_silent else late


def _read(known: Records, read: RecordsRead) -> Records:
    return known.model_copy(update={"read": read})


def _unread(snapshot: RecordsSnapshot, read: RecordsRead) -> Hold:
    text = "the artifact store could not be searched for records of earlier versions, which is tried again every minute"
    return Hold(f"{text}: {read.error}{snapshot.advice}")


def _result(job: RecordsJob) -> RecordsResult | str:
    """What the pod left behind, or a sentence on why there is nothing."""
    try:
        return RecordsResult.from_json(job.message or "")
    except ValidationError:
        return f"Job {job.name} left no result: {(job.message or 'no termination message')[:300]}"


def _incomplete(found: RecordsResult, lines: int) -> str | None:
    """Why the log cannot be taken for all that the pod has read: it was rotated away, or the node is gone."""
    if lines >= found.read:
        return None
    return f"the log of its Job holds {lines} of {counted(found.read, 'record')}"
