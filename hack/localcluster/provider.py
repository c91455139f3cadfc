"""The one interface to a test cluster, whatever it is made of; `choice` decides which provider it is on this machine.

Nothing outside this package may ask which one it is, except to print it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol


@dataclass(frozen=True)
class ClusterStatus:
    """What `status` prints. `components` maps a name to a short state such as `running (pid 12)` or `not running`."""

    provider: str
    running: bool
    kubeconfig: Path
    components: dict[str, str]


class Provider(Protocol):
    """A way to have a cluster. Every method raises LocalClusterError with a sentence that says what to do."""

    name: str
    loads_images: bool
    """Whether images of this machine can be brought into the cluster without a registry."""

    def up(self) -> None:
        """Bring the cluster up, or heal it; quick when it is healthy already."""

    def down(self) -> None:
        """Remove everything that `up` made and nothing else; fine when there is nothing."""

    def load_images(self, archives: Sequence[Path]) -> None:
        """Make the images of docker-archive or OCI tar files known to every node."""

    def load_stream(self, reference: str, stream: IO[bytes]) -> None:
        """Make the image `reference`, read as a docker-archive, known to every node."""

    def kubeconfig(self) -> Path:
        """The kubeconfig of an administrator; the file may not exist before `up`."""

    def status(self) -> ClusterStatus:
        """Never fails because the cluster is down."""
