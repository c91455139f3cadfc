"""A small file of a mounted Secret or ConfigMap, as it is now: the kubelet replaces it while the process runs."""

from pathlib import Path
from typing import Final

from tidemill_contracts.inference import INGEST_KEY, INGEST_ROOT, SERVED_KEY, SERVED_ROOT
from tidemill_runtime.mounts import mounted

MAX_BYTES: Final = 256 * 1024


def ingest_token_file() -> Path:
    """Return where the token lies that servers show to the monitor."""
    return mounted(INGEST_ROOT) / INGEST_KEY


def served_digests_file() -> Path:
    """Return where the digests lie of the versions whose reference profiles a monitor may take."""
    return mounted(SERVED_ROOT) / SERVED_KEY


def read(path: Path | None) -> bytes | None:
    """Return the content without blanks around it; None where there is no such file, or it is empty or too large."""
    if path is None:
        return None
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError:
        return None
    return content.strip() or None if len(content) <= MAX_BYTES else None
