"""Where things are: the repository, and the user's cache of what is worth keeping between clones."""

from __future__ import annotations

import os
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


def cache_folder() -> Path:
    """TIDEMILL_CACHE, else `tidemill` in the user's cache folder; it may not exist yet."""
    configured = os.environ.get("TIDEMILL_CACHE")
    if configured:
        return Path(configured).resolve()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tidemill"
