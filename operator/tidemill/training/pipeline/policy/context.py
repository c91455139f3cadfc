"""A snapshot with what was concluded from it once: the one argument of every trigger and limit."""

from __future__ import annotations

from dataclasses import dataclass

from tidemill.training.pipeline.policy import history as histories
from tidemill.training.pipeline.policy import inputs as all_inputs
from tidemill.training.pipeline.policy.history import History
from tidemill.training.pipeline.snapshot import PipelineSnapshot
from tidemill.training.pipeline.state import Inputs, Problem


@dataclass(frozen=True, slots=True)
class Context:
    """Where a pipeline stands."""

    snapshot: PipelineSnapshot
    history: History
    inputs: Inputs | None
    problem: Problem | None
    """Set exactly when `inputs` is None."""

    @property
    def trained(self) -> bool:
        """Whether this pipeline has run and any version was ever registered.

        A pipeline that was deleted and made again finds the versions of its predecessor, but has not run itself.
        """
        registered = bool(self.snapshot.versions) or self.snapshot.pipeline.status.versions > 0
        return registered and self.history.observed is not None


def context(snapshot: PipelineSnapshot) -> Context:
    """Conclude once what all policies need."""
    found = all_inputs.inputs(snapshot)
    past = histories.history(snapshot)
    if isinstance(found, Problem):
        return Context(snapshot, past, None, found)
    return Context(snapshot, past, found, None)
