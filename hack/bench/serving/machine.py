"""What the figures were measured on: part of every result, because figures without it mean nothing."""

import os
import platform
import re
from importlib.metadata import version
from pathlib import Path
from typing import Any

_PACKAGES = ("scikit-learn", "onnxruntime", "numpy", "uvicorn", "uvloop", "httptools", "orjson")


def describe() -> dict[str, Any]:
    """Return processor, cores, kernel, Python, packages and the load that was there before."""
    text = Path("/proc/cpuinfo").read_text()
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return {
        "processor": found[1].strip() if found else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "kernel": platform.release().split("-")[0],
        "python": platform.python_version(),
        "packages": {name: version(name) for name in _PACKAGES},
        "load_before": round(os.getloadavg()[0], 2),
    }
