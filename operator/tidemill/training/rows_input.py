"""What a pod is told of the kept rows that it reads, or looks at: from the spec of the input and the deployment's."""

from __future__ import annotations

from tidemill.api.v1alpha1.training_run import KeptRows
from tidemill.api.v1alpha1.training_template import Feedback
from tidemill_contracts.feedback import RowsInput


def rows_input(wanted: Feedback | None, place: KeptRows | None, known: str | None = None) -> RowsInput | None:
    """The part of an input; None where it is not kept rows. `known`: the revision that the last run took."""
    if place is None:
        return None
    wanted = wanted or Feedback()
    return RowsInput(
        uri=place.uri,
        secret=place.secret_ref.name if place.secret_ref else None,
        columns=None if place.columns is None else tuple(place.columns),
        min_new_rows=wanted.min_new_rows,
        max_rows=wanted.max_rows,
        suspected=tuple(place.suspected_clients),
        leave_out=wanted.suspected_clients == "LeaveOut",
        known=known,
    )
