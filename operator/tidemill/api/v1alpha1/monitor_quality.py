"""What a ModelMonitor says of data quality: limits for all features."""

from typing import Annotated

from pydantic import Field

from tidemill.api.base import Model, Ratio
from tidemill_contracts.monitoring import MAX_MISSING_INCREASE, MAX_UNSEEN_RATIO


class Quality(Model):
    """Limits for bad values. They hold for every monitor with drift or quality; what is not set has its default.

    A feature that exceeds a limit in the last judged window makes the condition DataQualityDegraded True. It exceeds
    one when a binomial test excludes chance, so the share that is needed is larger in small windows.
    """

    max_missing_increase: Annotated[
        Ratio | None,
        Field(
            description="Maximum increase of the share of missing or mistyped values in a feature over the share in "
            f"the training data. If not set, {MAX_MISSING_INCREASE} applies, unless maxMissingRatio is set. 1 turns "
            "this check off. With any other value, a feature without any value in a window is always reported."
        ),
    ] = None
    max_missing_ratio: Ratio | None = None
    """Maximum share of missing or mistyped values in a feature, whatever the training data had. If not set,
    maxMissingIncrease alone applies."""
    max_unseen_ratio: Annotated[
        Ratio | None,
        Field(
            description="Maximum share of categories in a feature that do not occur in the training data. If not set, "
            f"{MAX_UNSEEN_RATIO} applies. 0: a single one is too many. 1 turns this check off."
        ),
    ] = None
    max_out_of_range_ratio: Ratio | None = None
    """Maximum share of values in a numeric feature that are outside of the range of the training data. If not set, the
    range is not checked."""
