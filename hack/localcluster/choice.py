"""Which provider works on this machine.

Order: a context that is named, or a KUBECONFIG (somebody's cluster: we never create or delete it, and touch it only by
the name of its context), kind where a container engine answers, and `local` (host processes) on a bare Linux machine.
"""

from __future__ import annotations

import os
from pathlib import Path

from hack.localcluster.external import ExternalProvider
from hack.localcluster.kind import KindProvider, container_engine
from hack.localcluster.local.cluster import LocalProvider
from hack.localcluster.progress import LocalClusterError, Progress
from hack.localcluster.provider import Provider
from hack.tools.kubectl import CONTEXT
from hack.tools.paths import REPOSITORY

PROVIDER_NAMES = ("external", "kind", "local")


def state_folder() -> Path:
    """Where the local provider keeps all it has: TIDEMILL_STATE or `.tidemill/cluster` of the repository."""
    return Path(os.environ.get("TIDEMILL_STATE", REPOSITORY / ".tidemill" / "cluster")).resolve()


def choose_provider(progress: Progress | None = None) -> Provider:
    """The first provider that can work here, or the one that TIDEMILL_PROVIDER or TIDEMILL_CONTEXT names."""
    progress = progress or Progress()
    wanted = os.environ.get("TIDEMILL_PROVIDER", "")
    if wanted and wanted not in PROVIDER_NAMES:
        raise LocalClusterError(f"TIDEMILL_PROVIDER={wanted!r}: allowed are {', '.join(PROVIDER_NAMES)}")
    context = os.environ.get(CONTEXT, "")
    if context and wanted not in ("", "external"):
        raise LocalClusterError(f"TIDEMILL_PROVIDER={wanted} and CONTEXT={context} name two clusters: leave one out")
    local = LocalProvider(state_folder(), progress)
    external = os.environ.get("KUBECONFIG", "")
    # `eval $(make kubeconfig)` leaves our own file in KUBECONFIG: that is still our cluster, not somebody's.
    own = external and Path(external).resolve() in (local.kubeconfig(), KindProvider.kubeconfig_path())
    if context or wanted == "external" or (not wanted and external and not own):
        return ExternalProvider(progress, context)
    engine = container_engine() if wanted in ("", "kind") and not local.exists() else None
    # A cluster that was made with an engine is not gone when the engine does not answer: the sentence says so.
    made = KindProvider.kubeconfig_path().exists() and not local.exists()
    if wanted == "kind" or (not wanted and (engine is not None or made)):
        return KindProvider(progress, engine)
    return local


def use_cluster(progress: Progress | None = None) -> None:
    """Point kubectl in this process, and in those that it starts, at the cluster that is meant.

    Raises:
        LocalClusterError: it was not started here and its context is not named, or there is none.
    """
    provider = choose_provider(progress)
    if isinstance(provider, ExternalProvider):
        provider.announce()
        return
    kubeconfig = provider.kubeconfig()
    if not kubeconfig.exists():  # kubectl would ask whatever listens on localhost:8080
        raise LocalClusterError(
            "no cluster was started here: run `make cluster`, or name the context of another one, CONTEXT=name"
        )
    os.environ["KUBECONFIG"] = str(kubeconfig)
