"""A cluster that somebody else runs, named by KUBECONFIG. Nothing is created or deleted here.

Images cannot be loaded into it: they have to be pushed to a registry that its nodes can pull from (IMAGE_PREFIX).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from subprocess import CompletedProcess
from typing import IO

from hack.localcluster.progress import LocalClusterError, Progress
from hack.localcluster.provider import ClusterStatus
from hack.tools.kubectl import Kubectl


class ExternalProvider:
    """Whatever KUBECONFIG points to; `up` only checks that it answers."""

    name = "external"
    loads_images = False

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def up(self) -> None:
        if not self.kubeconfig().exists():  # kubectl would ask whatever listens on localhost:8080
            raise LocalClusterError(
                f"KUBECONFIG={self.kubeconfig()}: there is no such file; unset KUBECONFIG to have a cluster made"
            )
        self._progress.step(f"cluster of KUBECONFIG={self.kubeconfig()}")
        done = self._readyz()
        if done.returncode != 0:
            raise LocalClusterError(
                f"KUBECONFIG={self.kubeconfig()}: the cluster does not answer: {done.stderr.strip()}; "
                "unset KUBECONFIG to have a cluster made"
            )

    def down(self) -> None:
        self._progress.step("KUBECONFIG names a cluster that was not made here: left alone")

    def load_images(self, archives: Sequence[Path]) -> None:
        self._refuse(", ".join(archive.stem for archive in archives))

    def load_stream(self, reference: str, stream: IO[bytes]) -> None:
        stream.close()
        self._refuse(reference)

    @staticmethod
    def _refuse(names: str) -> None:
        raise LocalClusterError(
            f"images {names} cannot be loaded into the cluster of KUBECONFIG: push them to a registry that its nodes "
            "reach, for example `make images PUSH=1 IMAGE_PREFIX=registry.example.com/tidemill`"
        )

    def kubeconfig(self) -> Path:
        configured = os.environ.get("KUBECONFIG", "")
        if not configured:
            raise LocalClusterError("provider external needs the environment variable KUBECONFIG")
        # kubectl allows a list of files, of which some may not exist; the first is enough for the common case.
        files = [Path(name).resolve() for name in configured.split(os.pathsep) if name]
        if not files:
            raise LocalClusterError(f"KUBECONFIG={configured!r} names no file; unset KUBECONFIG to have a cluster made")
        return next((file for file in files if file.exists()), files[0])

    def status(self) -> ClusterStatus:
        running = self.kubeconfig().exists() and self._readyz().returncode == 0
        return ClusterStatus(self.name, running, self.kubeconfig(), {})

    def _readyz(self) -> CompletedProcess[str]:
        """Ask the API server; the whole KUBECONFIG counts, which may name more than one file."""
        return Kubectl(request_seconds=10).attempt("get", "--raw=/readyz")
