"""Fingerprints of values of the control plane, as `tidemill_contracts.digests` makes them."""

from __future__ import annotations

from typing import Any

from tidemill_contracts import digests


def digest(obj: Any) -> str:
    """`sha256:` and 64 hexadecimal digits over the canonical JSON of `obj` (bytes are hashed as they are)."""
    return digests.sha256(obj if isinstance(obj, bytes) else digests.canonical_json(obj))


def short(obj: Any, n: int = 10) -> str:
    """The first `n` hexadecimal digits of the digest: for names, never for identity decisions."""
    return digests.first_digits(digest(obj), n)
