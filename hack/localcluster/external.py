"""A cluster that somebody else runs, named by a context of their kubeconfig. Nothing of it is created or deleted here.

A KUBECONFIG that points at production is enough to be in it by mistake, so nothing happens there until its context is
named, and the first line says which cluster that is. Images cannot be loaded into it: they have to be pushed to a
registry that its nodes can pull from (IMAGE_PREFIX).
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from subprocess import CompletedProcess
from typing import IO

from hack.localcluster.progress import LocalClusterError, Progress
from hack.localcluster.provider import ClusterStatus
from hack.tools.kubectl import Kubectl


class ExternalProvider:
    """The cluster of a context; `up` only checks that it answers."""

    name = "external"
    loads_images = False

    def __init__(self, progress: Progress, context: str = "") -> None:
        """`context`: its name, empty where nobody has named one."""
        self._progress = progress
        self._context = context

    def up(self) -> None:
        self.announce()
        done = self._readyz()
        if done.returncode != 0:
            raise LocalClusterError(
                f"context {self._context}: the cluster does not answer: {done.stderr.strip()}; leave out CONTEXT and "
                "unset KUBECONFIG to have a cluster made"
            )

    def announce(self) -> None:
        """Say which cluster is used.

        Raises:
            LocalClusterError: nobody has named its context, or the kubeconfig has none of that name.
        """
        if not self.kubeconfig().exists():  # kubectl would ask whatever listens on localhost:8080
            raise LocalClusterError(
                f"KUBECONFIG={self.kubeconfig()}: there is no such file; unset KUBECONFIG to have a cluster made"
            )
        if not self._context:
            raise LocalClusterError(
                f"KUBECONFIG={self.kubeconfig()} leads to a cluster that was not started here{self._current()}. To use "
                "it, name its context: CONTEXT=name. To have a cluster made, unset KUBECONFIG"
            )
        servers = self._servers()
        if self._context not in servers:
            known = ", ".join(sorted(servers)[:10]) + (", …" if len(servers) > 10 else "")
            raise LocalClusterError(
                f"CONTEXT={self._context}: {self.kubeconfig()} has no such context; it has {known or 'none'}"
            )
        self._progress.step(f"context {self._context}: {servers[self._context]}, by {self.kubeconfig()}")

    def _current(self) -> str:
        done = Kubectl().attempt("config", "current-context")
        return f" (its current context is {done.stdout.strip()})" if done.returncode == 0 else ""

    @staticmethod
    def _servers() -> dict[str, str]:
        """Contexts and the addresses of their clusters."""
        done = Kubectl().attempt("config", "view", "-o", "json")
        if done.returncode != 0:
            raise LocalClusterError(f"the kubeconfig cannot be read: {done.stderr.strip()}")
        found = json.loads(done.stdout)
        addresses = {c["name"]: (c.get("cluster") or {}).get("server", "") for c in found.get("clusters") or ()}
        contexts = found.get("contexts") or ()
        return {c["name"]: addresses.get((c.get("context") or {}).get("cluster", ""), "") for c in contexts}

    def down(self) -> None:
        self._progress.step("this is a cluster that was not made here: left alone")

    def load_images(self, archives: Sequence[Path]) -> None:
        self._refuse(", ".join(archive.stem for archive in archives))

    def load_stream(self, reference: str, stream: IO[bytes]) -> None:
        stream.close()
        self._refuse(reference)

    @staticmethod
    def _refuse(names: str) -> None:
        raise LocalClusterError(
            f"images {names} cannot be loaded into a cluster that was not made here: push them to a registry that its "
            "nodes reach, for example `make images PUSH=1 IMAGE_PREFIX=registry.example.com/tidemill`"
        )

    def kubeconfig(self) -> Path:
        configured = os.environ.get("KUBECONFIG", "")
        if not configured and self._context:
            return Path.home() / ".kube" / "config"  # as kubectl has it
        if not configured:
            raise LocalClusterError("provider external needs a context, CONTEXT=name, or the environment's KUBECONFIG")
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
