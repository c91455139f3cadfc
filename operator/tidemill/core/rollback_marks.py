"""Marks of deployments that rolled a version back, as they stand in its raw status: which of them count."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tidemill.core.conditions import parse_time

Mark = Mapping[str, Any]


def active(version: Mapping[str, Any] | None) -> dict[str, Mark]:
    """By ModelDeployment, the marks of a ModelVersion that are of its content and that no person has lifted since.

    One that was lifted may stand there for a moment again, written by somebody who had not seen the lift.
    """
    found = version or {}
    status, digest = found.get("status") or {}, (found.get("spec") or {}).get("digest")
    lifted = (status.get("lifted") or {}).get("time")
    marks: Mapping[str, Mark] = status.get("takenBack") or {}
    of_content = {name: mark for name, mark in marks.items() if mark.get("digest", digest) == digest}
    return {name: mark for name, mark in of_content.items() if not _is_lifted(mark.get("time"), lifted)}


def _is_lifted(time: str | None, lifted: str | None) -> bool:
    """A mark of which the cache holds a part only counts."""
    return bool(time and lifted) and parse_time(str(time)) <= parse_time(str(lifted))
