"""The base image where no registry is in reach: Debian with its own Python, made by mmdebstrap.

Kept in the user's cache under a name that holds the recipe's digest; nothing of the host's files goes into it.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from pathlib import Path

from hack.images.engines import Engine
from hack.localcluster.progress import LocalClusterError, Progress
from hack.tools.paths import cache_folder

SUITE = "trixie"
_OPTIONS = [
    "--variant=minbase",
    # Python 3.13; libgomp is what scikit-learn and onnxruntime link to in some builds.
    "--include=python3,ca-certificates,libgomp1",
    "--dpkgopt=path-exclude=/usr/share/doc/*",
    "--dpkgopt=path-exclude=/usr/share/man/*",
    "--dpkgopt=path-exclude=/usr/share/locale/*",
]


def base_image(engine: Engine, progress: Progress) -> str | None:
    """What to pass as BASE_IMAGE: the environment's, our own Debian for buildah, or None (the default)."""
    configured = os.environ.get("BASE_IMAGE")
    if configured:
        return configured
    if engine.name != "buildah":
        return None
    key = hashlib.sha256(json.dumps([SUITE, *_OPTIONS]).encode()).hexdigest()[:12]
    name = f"localhost/tidemill-base:{key}"
    if engine.image_id(name):
        return name
    archive = cache_folder() / "base" / f"{key}.tar"
    if not archive.exists():
        _bootstrap(archive, progress)
    progress.step(f"adding {name}")
    container = engine.run("from", "scratch")
    try:
        engine.run("add", "--quiet", container, str(archive), "/")
        engine.run("config", "--cmd", "python3", container)
        engine.run("commit", "--quiet", container, name)
    finally:
        engine.run("rm", container)
    return name


def _bootstrap(archive: Path, progress: Progress) -> None:
    progress.step(f"making a Debian {SUITE} base with mmdebstrap (once; about 30 seconds)")
    archive.parent.mkdir(parents=True, exist_ok=True)
    unfinished = archive.with_suffix(".new.tar")
    command = ["mmdebstrap", "--quiet", *_OPTIONS, SUITE, str(unfinished)]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise LocalClusterError(f"`{' '.join(command)}` failed: {done.stderr.strip()[-2000:]}")
    unfinished.rename(archive)
