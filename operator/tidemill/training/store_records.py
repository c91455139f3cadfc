"""The record of a version that lies beside it in the artifact store: what it says, and how it is known to be ours.

Training pods and everybody who holds the Secret of the store may write there. So what a record says is signed (HMAC)
with a key that only the operator holds, and bound to namespace, pipeline and the whole spec of the version. Whoever
writes to the store can remove a record or put back an older one of the same version, and nothing else
(docs/decisions/0208). The operator reads and writes no store: Jobs do, and they carry records as text.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from tidemill.api.base import Digest, Model, ObjectName, Time
from tidemill.api.v1alpha1.model_version import Decision, Lifted, ModelVersionSpec, Registered, TakenBack
from tidemill.api.v1alpha1.rejected_content import RejectedContent
from tidemill.training import constants
from tidemill.training.registered import content_digest
from tidemill_contracts.digests import canonical_json
from tidemill_contracts.records import TEXT_LIMIT

Obj = dict[str, Any]
_PURPOSE = b"tidemill version record 1\n"
_SERIES = b"tidemill versions of a series 1\n"
_ALGORITHM = "hmac-sha256:"
NUMBER_LIMIT = 999_999
"""The highest number that a record which is not believed can reserve: anybody who writes to the store can claim one."""


class Statement(Model):
    """What a record says of one version: everything that its status holds and cannot be found out anew."""

    namespace: ObjectName
    version: ObjectName
    content: Digest
    """Digest of the version's spec."""
    training: str | None = None
    """Digest of the part of the pipeline's spec that was trained, never the annotation, which people may write."""
    registered: Registered
    decision: Decision | None = None
    taken_back: dict[str, TakenBack] = {}  # noqa: RUF012 - pydantic copies it
    lifted: Lifted | None = None


class Series(Model):
    """Which versions of a pipeline (or import) there are, and which numbers were given.

    Without it a version that was pruned, and one of a predecessor that was to be forgotten, would come back with a
    rebuild: their records lie in the store until somebody removes the folders.
    """

    namespace: ObjectName
    kind: Literal["TrainingPipeline", "ModelImport"] = "TrainingPipeline"
    name: ObjectName
    """Of the pipeline or import."""
    time: Time
    """A version that was registered later is not named yet, and counts."""
    numbers: Annotated[int, Field(ge=0)]
    """The highest number that was given."""
    versions: tuple[Digest, ...]
    """`content` of the versions that exist."""
    folders: tuple[str, ...] = ()
    """Where their records lie, below the folder of the series, newest version first: they are read by these names."""
    rejected: tuple[RejectedContent, ...] = ()
    """Content that people have rejected, also of versions that do not exist any more."""

    def names(self, said: Statement) -> bool:
        """Whether a version exists, as far as this was known."""
        return said.content in self.versions or said.registered.time > self.time


@dataclass(frozen=True, slots=True)
class StoreRecord:
    """A record that was believed."""

    statement: Statement
    spec: ModelVersionSpec
    annotation: str
    """Statement and signature alone, as the restored ModelVersion carries them."""


def statement(version: Obj) -> dict[str, Any] | None:
    """What is to be recorded of a ModelVersion; None for one that is not registered or cannot be read."""
    meta, status = version["metadata"], version.get("status") or {}
    content = content_digest(version.get("spec") or {})
    if content is None or not status.get("registered"):
        return None
    said = {
        "namespace": meta["namespace"],
        "version": meta["name"],
        "content": content,
        "training": status["registered"].get("training"),
        "registered": {k: v for k, v in status["registered"].items() if k != "restored"},
        "decision": status.get("decision"),
        "takenBack": status.get("takenBack") or {},
        "lifted": status.get("lifted"),
    }
    return {name: value for name, value in said.items() if value is not None}


def text(said: Mapping[str, Any], spec: Mapping[str, Any], key: str) -> str:
    """The record of a statement, one line of JSON."""
    return canonical_json({"signature": _signature(said, key), "statement": said, "spec": spec}).decode()


def read(line: str, keys: Sequence[str]) -> StoreRecord | None:
    """A record with its spec, None for one that is not believed: not signed, or of another spec."""
    document = _document(line)
    said = _verified(document, keys)
    if said is None:
        return None
    try:
        spec = ModelVersionSpec.model_validate(document.get("spec"), extra="ignore")
    except ValidationError:
        return None
    if content_digest(document["spec"]) != said.content:
        return None
    carried = {name: document[name] for name in ("signature", "statement")}
    return StoreRecord(said, spec, canonical_json(carried).decode())


def series_text(said: Series, key: str) -> str:
    """The record of all versions, one line of JSON."""
    document = said.to_json()
    return canonical_json({"series": document, "signature": _signature(document, key, _SERIES)}).decode()


def read_series(line: str, keys: Sequence[str]) -> Series | None:
    """A record of all versions; None for one that is not signed, and for any other line."""
    document = _document(line)
    said, signature = document.get("series"), document.get("signature")
    if not _is_signed(said, signature, keys, _SERIES):
        return None
    try:
        return Series.model_validate(said, extra="ignore")
    except ValidationError:
        return None


def claimed_number(line: str, namespace: str, pipeline: str) -> int:
    """The number that a line claims for a version of this pipeline, believed or not, at most NUMBER_LIMIT; else 0.

    It may be a version of ours of which the key was lost, and its number may have been seen by people.
    """
    document = _document(line)
    said, spec = document.get("statement"), document.get("spec")
    if not isinstance(said, dict) or not isinstance(spec, dict):
        return 0
    number = spec.get("number")
    is_own = (said.get("namespace"), spec.get("pipeline")) == (namespace, pipeline)
    return number if is_own and type(number) is int and 0 < number <= NUMBER_LIMIT else 0


def carried(version: Obj, keys: Sequence[str]) -> Statement | None:
    """The statement in the annotation of a restored version, if it is signed and of this very version."""
    meta = version["metadata"]
    found = (meta.get("annotations") or {}).get(constants.RECORD)
    said = _verified(_document(found), keys) if found else None
    if said is None or (said.namespace, said.version) != (meta["namespace"], meta["name"]):
        return None
    return said if said.content == content_digest(version.get("spec") or {}) else None


def _document(line: str) -> dict[str, Any]:
    """The JSON object of a line; empty for anything else."""
    if len(line) > TEXT_LIMIT:
        return {}
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _verified(document: Mapping[str, Any], keys: Sequence[str]) -> Statement | None:
    said = document.get("statement")
    if not _is_signed(said, document.get("signature"), keys, _PURPOSE):
        return None
    try:
        return Statement.model_validate(said, extra="ignore")
    except ValidationError:
        return None


def _is_signed(said: object, signature: object, keys: Sequence[str], purpose: bytes) -> bool:
    if not isinstance(said, dict) or not isinstance(signature, str) or not signature.isascii():
        return False
    try:
        expected = [_signature(said, key, purpose) for key in keys]
    except (ValueError, RecursionError):  # NaN and infinity are no JSON
        return False
    return any(hmac.compare_digest(signature, one) for one in expected)


def _signature(said: Mapping[str, Any], key: str, purpose: bytes = _PURPOSE) -> str:
    return _ALGORITHM + hmac.new(key.encode(), purpose + canonical_json(said), sha256).hexdigest()
