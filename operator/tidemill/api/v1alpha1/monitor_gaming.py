"""What a ModelMonitor says of clients that may game the system."""

from typing import Annotated

from pydantic import Field

from tidemill.api.base import Model, Ratio
from tidemill_contracts.gaming import FALSE_ALARMS_PER_MONTH, MAX_LABEL_DIFFERENCE

Share = Annotated[float, Field(ge=0, lt=1)]


class Gaming(Model):
    """Limits for single clients, known by their keys. The ModelDeployment must have set spec.access.

    Only keyed hashes of their names are stored. The condition GamingSuspected says which client exceeds a limit, and
    by which evidence. A share exceeds one when chance is excluded. Nothing is done about it.
    """

    max_predictions_per_minute: Annotated[int | None, Field(ge=1, le=1_000_000_000)] = None
    """Maximum number of recorded predictions (rows, not requests) that one client gets in one minute. If not set, it is
    not limited."""
    max_near_duplicate_share: Share | None = None
    """Maximum share of a client's rows that nearly equal an earlier row of the same client: each number within a
    twentieth of its standard deviation, each text the same. If not set, it is not limited."""
    max_label_share_of_client: Share | None = None
    """Maximum share of all labels that one client sends. Not judged on the first day of a period of 30 days. If not
    set, it is not limited."""
    max_foreign_label_share: Share | None = None
    """Maximum share of a client's labels that are for predictions of another client. If not set, it is not limited, as
    where one client sends the labels for all."""
    max_label_difference: Annotated[Ratio, Field(lt=1)] = MAX_LABEL_DIFFERENCE
    """Maximum difference between a client and all others in how often labels agree with predictions of the same class
    and score (regression: in how often they are above the prediction). Judged from three clients with labels."""
    false_alarms_per_month: Annotated[float, Field(gt=0, le=10)] = FALSE_ALARMS_PER_MONTH
    """Expected number of honest clients that are suspected within 30 days, at most, of all clients together, however
    often they are judged. Holds where labels and rows are independent of one another. maxPredictionsPerMinute is no
    test and not part of it."""
