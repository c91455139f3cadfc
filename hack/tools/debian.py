"""Packages of the distribution: installed on Debian as root, else an error names the command."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from hack.tools.pypi import ToolError

# Where the distributions keep the certificate authorities; programs written in Go look here, Debian's place first.
_AUTHORITIES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
)


def missing_authorities() -> list[str]:
    """["ca-certificates"] on a Linux machine without certificate authorities, else []."""
    configured = "SSL_CERT_FILE" in os.environ or "SSL_CERT_DIR" in os.environ
    known = configured or sys.platform != "linux" or any(Path(name).exists() for name in _AUTHORITIES)
    return [] if known else ["ca-certificates"]


def install(packages: Sequence[str], report: Callable[[str], None]) -> None:
    """Install Debian packages. Raises ToolError with the exact command where this may not install anything."""
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
