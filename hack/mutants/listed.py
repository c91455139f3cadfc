"""The list of faults that change nothing anybody could see (equivalent.toml)."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path

from hack.mutants.faults import Fault

FILE = Path(__file__).with_name("equivalent.toml")

Key = tuple[str, str, str, str]
"""Module, function, line before, line after."""


def key(fault: Fault) -> Key:
    """Return how a fault is listed."""
    return fault.module, fault.function, fault.before, fault.after


def equivalent(file: Path = FILE, package: str = "") -> dict[Key, str]:
    """Return the listed faults of a package (of all without one) with the reason of each."""
    entries = tomllib.loads(file.read_text(encoding="utf-8")).get("equivalent", [])
    below = f"{package}." if package else ""
    return {
        (e["module"], e["function"], e["before"], e["after"]): e["reason"]
        for e in entries
        if e["module"].startswith(below)
    }


def unknown(excused: Mapping[Key, str], faults: Iterable[Fault]) -> list[str]:
    """Return the entries that name no fault there is."""
    known = {key(fault) for fault in faults}
    return [" | ".join(entry) for entry in excused if entry not in known]
