"""Runs that this very process starts or has observed, as client-go's expectations. Shared by both reconcilers.

Why: a run has no Job for a moment after it was made. Of a run of its own a process knows that no Job was made before;
of one that it found it does not, and looks before it makes one: a run is tried once (docs/decisions/0077, 0094). And a
run that was seen and is gone was deleted, however little the API server remembers. Decision 202: why not from status.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from tidemill.core.children import controller_of
from tidemill.core.plan import Key, Plan
from tidemill.engine.memory import Memory
from tidemill.training import records
from tidemill.training.records import RunRecord

_REMEMBERED = 20_000


class RunExpectations:
    """Names of such runs. Used within one event loop."""

    def __init__(self) -> None:
        """None yet."""
        self._names: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._seen: OrderedDict[tuple[str, str], None] = OrderedDict()
        """By uid of the pipeline and name: a pipeline that is made again makes another run of the same name."""
        self._last = Memory[tuple[RunRecord, str]]()

    def begin(self, pipeline: dict[str, Any], plan: Plan) -> None:
        """Remembers the run that a pipeline's plan makes, before it is made: whether it was is known only afterwards.

        The oldest of very many are forgotten, and then looked for like anybody else's. An earlier run of that pipeline
        and name was another one: the new one is seen when it is there.
        """
        for manifest in plan.apply:
            if manifest["kind"] != "TrainingRun":
                continue
            meta, own = manifest["metadata"], pipeline["metadata"]
            self._seen.pop((own["uid"], meta["name"]), None)
            self._names[meta["namespace"], meta["name"]] = None
            while len(self._names) > _REMEMBERED:
                self._names.popitem(last=False)
            made = {"creationTimestamp": manifest["spec"]["trigger"]["time"], "uid": "", **meta}
            key = Key("TrainingPipeline", own["namespace"], own["name"])
            record = records.run_record({**manifest, "metadata": made})
            self._last.put(key, own["uid"], (record, own["resourceVersion"]))

    def last(self, pipeline: Key, uid: str) -> tuple[RunRecord, str] | None:
        """The run that was last begun for a pipeline, and the pipeline's resourceVersion before it."""
        return self._last.get(pipeline, uid)

    def forget(self, pipeline: Key) -> None:
        """Drops the last run of a pipeline that is gone."""
        self._last.forget(pipeline)

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
