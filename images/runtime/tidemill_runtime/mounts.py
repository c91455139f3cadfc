"""Where the operator mounts claims, ConfigMaps and Secrets in this process."""

import os
from pathlib import Path

MOUNT_ROOT_ENV = "TIDEMILL_MOUNT_ROOT"  # replaces /mnt; for tests and for runs outside a pod


def mounted(constant: str) -> Path:
    """Return the folder that one of `tidemill_contracts.storage`'s roots stands for in this process."""
    root = os.environ.get(MOUNT_ROOT_ENV)
    return Path(root) / constant.removeprefix("/mnt/") if root else Path(constant)
