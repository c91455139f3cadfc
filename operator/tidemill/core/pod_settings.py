"""What is said of a `pod` section that is not in force: names that are refused now and were stored before."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from tidemill.api.v1alpha1 import pod_names
from tidemill.api.v1alpha1.pod_settings import PodSettings
from tidemill.core.conditions import Condition
from tidemill_contracts.schemes import listed

POD_SETTINGS_APPLIED: Final = "PodSettingsApplied"
NAMES_REFUSED: Final = "NamesRefused"
REASONS: Final = frozenset({NAMES_REFUSED})
_SHOWN = 10


def conditions(sections: Mapping[str, PodSettings | None]) -> list[Condition]:
    """PodSettingsApplied: False while a section names what its pods do not get; absent otherwise.

    `sections`: by their path, as `spec.server.pod`.
    """
    found = [
        f"{path}.{name}"
        for path, said in sections.items()
        if said is not None
        for name in pod_names.refused(said.labels, said.annotations, ((e.name, e.value) for e in said.env))
    ]
    if not found:
        return []
    more = [f"{len(found) - _SHOWN} more"] if len(found) > _SHOWN else []
    text = f"stored before it was refused, and ignored: {listed([*found[:_SHOWN], *more], 'and')}"
    return [Condition(POD_SETTINGS_APPLIED, "False", NAMES_REFUSED, text)]
