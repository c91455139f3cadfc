"""What the server says of itself and its model, whatever the protocol: names, versions, tensors.

The one place that decides which model and version a request may name. Reads the data plane, changes nothing.
"""

from typing import Any

from tidemill_contracts.artifact import ColumnSpec
from tidemill_runtime.model.errors import NotFoundError
from tidemill_runtime.server.dataplane.dataplane import DataPlane

SERVER = "tidemill"


class Description:
    """Metadata of the one model that a server has."""

    def __init__(self, plane: DataPlane) -> None:
        self._plane = plane
        self._name = plane.config.deployment
        self._number = plane.config.number

    def check(self, model: str, version: str | None = None) -> None:
        """Refuse names that this server does not have.

        Raises:
            NotFoundError: says what it has.
        """
        if model != self._name:
            raise NotFoundError(f"unknown model {model!r}; this server has {self._name!r}")
        if version is not None and version != self._number:
            raise NotFoundError(f"model {model!r} has no version {version!r} here; it has {self._number!r}")

    def model(self) -> dict[str, Any]:
        """Return the model's metadata as the protocol shapes it; inputs are those that a request must have."""
        signature = self._plane.warm.manifest.signature
        return {
            "name": self._name,
            "versions": [self._number],
            "platform": self._plane.warm.model.platform,
            "inputs": [_tensor(column) for column in signature.used_inputs],
            "outputs": [_tensor(column) for column in signature.outputs],
        }


def _tensor(column: ColumnSpec) -> dict[str, Any]:
    return {"name": column.name, "datatype": column.datatype, "shape": list(column.shape)}
