"""The conditions of every object as metric series, made when somebody asks and from the cache.

Why a collector: keeping thousands of series up to date would cost more time and memory than the reconciling itself, and
series of deleted objects would have to be hunted down.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from tidemill.kube.cache import Cache

NAME = "tidemill_operator_resource_condition"
_LABELS = ["kind", "namespace", "name", "type", "status"]


class ConditionsCollector(Collector):
    """One series per condition of each object, with the value 1 and its status as a label."""

    def __init__(self, cache: Cache, kinds: Sequence[str]) -> None:
        """`kinds`: those whose conditions are shown."""
        self._cache = cache
        self._kinds = tuple(kinds)

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """Called for every scrape."""
        family = GaugeMetricFamily(NAME, "1 for the current status of each condition of an object.", labels=_LABELS)
        for kind in self._kinds:
            for obj in self._cache.list(kind):
                meta = obj["metadata"]
                for condition in (obj.get("status") or {}).get("conditions") or ():
                    labels = [kind, meta["namespace"], meta["name"], condition["type"], condition["status"]]
                    family.add_metric(labels, 1.0)
        return [family]
