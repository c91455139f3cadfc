"""Digests: the one way in which both planes turn bytes, files and JSON values into a fingerprint, `sha256:<hex>`.

A digest decides whether something is trained, loaded or replaced, so the order of keys, spaces and Python's `repr`
must not leak into it.
"""

import hashlib
import json
from collections.abc import Callable, Iterable
from typing import Final

_PREFIX: Final = "sha256:"
PATTERN: Final = rf"^{_PREFIX}[0-9a-f]{{64}}$"
LABEL_DIGITS: Final = 12
"""Digits of a version's digest in the label `tidemill.io/digest` and in the ids of predictions."""


def canonical_json(value: object) -> bytes:
    """Return the one JSON form that is digested: sorted keys, no spaces, UTF-8; equal values give equal bytes.

    Raises:
        ValueError: NaN or an infinity.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def sha256(content: bytes) -> str:
    """Return `sha256:<hex>` of some bytes."""
    return _PREFIX + hashlib.sha256(content).hexdigest()


def sha256_of_pieces(pieces: Iterable[bytes], sink: Callable[[bytes], object] | None = None) -> str:
    """Return `sha256:<hex>` of what comes piece by piece, handing each piece to `sink`."""
    hasher = hashlib.sha256()
    for piece in pieces:
        hasher.update(piece)
        if sink is not None:
            sink(piece)
    return _PREFIX + hasher.hexdigest()


def digest_hex(digest: str) -> str:
    """Return the hex part of `sha256:<hex>`.

    Raises:
        ValueError: not of that form.
    """
    value = digest.removeprefix(_PREFIX)
    if value == digest or len(value) != 64 or not set(value) <= set("0123456789abcdef"):
        raise ValueError(f"{digest!r} is not a digest of the form sha256:<64 hex digits>")
    return value


def first_digits(digest: str, number: int) -> str:
    """Return the first hexadecimal digits of a digest: for names and labels, never to tell two things apart."""
    return digest.removeprefix(_PREFIX)[:number]
