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
from typing import Any

from pydantic import ValidationError

from tidemill.api.base import Digest, Model, ObjectName
from tidemill.api.v1alpha1.model_version import Decision, Lifted, ModelVersionSpec, Registered, TakenBack
from tidemill.training import constants
from tidemill.training.registered import content_digest
from tidemill_contracts.digests import canonical_json
from tidemill_contracts.records import TEXT_LIMIT

Obj = dict[str, Any]
_PURPOSE = b"tidemill version record 1\n"
_ALGORITHM = "hmac-sha256:"


class Statement(Model):
    """What a record says of one version: everything that its status holds and cannot be found out anew."""

    namespace: ObjectName
    version: ObjectName
    content: Digest
    """Digest of the version's spec."""
    training: str | None = None
    """Value of the annotation tidemill.io/spec: digest of the part of the pipeline's spec that was trained."""
    registered: Registered
    decision: Decision | None = None
    taken_back: dict[str, TakenBack] = {}  # noqa: RUF012 - pydantic copies it
    lifted: Lifted | None = None


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
        "training": (meta.get("annotations") or {}).get(constants.SPEC),
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
    said, signature = document.get("statement"), document.get("signature")
    if not isinstance(said, dict) or not isinstance(signature, str) or not signature.isascii():
        return None
    try:
        expected = [_signature(said, key) for key in keys]
    except ValueError:  # NaN and infinity are no JSON
        return None
    if not any(hmac.compare_digest(signature, one) for one in expected):
        return None
    try:
        return Statement.model_validate(said, extra="ignore")
    except ValidationError:
        return None


def _signature(said: Mapping[str, Any], key: str) -> str:
    return _ALGORITHM + hmac.new(key.encode(), _PURPOSE + canonical_json(said), sha256).hexdigest()
