"""What works but will disappoint, as half a sentence for the message of Ready: a verdict would be too much.

Pure; refuses nothing, because a limit may be an administrator's and a worker too many is slow, not wrong.
"""

from __future__ import annotations

import math
import re
from decimal import Decimal

from tidemill.serving.snapshot import Snapshot

_QUANTITY = re.compile(r"\+?([0-9.]+)(?:([numkMGTPE]?)|([KMGTPE])i|[eE]([+-]?[0-9]+))")
_POWERS = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}


def hint(snapshot: Snapshot) -> str:
    """What to change, beginning with `; `; empty when there is nothing to say."""
    server = snapshot.spec.server
    limit = (server.resources.limits or {}).get("cpu") if server.resources else None
    cpus = None if limit is None else cores(limit)
    if cpus is None or server.workers <= math.ceil(cpus):
        return ""
    return (
        f"; spec.server.workers is {server.workers}, more than the CPU limit {limit}: "
        f"more than {max(1, math.ceil(cpus))} make responses slower"
    )


def cores(quantity: int | str) -> Decimal | None:
    """A Kubernetes quantity as a number, for example 1.5 for `1500m`; None for one that is none or negative."""
    found = _QUANTITY.fullmatch(str(quantity))
    if found is None or found[1].count(".") > 1 or found[1] == ".":
        return None
    number, suffix, binary, exponent = found.groups()
    if binary:
        return Decimal(number) * Decimal(1024) ** ("KMGTPE".index(binary) + 1)
    return Decimal(number).scaleb(int(exponent) if exponent else _POWERS[suffix or ""])
