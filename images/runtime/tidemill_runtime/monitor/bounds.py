"""How large a value may be that a client, a server or a trainer sends.

What has no bound here would end somewhere else: as an integer that SQLite cannot hold, a sum that is infinite, a
database that one text fills. A post that is wrong as a whole is refused. Of a batch of records no row is refused, since
its sender cannot mend it: a row that cannot wait for its label is counted like any other, and as discarded.
"""

from collections.abc import Iterator
from typing import Final

from tidemill_contracts.access import is_client_hash
from tidemill_contracts.inference import PredictionBatch, Reference, Value
from tidemill_contracts.reference import Profile
from tidemill_runtime.model.label_sums import LARGEST_NUMBER

LARGEST_COUNT: Final = 2**53
"""Where every counter stops: more is no longer exact as a JSON number, and beyond 2**63 SQLite's integers end."""
MAX_ID: Final = 300
"""Characters of a prediction id. A server allows 256 for a request; `/<row>` follows."""
MAX_LABEL: Final = 256
"""Characters of a label, and of a prediction that waits for one."""
MAX_NAME: Final = 512
"""Characters of a batch id, a digest and a version."""
MAX_WINDOWS: Final = 2_000
"""Windows of one batch."""


class InvalidBatchError(ValueError):
    """A post that contradicts itself or is out of bounds; the message names the field."""


def feedback_problem(prediction: str, label: Value) -> str | None:
    """Return what is wrong with a label or the id of its prediction; None when nothing is."""
    if not prediction:
        return "id: must not be empty"
    if len(prediction) > MAX_ID:
        return f"id: must have at most {MAX_ID} characters, got {len(prediction)}"
    if isinstance(label, str):
        return f"label: must have at most {MAX_LABEL} characters, got {len(label)}" if len(label) > MAX_LABEL else None
    if label is None or label != label or label in (float("inf"), float("-inf")):
        return "label: must be a finite number, a text, true or false"
    if abs(label) > LARGEST_NUMBER:
        return f"label: a number must be from {-LARGEST_NUMBER:g} to {LARGEST_NUMBER:g}"
    return None


def joinable(prediction: str, value: Value) -> bool:
    """Return whether a row can be kept until its label comes."""
    return 0 < len(prediction) <= MAX_ID and not (isinstance(value, str) and len(value) > MAX_LABEL)


def stored(value: Value) -> Value:
    """Return a prediction as it is stored: an integer of any length takes no more room than a number does."""
    if isinstance(value, int) and abs(value) >= 2**63:
        try:
            return float(value)
        except OverflowError:
            return float("inf") if value > 0 else float("-inf")
    return value


def check_batch(batch: PredictionBatch) -> None:
    """Raise InvalidBatchError unless every list has one entry a row, and names and counters are within bounds."""
    _check_names(batch_id=batch.batch_id, digest=batch.digest)
    rows = len(batch.ids)
    lists = {"times": len(batch.times), "predictions": len(batch.predictions)}
    if batch.scores is not None:
        lists["scores"] = len(batch.scores)
    if batch.clients is not None:
        lists["clients"] = len(batch.clients)
        wrong = next((c for c in batch.clients if c is not None and not is_client_hash(c)), None)
        if wrong is not None:
            raise InvalidBatchError(
                f"clients: {wrong!r:.100} is no keyed hash: expected 16 hexadecimal digits, or null"
            )
    lists |= {f"columns[{name!r:.100}]": len(values) for name, values in batch.columns.items()}
    for name, entries in lists.items():
        if entries != rows:
            raise InvalidBatchError(f"{name}: {entries} entries, but ids has {rows}; all lists have one length")
    _check_counts(errors=batch.errors, dropped=batch.dropped)


def check_reference(reference: Reference) -> None:
    """Raise InvalidBatchError where a reference has a name or a count that is out of bounds."""
    _check_names(digest=reference.digest, version=reference.version)
    profile = reference.profile
    _check_counts(**{"profile.rows": profile.rows, "profile.prediction_rows": profile.prediction_rows})
    for column in _columns(reference):
        _check_counts(**{f"profile of {column.name!r:.100}: counts and missing": sum(column.counts) + column.missing})


def _columns(reference: Reference) -> Iterator[Profile]:
    yield from reference.profile.features
    for column in (reference.profile.prediction, reference.profile.score):
        if column is not None:
            yield column


def _check_names(**names: str) -> None:
    for field, text in names.items():
        if not 0 < len(text) <= MAX_NAME:
            raise InvalidBatchError(f"{field}: must have 1 to {MAX_NAME} characters, got {len(text)}")


def _check_counts(**counts: int) -> None:
    for field, count in counts.items():
        if not 0 <= count <= LARGEST_COUNT:
            raise InvalidBatchError(f"{field}: must not be negative or more than {LARGEST_COUNT} (2**53)")
