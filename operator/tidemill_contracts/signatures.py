"""What clients of a model depend on: the part of a signature by which two versions are compared.

Only used inputs count: a column that the model knows and does not use is accepted and never required. Its place counts
where a row without names would be taken for another. Servers take any number for a column of numbers, so INT64 and FP64
are one kind; categories and ranges are not compared.

A signature that is too long for a record is kept as its digest. The digest also proves what a pod says of the version.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tidemill_contracts.artifact import ColumnSpec, Kind, Signature, kind_of
from tidemill_contracts.base import Document
from tidemill_contracts.counts import counted
from tidemill_contracts.digests import canonical_json, sha256
from tidemill_contracts.schemes import listed

SIGNATURE_PATH = "/signature"  # of the server's admin port

MOST_INPUTS, MOST_OUTPUTS = 2000, 100
"""Columns of a signature that a record or an answer may have."""
MOST_NAMED = 8
"""Columns of one sort that a sentence names."""
_LONGEST_NAME = 60
Columns = Sequence[ColumnSpec]
_TAKES: dict[Kind, str] = {"number": "numbers", "boolean": "true or false", "text": "text"}


class ServedSignature(Document):
    """What a server answers at SIGNATURE_PATH once its model is loaded; the same until its process ends."""

    digest: str  # of the version
    signature: Signature


@dataclass(frozen=True, slots=True)
class Difference:
    """What today's clients would notice of a new version, as parts of a sentence; empty: nothing."""

    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    is_bridged: bool = False
    """A row with the columns of both, by name, suits both where servers ignore columns that they do not know."""
    has_unknown: bool = False
    """One of them does not know a column that the other one uses."""

    def __bool__(self) -> bool:
        """Whether there is any."""
        return bool(self.inputs or self.outputs)


def brief(signature: Signature) -> Signature:
    """Return what is compared and no more, as records keep it: no categories, no ranges."""
    inputs, outputs = (
        tuple(ColumnSpec(name=c.name, datatype=c.datatype, shape=c.shape, used=c.used) for c in side)
        for side in (signature.inputs, signature.outputs)
    )
    return Signature(inputs=inputs, outputs=outputs, frame=signature.frame)


def recorded(columns: Mapping[str, Any]) -> Signature:
    """Return the signature that a ModelVersion records: `{"inputs": [{"name", "datatype", "shape", "used"}], ...}`."""
    inputs, outputs = (
        tuple(
            ColumnSpec(name=c["name"], datatype=c["datatype"], shape=tuple(c.get("shape") or (-1,)), used=c.get("used"))
            for c in columns.get(side) or ()
        )
        for side in ("inputs", "outputs")
    )
    return Signature(inputs=inputs, outputs=outputs)


def digest(signature: Signature) -> str:
    """Return the digest of what clients depend on: signatures between which `compare` finds nothing may have two.

    The places of columns that are not used are left out. Records keep it, so what is digested never changes.
    """
    inputs = [[c.name, *_type(c)] for c in signature.used_inputs]
    outputs = [[c.name, kind_of(c.datatype)] for c in signature.outputs]
    return sha256(canonical_json({"inputs": inputs, "outputs": outputs}))


def compare(before: Signature, after: Signature) -> Difference:
    """Return how a request that suits `before` would fail or be misread in `after`, and how its answer would change."""
    inputs, outputs = _inputs(before, after), _outputs(before, after)
    has_unknown = _has_unknown(before, after) or _has_unknown(after, before)
    return Difference(inputs, outputs, bool(inputs) and not _retyped(before, after), has_unknown)


def _type(column: ColumnSpec) -> tuple[Kind, list[int]]:
    """Return what one value of a column is: its kind, and its shape without the number of rows."""
    return kind_of(column.datatype), list(column.shape[1:])


