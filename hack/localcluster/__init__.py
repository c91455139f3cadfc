"""A Kubernetes cluster for tests and demos in one command, whatever the machine has.

`python -m hack.localcluster up|down|load-image|kubeconfig|status`. It runs in the project's environment.
"""

from hack.localcluster.choice import choose_provider
from hack.localcluster.local.control_plane import control_plane
from hack.localcluster.progress import LocalClusterError, Progress
from hack.localcluster.provider import ClusterStatus, Provider

__all__ = ["ClusterStatus", "LocalClusterError", "Progress", "Provider", "choose_provider", "control_plane"]
