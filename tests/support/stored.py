"""The documents of released versions in tests/golden/documents, and their readers."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "documents"
RELEASES = sorted(p for p in GOLDEN.iterdir() if p.is_dir())


@cache
def readers(release: Path) -> dict[str, Any]:
    """How a release reads each kind of document, as JSON Schema."""
    found: dict[str, Any] = json.loads((release / "readers.schema.json").read_text())
    return found


def check_readable(kind: str, document: Any) -> None:
    """Raise jsonschema.ValidationError unless every release reads a document of today."""
    for release in RELEASES:
        jsonschema.validate(document, readers(release)[kind])


def says(read: Any, stored: Any) -> bool:
    """Whether everything that a stored document says is in what was read."""
    if isinstance(stored, dict):
        return isinstance(read, dict) and all(says(read.get(k), v) for k, v in stored.items())
    if isinstance(stored, list):
        return isinstance(read, list) and len(read) == len(stored) and all(map(says, read, stored))
    return bool(read == stored)
