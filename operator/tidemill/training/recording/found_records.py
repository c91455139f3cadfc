"""What a search of the artifact store has found: which records count, and what else they say. Pure.

Whoever may write to the store can put anything there. So a record counts by its signature, of one that is not believed
its number alone, and where there are more than one pod reads, only with the record of all versions, which says where
those that count lie.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tidemill.api.v1alpha1.rejected_content import RejectedContent
from tidemill.training import rejections, store_records
from tidemill.training.recording.snapshot import RecordsJob, RecordsSnapshot
from tidemill.training.rejections import Said
from tidemill.training.store_records import StoreRecord
from tidemill_contracts.counts import counted
from tidemill_contracts.records import MOST_RECORDS, RecordsResult

MOST_LINES = 2 * MOST_RECORDS
"""Records that one pod shows: those that the record of all versions names, and as many others."""


@dataclass(frozen=True, slots=True)
class Store:
    """What the store says of the versions of this pipeline or import."""

    records: tuple[StoreRecord, ...]
    """Signed by the operator and to be restored, by number."""
    refused: int
    """Lines that were not believed."""
    numbers: int
    """The highest number that was given, or is claimed by any line."""
    rejected: tuple[RejectedContent, ...]
    """Content that people had rejected, also of versions that are not restored."""
    is_listed: bool
    """A record that the operator has signed says which versions exist."""
    is_named: bool
    """It also says where their records lie: these were read first."""


def believed(snapshot: RecordsSnapshot, lines: Sequence[str], claims: Sequence[str] = ()) -> Store:
    """`claims`: records beside no complete version, which reserve their numbers."""
    keys, there = snapshot.config.record_keys, None
    by_number: dict[int, StoreRecord] = {}
    said: list[Said] = []
    refused, left = 0, MOST_LINES
    claimed = (store_records.claimed_number(c, snapshot.namespace, snapshot.pipeline) for c in claims[:MOST_LINES])
    numbers = max(claimed, default=0)
    for line in lines[: MOST_LINES + 1]:
        record, all_of_them = store_records.read(line, keys), store_records.read_series(line, keys)
        if all_of_them is not None and _is_of(snapshot, all_of_them):
            there = all_of_them if there is None or there.time < all_of_them.time else there
            continue
        left -= 1
        if left < 0:  # only with the record of all versions there may be one line more
            break
        numbers = max(numbers, store_records.claimed_number(line, snapshot.namespace, snapshot.pipeline))
        if record is None or not _is_own(snapshot, record):
            refused += 1
            continue
        numbers = max(numbers, record.spec.number)
        said += _said(record)
        other = by_number.get(record.spec.number)
        if other is None or other.statement.registered.time < record.statement.registered.time:
            by_number[record.spec.number] = record
    found = [by_number[number] for number in sorted(by_number)]
    if there is not None:
        found, numbers = [record for record in found if there.names(record.statement)], max(numbers, there.numbers)
    rejected = rejections.standing(said, there.rejected if there is not None else ())
    is_named = there is not None and (bool(there.folders) or not there.versions)
    return Store(tuple(found), refused, numbers, rejected, is_listed=there is not None, is_named=is_named)


def _said(record: StoreRecord) -> list[Said]:
    """What a person had decided on the content of a version."""
    decision = record.statement.decision
    found = rejections.said_by(record.statement.version, record.spec.digest, decision.to_json()) if decision else None
    return [found] if found is not None else []


def _is_of(snapshot: RecordsSnapshot, all_of_them: store_records.Series) -> bool:
    said = (all_of_them.namespace, all_of_them.kind, all_of_them.name)
    return said == (snapshot.namespace, snapshot.object["kind"], snapshot.name)


def _is_own(snapshot: RecordsSnapshot, record: StoreRecord) -> bool:
    said, spec = record.statement, record.spec
    if snapshot.import_name is not None:
        is_here = spec.source is not None and spec.source.import_ == snapshot.import_name
    else:
        is_here = spec.source is not None or spec.uri.startswith(f"{snapshot.folder}/")
    expected = (snapshot.namespace, snapshot.version_name(spec.number), snapshot.pipeline)
    return is_here and (said.namespace, said.version, spec.pipeline) == expected


def crowded(snapshot: RecordsSnapshot, found: RecordsResult, store: Store) -> str | None:
    """Why it is not known which versions there were: among more records than are looked at nothing says which count."""
    if not found.more or (store.is_listed and store.is_named):
        return None
    missing = f"is missing, or not signed for this {snapshot.kept_by}"
    what = "does not say where they lie" if store.is_listed else missing
    return (
        f"TooManyRecords: at least {counted(found.more, 'record')} more than the {MOST_RECORDS} that are looked at lie "
        f"in {snapshot.folder}, and the record of which versions there are (versions.json) {what}: remove the folders "
        "that are of no version, or put that record back"
    )


def lines_of(job: RecordsJob, prefix: str) -> list[str]:
    return [line.removeprefix(prefix) for line in job.log.split("\n") if line.startswith(prefix)]