def _inputs(before: Signature, after: Signature) -> tuple[str, ...]:
    old, new = before.used_inputs, after.used_inputs
    known, required = {c.name for c in after.inputs}, {c.name: c for c in old}
    removed = [c for c in old if c.name not in known]
    added = [c for c in new if c.name not in required]
    retyped = _retyped(before, after)
    found = []
    if removed:
        found.append(f"{_named(removed)} {_is(removed)} not taken any more")
    if added:
        found.append(f"{_named(added)} {_is(added)} required")
    if _looks_renamed(removed, added, old, new):
        found[-2:] = [f"{' and '.join(found)} (this looks like one column with a new name)"]
    found += [f"{_quoted(c.name)} takes {_takes(c)} instead of {_takes(was)}" for was, c in retyped[:MOST_NAMED]]
    if len(retyped) > MOST_NAMED:
        found.append(f"{len(retyped) - MOST_NAMED} more changed in the same way")
    if not found:
        found += _moved([c.name for c in old], [c.name for c in new]) or _misread(before, after)
    return tuple(found)


def _retyped(before: Signature, after: Signature) -> list[tuple[ColumnSpec, ColumnSpec]]:
    """Return the columns that both use, as they were and as they are, where no value suits both."""
    required = {c.name: c for c in before.used_inputs}
    both = [(required[c.name], c) for c in after.used_inputs if c.name in required]
    return [(was, c) for was, c in both if _type(was) != _type(c)]


def _has_unknown(one: Signature, other: Signature) -> bool:
    """Return whether one version uses a column that the other one does not know."""
    return not {c.name for c in one.used_inputs} <= {c.name for c in other.inputs}


def _moved(old: list[str], new: list[str]) -> list[str]:
    """Return that columns changed places: whoever sends rows without names would get answers to other rows."""
    both = set(old) & set(new)
    pairs = zip(*(dict.fromkeys(name for name in side if name in both) for side in (old, new)), strict=True)
    first = next((b for a, b in pairs if a != b), None)
    return [] if first is None else [f"the columns have another order, from {_quoted(first)} on"]


def _misread(before: Signature, after: Signature) -> list[str]:
    """Return that a row without names, of the used columns or of all, would be taken for one of another order.

    A server takes either, and tells them apart by the number of values.
    """
    used, known = ([c.name for c in columns] for columns in (after.used_inputs, after.inputs))
    for sent in (before.used_inputs, before.inputs):
        read = {len(known): known, len(used): used}.get(len(sent), [])
        other = next((name for name, was in zip(read, sent, strict=False) if name in used and name != was.name), None)
        if other is not None:
            rows = f"rows of {counted(len(sent), 'value')}"
            return [f"the columns have another order in {rows}, from {_quoted(other)} on"]
    return []


def _looks_renamed(removed: Columns, added: Columns, old: Columns, new: Columns) -> bool:
    """Return whether one column is gone and one is new, in the same place and of the same type; a guess."""
    if len(removed) != 1 or len(added) != 1 or _type(removed[0]) != _type(added[0]):
        return False
    return old.index(removed[0]) == new.index(added[0])


def _outputs(before: Signature, after: Signature) -> tuple[str, ...]:
    """Return what is gone or another kind of value; a new output, or one more class, disturbs nobody."""
    present = {c.name: c for c in after.outputs}
    gone = [c for c in before.outputs if c.name not in present]
    found = [f"output{'s' if len(gone) > 1 else ''} {_named(gone)} {_is(gone)} missing"] if gone else []
    for column in before.outputs:
        now = present.get(column.name)
        if now is not None and kind_of(now.datatype) != kind_of(column.datatype) and len(found) <= MOST_NAMED:
            found.append(f"output {_quoted(column.name)} has {_takes(now)} instead of {_takes(column)}")
    return tuple(found)


def _takes(column: ColumnSpec) -> str:
    kind, size = _type(column)
    return f"{_TAKES[kind]} of shape {size}" if size else _TAKES[kind]


def _quoted(name: str) -> str:
    return repr(name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 1] + "…")


def _named(columns: Columns) -> str:
    names = [_quoted(c.name) for c in columns[:MOST_NAMED]]
    if len(columns) > MOST_NAMED:
        names.append(f"{len(columns) - MOST_NAMED} more")
    return listed(names, "and")


def _is(columns: Columns) -> str:
    return "is" if len(columns) == 1 else "are"
