"""Runs that this very process expects or has observed, as client-go's expectations. Shared by both reconcilers.

Why: a run has no Job for a moment after it was made. Of a run of its own a process knows that no Job was made before;
of one that it found it does not, and looks before it makes one: a run is tried once (docs/decisions/0077, 0094). And a
run that was seen and is gone was deleted, however little the API server remembers.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from tidemill.core.children import controller_of

_REMEMBERED = 20_000


class RunExpectations:
    """Names of such runs. Used within one event loop."""

    def __init__(self) -> None:
        """None yet."""
        self._names: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._seen: OrderedDict[tuple[str, str], None] = OrderedDict()
        """By uid of the pipeline and name: a pipeline that is made again makes another run of the same name."""

    def expect(self, namespace: str, name: str, pipeline_uid: str) -> None:
        """Remembers a run; the oldest of very many are forgotten, and then looked for like anybody else's.

        An earlier run of that pipeline and name was another one: the new one is seen when it is there.
        """
        self._seen.pop((pipeline_uid, name), None)
        self._names[namespace, name] = None
        while len(self._names) > _REMEMBERED:
            self._names.popitem(last=False)

    def take(self, namespace: str, name: str) -> bool:
        """Whether it is one; True once, since after the first attempt to make its Job nothing is certain any more."""
        return self._names.pop((namespace, name), ()) is None

    def observed(self, run: dict[str, Any]) -> None:
        """Remembers that this run exists; the oldest of very many are forgotten."""
        self._seen[controller_of(run).get("uid", ""), run["metadata"]["name"]] = None
        while len(self._seen) > _REMEMBERED:
            self._seen.popitem(last=False)

    def was_observed(self, pipeline_uid: str, name: str) -> bool:
        """Whether a run of that name of that very pipeline has existed."""
        return (pipeline_uid, name) in self._seen
