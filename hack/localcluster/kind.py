"""kind: nodes as containers, where Docker or podman answers. One cluster named `tidemill`."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from hack.localcluster.progress import LocalClusterError, Progress
from hack.localcluster.provider import REPOSITORY, ClusterStatus, cache_folder
from hack.tools.go import go_toolchain

_CLUSTER = "tidemill"
# Its default node image is Kubernetes 1.34, as the local provider.
_KIND_VERSION = "v0.30.0"
_CONFIGURATION = Path(__file__).parent / "kind.yaml"


def container_engine() -> str | None:
    """`docker` or `podman` when its engine answers."""
    for engine in ("docker", "podman"):
        if shutil.which(engine) is None:
            continue
        try:
            done = subprocess.run(
                [engine, "info"], capture_output=True, stdin=subprocess.DEVNULL, timeout=20, check=False
            )
        except subprocess.TimeoutExpired:
            continue
        if done.returncode == 0:
            return engine
    return None


class KindProvider:
    """A kind cluster; its kubeconfig is a file of its own, the user's stays as it is."""

    name = "kind"

    def __init__(self, progress: Progress, engine: str | None) -> None:
        self._progress = progress
        self._engine = engine

    @staticmethod
    def kubeconfig_path() -> Path:
        return REPOSITORY / ".tidemill" / "kind.kubeconfig"

    def kubeconfig(self) -> Path:
        return self.kubeconfig_path()

    def up(self) -> None:
        self.kubeconfig().parent.mkdir(parents=True, exist_ok=True)
        if _CLUSTER in self._clusters():
            self._kind("export", "kubeconfig", f"--name={_CLUSTER}", f"--kubeconfig={self.kubeconfig()}")
            self._progress.step(f"the kind cluster is up already; KUBECONFIG={self.kubeconfig()}")
            return
        # Images of a cluster that is no more.
        (self.kubeconfig().parent / "kind-images.json").unlink(missing_ok=True)
        self._progress.step("creating the kind cluster (the node image is pulled the first time)")
        self._kind(
            "create",
            "cluster",
            f"--name={_CLUSTER}",
            f"--config={_CONFIGURATION}",
            f"--kubeconfig={self.kubeconfig()}",
            "--wait=180s",
        )
        self._progress.step(f"the kind cluster is up; KUBECONFIG={self.kubeconfig()}")

    def down(self) -> None:
        self._kind("delete", "cluster", f"--name={_CLUSTER}", f"--kubeconfig={self.kubeconfig()}")
        self.kubeconfig().unlink(missing_ok=True)
        self._progress.step("the kind cluster is gone")

    def load_images(self, archives: Sequence[Path]) -> None:
        for archive in archives:
            self._kind("load", "image-archive", str(archive), f"--name={_CLUSTER}")

    def load_stream(self, reference: str, stream: IO[bytes]) -> None:
        with tempfile.TemporaryDirectory(prefix="tidemill-") as folder:
            archive = Path(folder) / "image.tar"
            with archive.open("wb") as out:
                shutil.copyfileobj(stream, out)
            self._progress.step(f"kind load {reference}")
            self.load_images([archive])

    def status(self) -> ClusterStatus:
        running = self._engine is not None and _CLUSTER in self._clusters()
        return ClusterStatus(self.name, running, self.kubeconfig(), {"engine": self._engine or "does not answer"})

    def _clusters(self) -> list[str]:
        return self._kind("get", "clusters").split()

    def _kind(self, *arguments: str) -> str:
        if self._engine is None:
            raise LocalClusterError("provider kind needs a container engine that answers: start Docker or podman")
        environment = {**os.environ, "KIND_EXPERIMENTAL_PROVIDER": self._engine}
        command = [str(_kind_program(self._progress)), *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise LocalClusterError(f"kind {' '.join(arguments[:2])} failed: {done.stderr.strip()}")
        return done.stdout


def _kind_program(progress: Progress) -> Path:
    """kind of PATH, else built from its Go module into the user's cache."""
    on_path = shutil.which("kind")
    if on_path:
        return Path(on_path)
    folder = cache_folder() / "kind" / _KIND_VERSION
    if not (folder / "kind").exists():
        progress.step(f"building kind {_KIND_VERSION}")
        command = [str(go_toolchain()), "install", f"sigs.k8s.io/kind@{_KIND_VERSION}"]
        environment = {**os.environ, "GOBIN": str(folder), "CGO_ENABLED": "0"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise LocalClusterError(f"`{' '.join(command)}` failed: {done.stderr.strip()[-2000:]}")
    return folder / "kind"
