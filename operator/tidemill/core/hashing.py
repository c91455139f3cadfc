"""Canonical digests: the one way in which this project turns a JSON value into a fingerprint.

Why: a digest decides whether something runs again, so dict order, floats and Python's repr must not leak into it.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any


def canonical_json(obj: Any) -> bytes:
    """JSON with sorted keys, no spaces, UTF-8, no NaN or infinity (ValueError): equal values give equal bytes."""
    return json.dumps(obj, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def digest(obj: Any) -> str:
    """`sha256:` and 64 hexadecimal digits over the canonical JSON of `obj` (bytes are hashed as they are)."""
    data = obj if isinstance(obj, bytes) else canonical_json(obj)
    return "sha256:" + hashlib.sha256(data).hexdigest()


def short(obj: Any, n: int = 10) -> str:
    """The first `n` hexadecimal digits of the digest: for names, never for identity decisions."""
    return digest(obj).removeprefix("sha256:")[:n]
