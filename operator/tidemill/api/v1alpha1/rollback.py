"""The ways back of a ModelDeployment: which earlier versions it returns to, and from which ones it returned."""

from typing import Annotated

from pydantic import Field

from tidemill.api.base import Digest, Model, Time


class RollbackWindow(Model):
    """Which earlier versions a deployment returns to without steps."""

    versions: Annotated[int, Field(ge=0, le=10)] = 2
    """Number of versions, of those that were stable before the current one, that get all requests as soon as their pods
    are ready, without steps and without analysis. An older version is rolled out like a new one. 0: every version is
    rolled out like a new one, except after a rejection or a rollback that a ModelMonitor requested."""


class EarlierVersion(Model):
    """A version that was stable before."""

    version: str
    """Name of the ModelVersion."""
    digest: Digest
    """Digest of the version."""


class FailedVersion(Model):
    """A version that this deployment rolled back.

    It is not deployed again until the relevant parts of the spec change, the annotation tidemill.io/retry gets a new
    value, or the rollback is lifted on the ModelVersion.
    """

    version: str
    """Name of the ModelVersion."""
    digest: Digest
    """Digest of the version."""
    reason: str
    """Why the version was rolled back: one CamelCase word, for example AnalysisFailed."""
    message: str
    """Explanation of the reason."""
    time: Time
    """Time of the rollback."""
    spec: Annotated[str, Field(max_length=71)] = ""
    """Digest of the relevant parts of the spec at the time of the rollback: all fields except suspend, replicas,
    autoscaling, router, logging and networkPolicies."""
