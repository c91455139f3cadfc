"""Whether what is live is what a plan wants: by the digest of the manifest that was applied last.

Why: in the very pass that applies a changed manifest the live child is still the old one, settled and ready. A status
that only looks at it says Ready of a spec that nothing runs yet.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tidemill.core import hashing
from tidemill.core.labels import APPLIED

Applied = Mapping[tuple[str, str], str]
"""Digest by kind and name of a live child."""


def fingerprint(manifest: Mapping[str, Any]) -> str:
    """What the annotation tidemill.io/applied holds once the manifest was applied."""
    return hashing.short(manifest, 16)


def applied(children: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str], str]:
    """What live children say of the manifest that they are of."""
    return {
        (o["kind"], o["metadata"]["name"]): (o["metadata"].get("annotations") or {}).get(APPLIED, "") for o in children
    }


def is_up_to_date(manifests: Iterable[Mapping[str, Any]], live: Applied | None, kinds: Iterable[str]) -> bool:
    """Whether all manifests of these kinds are live as they are wanted; `live` None: nobody has looked."""
    if live is None:
        return True
    compared = frozenset(kinds)
    wanted = (m for m in manifests if m["kind"] in compared)
    return all(live.get((m["kind"], m["metadata"]["name"])) == fingerprint(m) for m in wanted)
