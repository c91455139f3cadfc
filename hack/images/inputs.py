"""What each image is made of, as one digest: an image whose digest did not change is not built again."""

from __future__ import annotations

import hashlib
from pathlib import Path

from hack.tools.paths import REPOSITORY

_INSTALLER = ("images/Containerfile", "images/with-ca", "images/leave-out")
_ENVIRONMENT = (*_INSTALLER, "pyproject.toml", "uv.lock")
_DATA_PLANE = (*_ENVIRONMENT, "operator/tidemill_contracts", "images/runtime/tidemill_runtime")
_SOURCES = {
    "operator": (*_ENVIRONMENT, "operator/tidemill_contracts", "operator/tidemill"),
    "trainer": _DATA_PLANE,
    "server": _DATA_PLANE,
    "monitor": _DATA_PLANE,
    "router": _INSTALLER,
}
TARGETS = tuple(_SOURCES)


def inputs_digest(target: str, base: str, root: Path = REPOSITORY) -> str:
    """sha256 over names and contents of everything that `target` copies, and the name of its base image."""
    digest = hashlib.sha256(f"{target} {base}".encode())
    for source in _SOURCES[target]:
        path = root / source
        files = sorted(path.rglob("*")) if path.is_dir() else [path]
        for file in files:
            if file.is_file() and "__pycache__" not in file.parts:
                digest.update(b"\0" + file.relative_to(root).as_posix().encode() + b"\0" + file.read_bytes())
    return f"sha256:{digest.hexdigest()}"
