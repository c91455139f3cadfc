"""The conditions of every object as metric series, made when somebody asks and from the cache.

Why a collector: keeping thousands of series up to date would cost more time and memory than the reconciling itself, and
series of deleted objects would have to be hunted down. Only the leader shows them: the cache of a standby replica may
be behind, and two replicas would say different things of one object.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from tidemill.kube.cache import Cache
from tidemill_contracts.alerts import CONDITION_SERIES as NAME

_LABELS = ["kind", "namespace", "name", "type", "status", "reason"]
_HELP = "1 for the current status and reason of each condition of an object. Only the leader has these series."
_STATUS = ("True", "False", "Unknown")
_WORD = re.compile(r"[A-Za-z][A-Za-z0-9]{0,63}")
_MOST = 32
"""Conditions of one object that are shown: no kind has half as many."""


class ConditionsCollector(Collector):
    """One series per condition of each object, with the value 1 and its status and reason as labels."""

    def __init__(self, cache: Cache, kinds: Sequence[str], is_leading: Callable[[], bool]) -> None:
        """`kinds`: those whose conditions are shown. `is_leading`: whether this replica is the leader now."""
        self._cache = cache
        self._kinds = tuple(kinds)
        self._is_leading = is_leading

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """Called for every scrape."""
        family = GaugeMetricFamily(NAME, _HELP, labels=_LABELS)
        for kind in self._kinds if self._is_leading() else ():
            for obj in self._cache.list(kind):
                meta = obj["metadata"]
                for condition in _conditions(obj):
                    family.add_metric([kind, meta["namespace"], meta["name"], *condition], 1.0)
        return [family]


def _conditions(obj: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """(type, status, reason) of an object's conditions, each type once.

    Whoever may write a status may write any text there: what is no name of a condition is left out, so that the labels
    stay few and short.
    """
    found = ((obj.get("status") or {}).get("conditions") or ())[:_MOST]
    for type_, condition in {str(c.get("type")): c for c in found}.items():
        status, reason = condition.get("status"), str(condition.get("reason") or "")
        if status in _STATUS and _WORD.fullmatch(type_):
            yield type_, status, reason if _WORD.fullmatch(reason) else ""
