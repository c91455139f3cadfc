"""Runs that this very process has decided to make. Shared by the pipeline's and the run's reconciler; holds no object.

Why: a run has no Job for a moment after it was made. Of a run of its own a process knows that no Job was made before;
of one that it found it does not, and looks before it makes one: a run is tried once (docs/decisions/0077, 0094).
"""

from __future__ import annotations

from collections import OrderedDict

_REMEMBERED = 20_000


class OwnRuns:
    """Names of such runs. Used within one event loop."""

    def __init__(self) -> None:
        """None yet."""
        self._names: OrderedDict[tuple[str, str], None] = OrderedDict()

    def add(self, namespace: str, name: str) -> None:
        """Remembers a run; the oldest of very many are forgotten, and then looked for like anybody else's."""
        self._names[namespace, name] = None
        while len(self._names) > _REMEMBERED:
            self._names.popitem(last=False)

    def take(self, namespace: str, name: str) -> bool:
        """Whether it is one; True once, since after the first attempt to make its Job nothing is certain any more."""
        return self._names.pop((namespace, name), ()) is None
