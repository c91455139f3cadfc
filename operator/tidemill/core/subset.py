"""Whether a manifest is a subset of the live object: then applying it would change nothing.

Why: an idle operator must write nothing. Server-side apply of an unchanged manifest is harmless but is a write; this
comparison says when it can be left out. It looks only at fields that the manifest names, so server-side defaults and
other managers' fields do not count; quantities are compared as numbers ("1000m" is "1").
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tidemill_contracts import quantities

_MERGE_KEYS = ("name", "containerPort", "port", "mountPath", "key", "topologyKey", "uid", "type", "ip")


def includes(live: Any, wanted: Any) -> bool:
    """True when every value that `wanted` names is in `live` (None, {} and [] in `wanted` match absence)."""
    if wanted is None or wanted == {} or wanted == []:
        return live is None or live == wanted or (isinstance(wanted, Mapping) and isinstance(live, Mapping))
    if isinstance(wanted, Mapping):
        return isinstance(live, Mapping) and all(includes(live.get(k), v) for k, v in wanted.items())
    if isinstance(wanted, list | tuple):
        return isinstance(live, list | tuple) and _includes_list(list(live), list(wanted))
    if live == wanted:
        return True
    if isinstance(live, str | int | float) and isinstance(wanted, str | int | float):
        return _same_quantity(live, wanted)
    return False


def _includes_list(live: list[Any], wanted: list[Any]) -> bool:
    """Lists of objects match by their merge key (an injected sidecar is no difference), all others by position."""
    key = next((k for k in _MERGE_KEYS if all(isinstance(w, Mapping) and k in w for w in wanted)), None)
    if key is None or len({str(w[key]) for w in wanted}) != len(wanted):
        return len(live) == len(wanted) and all(includes(a, b) for a, b in zip(live, wanted, strict=True))
    by_key = {str(item.get(key)): item for item in live if isinstance(item, Mapping)}
    return all(includes(by_key.get(str(w[key])), w) for w in wanted)


def _same_quantity(live: str | int | float, wanted: str | int | float) -> bool:
    if isinstance(live, bool) or isinstance(wanted, bool):
        return False
    a, b = quantities.number(live), quantities.number(wanted)
    return a is not None and a == b
