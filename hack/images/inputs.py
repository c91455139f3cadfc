"""The images: what each is called, and what it is made of, as one digest: it is built again only when that changed."""

from __future__ import annotations

import hashlib
import os
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


def image_name(target: str) -> str:
    """The name under which manifests, tests and the demo know a target's image."""
    return f"{os.environ.get('IMAGE_PREFIX', 'tidemill.io')}/{target}:{os.environ.get('IMAGE_TAG', 'dev')}"


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
