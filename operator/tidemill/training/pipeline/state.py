"""What the policies conclude, as data: builders and status read it, and nothing here decides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tidemill.api.v1alpha1.training_run import TriggerType
from tidemill.training.pipeline.snapshot import CodeContent


@dataclass(frozen=True, slots=True)
class Problem:
    """Why no run can start: `stalled` needs a person, otherwise another object will help."""

    reason: str
    message: str
    stalled: bool


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a run that starts now would use."""

    spec_digest: str
    code: CodeContent
    image: str
    data: Mapping[str, str | None]
    """Revision by input; None: only the run itself will know."""
    key: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """A run should start, and why. `suffix` sets runs of one key apart."""

    type: TriggerType
    message: str
    before: str | None = None
    after: str | None = None
    id: str | None = None
    monitor: str | None = None
    suffix: str | None = None
