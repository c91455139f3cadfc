"""Packages of the distribution: installed on Debian and its kin as root, told as a command everywhere else."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Sequence

from hack.tools.pypi import ToolError


def install(packages: Sequence[str], report: Callable[[str], None]) -> None:
    """Install Debian packages. Raises ToolError with the exact command where that is not for us to do."""
    names = " ".join(packages)
    command = f"apt-get install -y --no-install-recommends {names}"
    if shutil.which("apt-get") is None:
        raise ToolError(f"missing programs; install what your distribution calls: {names} (Debian: sudo {command})")
    if os.geteuid() != 0:
        raise ToolError(f"missing packages; run: sudo {command}")
    report(f"installing Debian packages: {names}")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    done = _run(command.split(), environment)
    if done.returncode != 0:
        # The lists may be old or absent; refreshing them first would cost seconds each time.
        _run(["apt-get", "update"], environment)
        done = _run(command.split(), environment)
    if done.returncode != 0:
        raise ToolError(f"`{command}` failed: {done.stderr.strip()[-2000:]}")


def _run(command: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
