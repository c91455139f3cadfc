"""A hint in the message of Ready: more workers than the CPU limit makes use of are valid, but slower.

Pure; refuses nothing, because a limit may be an administrator's and a worker too many is slow, not wrong.
"""

from __future__ import annotations

import math

from tidemill.serving.snapshot import Snapshot
from tidemill_contracts import quantities


def hint(snapshot: Snapshot) -> str:
    """What to change, beginning with `; `; empty when there is nothing to say."""
    server = snapshot.spec.server
    limit = (server.resources.limits or {}).get("cpu") if server.resources else None
    cpus = None if limit is None else quantities.number(limit)
    if cpus is None or cpus < 0 or server.workers <= math.ceil(cpus):
        return ""
    return (
        f"; spec.server.workers is {server.workers}, more than the CPU limit {limit}: "
        f"a number above {max(1, math.ceil(cpus))} makes responses slower"
    )
