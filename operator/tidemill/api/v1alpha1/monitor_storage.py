"""Where a monitor keeps what it counts."""

from typing import Annotated

from pydantic import Field

from tidemill.api.base import Model, Quantity


class Storage(Model):
    """PersistentVolumeClaim that stores the counters of the monitor."""

    size: Quantity = "1Gi"
    """Requested size of the claim. 60 % of it holds predictions that wait for their labels, about 3,500,000 for 1Gi.
    An existing claim is not resized: to give the monitor more room, increase the size of the claim, too."""
    storage_class_name: Annotated[str | None, Field(max_length=253)] = None
    """Name of the StorageClass of the claim. If not set, the default StorageClass of the cluster is used."""
