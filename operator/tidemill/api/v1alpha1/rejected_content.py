"""What a TrainingPipeline's status says of content that people have rejected."""

from __future__ import annotations

from tidemill.api.base import Digest, Model, ObjectName, Time


class RejectedContent(Model):
    """Content of a version that a person has rejected. Under another number it is not approved automatically."""

    digest: Digest
    """Digest of the version that was rejected (spec.digest)."""
    version: ObjectName
    """Name of the version that was rejected. It may have been removed since."""
    time: Time
    """Time of the rejection."""
