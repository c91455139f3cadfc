"""Deterministic names of children.

Why: names are derived, never generated, so that a second attempt after a crash meets the first one's object.
Object names of owners may have up to 63 characters; every derived name must still fit its own limit.
"""

from __future__ import annotations

import re

from tidemill.core import hashing

HASH_LENGTH = 8
"""Hexadecimal digits that replace what was cut off."""

_INVALID = re.compile(r"[^a-z0-9-]+")


def child_name(base: str, *suffix: object, limit: int = 63) -> str:
    """`base-suffix…`, at most `limit` characters, a DNS-1123 label.

    A name that is too long (or holds characters that a label may not) is cut and gets a hash of the whole name
    before its suffix is appended, so that two long owners never share a child and the suffix stays readable.
    Raises ValueError when the suffix alone does not fit.
    """
    tail = "".join(f"-{part}" for part in suffix).lower()
    wanted = f"{base}{tail}"
    if len(wanted) <= limit and not _INVALID.search(wanted):
        return wanted
    clean_tail = _INVALID.sub("-", tail)
    room = limit - len(clean_tail) - HASH_LENGTH - 1
    if room < 1:
        raise ValueError(f"the suffix {tail!r} leaves no room for a name of at most {limit} characters")
    head = _INVALID.sub("-", base.lower())[:room].strip("-") or "x"
    return f"{head}-{hashing.short(wanted, HASH_LENGTH)}{clean_tail}".rstrip("-")


def monitor_service(deployment: str) -> str:
    """Name of the Service that a ModelDeployment's servers report to, whether a ModelMonitor has made it or not."""
    return child_name(deployment, "monitor")


def ingest_secret(deployment: str) -> str:
    """Name of the Secret with the token that a ModelDeployment's servers show to its monitor."""
    return child_name(deployment, "ingest")


def clients_secret(deployment: str) -> str:
    """Name of the Secret with the key by which a ModelDeployment's servers hash the names of clients."""
    return child_name(deployment, "client-hashes")


def label_value(value: str) -> str:
    """`value` as a valid label value: at most 63 characters, cut with a hash when it is longer."""
    if len(value) <= 63 and re.fullmatch(r"([A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?)?", value):
        return value
    head = re.sub(r"[^A-Za-z0-9_.-]+", "-", value)[: 63 - HASH_LENGTH - 1].strip("-_.")
    return f"{head}-{hashing.short(value, HASH_LENGTH)}" if head else hashing.short(value, HASH_LENGTH)
