"""Asks server pods which form they serve, where a version's record does not say; each pod once in its life.

What a pod may say is a runtime and one of two words, so the worst that a false pod can do is to have a status say the
one instead of the other.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from tidemill.core.plan import Key
from tidemill.engine.contract import Deps
from tidemill.kube.ownership import PodOwners
from tidemill.kube.scraper import Limits
from tidemill.serving.pod_answers import PodAnswers
from tidemill.serving.snapshot import Version, Workload, is_checked_on_load
from tidemill_contracts.inference import FORM_PATH, ServedForm
from tidemill_contracts.runtimes import RequestedRuntime

Obj = dict[str, Any]

LIMITS = Limits(seconds=2.0, bytes=1 << 16)
"""What asking the servers of a deployment may take; an answer is 130 bytes."""
PODS = 8
"""Pods of one version that are asked: they have the same files and the same rule."""


class RuntimeProbe:
    """See the module."""

    def __init__(self, deps: Deps, owners: PodOwners) -> None:
        """Asks nobody yet."""
        self._answers = PodAnswers(deps, owners, path=FORM_PATH, limits=LIMITS, most=PODS, read=_read)

    def forget(self, key: Key) -> None:
        """Drops what is known of the pods of a deployment."""
        self._answers.forget(key)

    async def observed(
        self, key: Key, obj: Obj, requested: RequestedRuntime, workloads: tuple[Workload, ...]
    ) -> tuple[Workload, ...]:
        """The workloads with what their pods serve, for those of which only the pods can say it."""
        asked = [w for w in workloads if is_checked_on_load(requested, w.version, allow_pickle=True, allow_code=True)]
        said = await self._answers.of(key, obj, asked)
        return tuple(replace(w, forms=_forms(w.version, said[w.name])) if w.name in said else w for w in workloads)


def _read(body: bytearray) -> ServedForm | None:
    """What a pod said; None where that is nothing a server says, as of an image from before."""
    try:
        return ServedForm.from_json(bytes(body))
    except ValidationError:
        return None


def _forms(version: Version, said: Iterable[ServedForm]) -> frozenset[ServedForm]:
    """What pods serve of this version by the rule of now: one of `runtime: Native` is about to be replaced."""
    return frozenset(
        form for form in said if form.digest == version.digest and (form.runtime == "Native") == bool(form.surprise)
    )
