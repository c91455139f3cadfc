"""The mark for a value that nobody knows before the object is made: builders are pure, so the engine fills it in."""

from __future__ import annotations

from typing import Final

RANDOM: Final = "(random)"
"""In `stringData` of a Secret: 256 random bits as text, chosen when the Secret is created, and kept nowhere else."""
