"""kind: nodes as containers, where Docker or podman answers. One cluster named `tidemill`.

Whether there is one is asked of the engine, by kind's own label: kind itself is needed, and if need be built, only to
make a cluster, to load images and to delete it.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from hack.localcluster.progress import LocalClusterError, Progress, wait_until
from hack.localcluster.provider import ClusterStatus
from hack.tools.go import go_toolchain
from hack.tools.kubectl import Kubectl
from hack.tools.paths import REPOSITORY, cache_folder

_CLUSTER = "tidemill"
_LABEL = "io.x-k8s.kind.cluster"
_ROLE_LABEL = "io.x-k8s.kind.role"
_KIND_VERSION = "v0.30.0"
# Kubernetes 1.34 as the local provider has it, whatever a newer kind of PATH would take; the digest is that release's.
_NODE_IMAGE = "kindest/node:v1.34.0@sha256:7416a61b42b1662ca6ca89f02028ac133a309a2a30ba309614e8ec94d976dc5a"
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
    loads_images = True

    def __init__(self, progress: Progress, engine: str | None) -> None:
        self._progress = progress
        self._engine = engine

    @staticmethod
    def kubeconfig_path() -> Path:
        return REPOSITORY / ".tidemill" / "kind.kubeconfig"

    def kubeconfig(self) -> Path:
        return self.kubeconfig_path()

    def _marker(self) -> Path:
        """Holds the id of the control plane's container that this clone made."""
        return self.kubeconfig().parent / "kind-made-here"

    def _made_here(self) -> bool:
        """Whether the cluster was made from this clone; another clone may use it, and must not delete it."""
        made = self._marker().read_text().strip() if self._marker().exists() else ""
        return bool(made) and made == self._control_plane()

    def _control_plane(self) -> str:
        """The id of the control plane's container: names are the same in every cluster, ids are not."""
        labels = ["--filter", f"label={_LABEL}={_CLUSTER}", "--filter", f"label={_ROLE_LABEL}=control-plane"]
        return self._run([self._answering(), "ps", "--all", "--no-trunc", *labels, "--format", "{{.ID}}"]).strip()

    def up(self) -> None:
        self.kubeconfig().parent.mkdir(parents=True, exist_ok=True)
        if self._nodes("--all"):
            self._kind("export", "kubeconfig", f"--name={_CLUSTER}", f"--kubeconfig={self.kubeconfig()}")
            self._start_stopped_nodes()
            whose = "is up already" if self._made_here() else "of another clone is up and is used"
            self._progress.step(f"the kind cluster {_CLUSTER} {whose}; KUBECONFIG={self.kubeconfig()}")
            return
        self._progress.step("creating the kind cluster (the node image is pulled the first time)")
        try:
            self._kind(
                "create",
                "cluster",
                f"--name={_CLUSTER}",
                f"--image={_NODE_IMAGE}",
                f"--config={_CONFIGURATION}",
                f"--kubeconfig={self.kubeconfig()}",
                "--wait=180s",
            )
        except LocalClusterError:
            # kind removed what it had made; what is there now, another clone made meanwhile.
            raise
        except BaseException:  # interrupted: kind may leave what it had made
            self._marker().write_text(self._control_plane())
            raise
        self._marker().write_text(self._control_plane())
        self._progress.step(f"the kind cluster is up; KUBECONFIG={self.kubeconfig()}")

    def down(self) -> None:
        there = bool(self._nodes("--all"))
        ours = there and self._made_here()
        if there and ours:
            self._kind("delete", "cluster", f"--name={_CLUSTER}", f"--kubeconfig={self.kubeconfig()}")
        for file in (self.kubeconfig(), self._marker()):
            file.unlink(missing_ok=True)
        left = there and not ours
        self._progress.step(
            f"the kind cluster {_CLUSTER} was made from another clone and is left alone; "
            f"to remove it: kind delete cluster --name={_CLUSTER}"
            if left
            else "the kind cluster is gone"
        )

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
        nodes = self._nodes() if self._engine is not None else []
        components = {"engine": self._engine or "does not answer", **dict.fromkeys(nodes, "running")}
        return ClusterStatus(self.name, bool(nodes), self.kubeconfig(), components)

    def _nodes(self, *more: str) -> list[str]:
        """Names of the cluster's node containers that run; with `--all` of those that are stopped as well."""
        arguments = ["ps", *more, "--filter", f"label={_LABEL}={_CLUSTER}", "--format", "{{.Names}}"]
        return self._run([self._answering(), *arguments]).split()

    def _start_stopped_nodes(self) -> None:
        """Start nodes that a restart of the engine left stopped, and wait until the API server answers."""
        stopped = sorted(set(self._nodes("--all")) - set(self._nodes()))
        if stopped:
            self._progress.step(f"starting {', '.join(stopped)}")
            self._run([self._answering(), "start", *stopped])
        try:
            wait_until("the API server of the kind cluster", self._answers, seconds=90, every=1)
        except LocalClusterError as error:
            # `make cluster-down` leaves alone what another clone made, or this one before it was killed.
            anew = "make cluster-down" if self._made_here() else f"kind delete cluster --name={_CLUSTER} && make"
            raise LocalClusterError(f"{error}; make it anew: {anew} cluster") from error

    def _answers(self) -> bool:
        kubectl = Kubectl(kubeconfig=self.kubeconfig(), request_seconds=5)
        return kubectl.attempt("get", "--raw=/readyz").returncode == 0

    def _answering(self) -> str:
        if self._engine is None:
            raise LocalClusterError("provider kind needs a container engine that answers: start Docker or podman")
        return self._engine

    def _kind(self, *arguments: str) -> str:
        self._answering()
        return self._run([str(_kind_program(self._progress)), *arguments])

    def _run(self, command: list[str]) -> str:
        environment = {**os.environ, "KIND_EXPERIMENTAL_PROVIDER": self._answering()}
        done = subprocess.run(
            command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            shown = " ".join([Path(command[0]).name, *command[1:3]])
            raise LocalClusterError(f"{shown} failed: {done.stderr.strip()[-4000:]}")
        return done.stdout


def _kind_program(progress: Progress) -> Path:
    """kind of PATH unless it is too old for the node image, else built from its Go module into the user's cache."""
    on_path = shutil.which("kind")
    if on_path and _version_of(on_path) >= _numbers(_KIND_VERSION):
        return Path(on_path)
    folder = cache_folder() / "kind" / _KIND_VERSION
    if not (folder / "kind").exists():
        progress.step(f"building kind {_KIND_VERSION}")
        command = [str(go_toolchain()), "install", f"sigs.k8s.io/kind@{_KIND_VERSION}"]
        environment = {**os.environ, "GOBIN": str(folder), "CGO_ENABLED": "0", "GOFLAGS": "-buildvcs=false"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise LocalClusterError(f"`{' '.join(command)}` failed: {done.stderr.strip()[-2000:]}")
    return folder / "kind"


def _version_of(program: str) -> tuple[int, ...]:
    """Major and minor version that a kind says it has; empty when it does not say."""
    return _numbers(subprocess.run([program, "version"], capture_output=True, text=True, check=False).stdout)


def _numbers(text: str) -> tuple[int, ...]:
    found = re.search(r"v?(\d+)\.(\d+)", text)
    return (int(found[1]), int(found[2])) if found else ()
