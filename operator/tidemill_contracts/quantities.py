"""Kubernetes quantities (`500m`, `2`, `1.5Gi`): how they are written, and what number they are.

The grammar is apimachinery's, `k8s.io/apimachinery/pkg/api/resource`; exponents are bounded here, because a number of a
million digits is nobody's resource.
"""

import re
from decimal import Decimal
from typing import Final

PATTERN: Final = (
    r"^(\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))(([KMGTPE]i)|[numkMGTPE]|([eE](\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))))?$"
)
"""What CRDs allow; it lets through a few texts that are no number, as the API server does."""

_FORM: Final = re.compile(
    r"([+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+))(?:([KMGTPE])i|([numkMGTPE])|[eE]([+-]?[0-9]{1,3}))?", re.ASCII
)
_BINARY: Final = "KMGTPE"
_POWERS: Final = {"n": -9, "u": -6, "m": -3, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_SIZE: Final = re.compile(r"[1-9][0-9]{0,14}([KMGT]i)?", re.ASCII)
SIZE_RULE: Final = "must be a number of bytes, with or without Ki, Mi, Gi or Ti"


def number(quantity: str | int | float) -> Decimal | None:
    """Return a quantity as a number, for example 1.5 for `1500m`; None when it is none."""
    found = _FORM.fullmatch(str(quantity))
    if found is None:
        return None
    digits, binary, suffix, exponent = found.groups()
    if binary:
        return Decimal(digits) * Decimal(1024) ** (_BINARY.index(binary) + 1)
    return Decimal(digits).scaleb(int(exponent) if exponent else _POWERS[suffix] if suffix else 0)


def size(text: str) -> int | None:
    """Return a whole number of bytes, more than 0, as settings state it; None where `SIZE_RULE` is not kept."""
    found = number(text) if _SIZE.fullmatch(text) else None
    return None if found is None else int(found)
