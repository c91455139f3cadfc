"""What Python packages an image has, by uv.lock, and a way to run a process as if the others were not installed.

The environment of tests has the packages of all images, so that a process may import there what its image lacks.
"""

import atexit
import shutil
import tempfile
import tomllib
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.markers import Marker
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
EXTRAS = ("operator", "trainer", "server", "monitor")


@cache
def distributions(extra: str) -> frozenset[str]:
    """Return the names of the distributions that the lock has for an image, its dependencies' dependencies included."""
    packages: dict[str, list[dict[str, Any]]] = {}
    for package in tomllib.loads((ROOT / "uv.lock").read_text())["package"]:
        packages.setdefault(package["name"], []).append(package)
    found: set[tuple[str, str]] = set()
    waiting = [("tidemill", ""), ("tidemill", extra)]
    while waiting:
        name, part = waiting.pop()
        if (name, part) in found:
            continue
        found.add((name, part))
        for package in packages[name]:
            needed = package.get("optional-dependencies", {}).get(part, []) if part else package.get("dependencies", [])
            for one in needed:
                if Marker(one.get("marker", "python_version > '3'")).evaluate():
                    waiting += [(one["name"], more) for more in ("", *one.get("extra", ()))]
    return frozenset(name for name, _ in found)


@cache
def absent_modules(extra: str) -> frozenset[str]:
    """Return the modules that other images have and this one has not."""
    own = distributions(extra)
    others = frozenset[str]().union(*map(distributions, EXTRAS)) - own
    found = set()
    for module, providers in metadata.packages_distributions().items():
        names = {str(canonicalize_name(provider)) for provider in providers}
        if module.isidentifier() and names & others and not names & own:
            found.add(module)
    return frozenset(found)


@cache
def _folder(extra: str) -> Path:
    folder = Path(tempfile.mkdtemp(prefix="tidemill-absent-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    for module in absent_modules(extra):
        lines = 'raise ModuleNotFoundError(f"No module named {__name__!r}: the image lacks it", name=__name__)\n'
        (folder / f"{module}.py").write_text(lines)
    return folder


def as_in_image(extra: str) -> dict[str, str]:
    """Return the environment variable that hides what an image lacks from a Python process."""
    return {"PYTHONPATH": str(_folder(extra))}
