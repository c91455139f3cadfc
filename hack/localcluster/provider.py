"""The one interface to a test cluster, and which provider answers on this machine.

Order: an existing KUBECONFIG (somebody's cluster: we never create or delete it), kind where a container engine
answers, and `local` (host processes) on a bare Linux machine. Nothing outside this package may ask which one it is,
except to print it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

from hack.localcluster.progress import LocalClusterError, Progress

REPOSITORY = Path(__file__).resolve().parents[2]
PROVIDER_NAMES = ("external", "kind", "local")


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


def state_folder() -> Path:
    """Where the local provider keeps all it has: TIDEMILL_STATE or `.tidemill/cluster` of the repository."""
    return Path(os.environ.get("TIDEMILL_STATE", REPOSITORY / ".tidemill" / "cluster")).resolve()


def cache_folder() -> Path:
    """What is worth keeping between clones: TIDEMILL_CACHE, else `tidemill` in the user's cache folder."""
    configured = os.environ.get("TIDEMILL_CACHE")
    if configured:
        return Path(configured).resolve()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tidemill"


def choose_provider(progress: Progress | None = None) -> Provider:
    """The first provider that can work here, or the one that TIDEMILL_PROVIDER names."""
    from hack.localcluster.external import ExternalProvider
    from hack.localcluster.kind import KindProvider, container_engine
    from hack.localcluster.local.cluster import LocalProvider

    progress = progress or Progress()
    wanted = os.environ.get("TIDEMILL_PROVIDER", "")
    if wanted and wanted not in PROVIDER_NAMES:
        raise LocalClusterError(f"TIDEMILL_PROVIDER={wanted!r}: allowed are {', '.join(PROVIDER_NAMES)}")
    local = LocalProvider(state_folder(), progress)
    external = os.environ.get("KUBECONFIG", "")
    # `eval $(make kubeconfig)` leaves our own file in KUBECONFIG: that is still our cluster, not somebody's.
    own = external and Path(external).resolve() in (local.kubeconfig(), KindProvider.kubeconfig_path())
    if wanted == "external" or (not wanted and external and not own):
        return ExternalProvider(progress)
    engine = container_engine() if wanted in ("", "kind") and not local.exists() else None
    # A cluster that was made with an engine is not gone when the engine does not answer: the sentence says so.
    made = KindProvider.kubeconfig_path().exists() and not local.exists()
    if wanted == "kind" or (not wanted and (engine is not None or made)):
        return KindProvider(progress, engine)
    return local
