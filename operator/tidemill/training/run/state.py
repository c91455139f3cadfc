"""What the policies conclude, as data: builders read it, and nothing here decides."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Registration:
    """The version of a run."""

    name: str
    number: int
    exists: bool
    same_content: bool = False
    """An earlier version already holds exactly this content; nothing is registered."""
