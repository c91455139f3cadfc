"""docker, podman and buildah behind one interface: build a target, say what an image is, stream it out."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

from hack.localcluster.kind import container_engine
from hack.localcluster.progress import LocalClusterError, Progress
from hack.tools.debian import install
from hack.tools.paths import cache_folder


class Engine:
    """One program that builds images. `command` holds the program and the options that come before any verb."""

    def __init__(self, name: str, command: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        self.name = name
        self._command = list(command)
        self._environment = {**os.environ, **(environment or {})}

    def run(self, *arguments: str, check: bool = True) -> str:
        """stdout of one verb. Raises LocalClusterError with the end of stderr."""
        done = subprocess.run(
            [*self._command, *arguments],
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode == 0:
            return done.stdout.strip()
        if not check:
            return ""
        raise LocalClusterError(f"{self.name} {' '.join(arguments[:2])} failed:\n{done.stderr.strip()[-4000:]}")

    def build(self, target: str, tag: str, context: Path, base: str | None, ca: Path | None) -> None:
        """Build one target of the Containerfile as `tag`. `ca` is a bundle that is only mounted while building."""
        arguments = ["build", "--file", str(context / "images" / "Containerfile"), "--target", target, "--tag", tag]
        if self.name == "buildah":
            # Without it buildah keeps no layer for the next time.
            arguments += ["--layers"]
        if base:
            arguments += ["--build-arg", f"BASE_IMAGE={base}"]
        if base and self.name == "buildah":
            arguments += ["--pull=never"]
        if ca:
            arguments += ["--secret", f"id=ca,src={ca}"]
        self.run(*arguments, str(context))

    def image_id(self, tag: str) -> str:
        """The digest of the image's configuration, empty when there is no such image."""
        if self.name == "buildah":
            return self.run("images", "--quiet", "--no-trunc", tag, check=False)
        return self.run("image", "inspect", "--format", "{{.Id}}", tag, check=False)

    def push(self, tag: str) -> None:
        """Bring an image to the registry that its name begins with; the user is logged in there."""
        self.run("push", "--quiet", tag, *([f"docker://{tag}"] if self.name == "buildah" else []))

    @contextlib.contextmanager
    def stream(self, tag: str) -> Iterator[IO[bytes]]:
        """The image as a docker-archive, readable while it is written. Raises LocalClusterError when that fails."""
        if self.name != "buildah":
            command = [*self._command, "save", tag]
            with subprocess.Popen(command, env=self._environment, stdout=subprocess.PIPE) as process:
                assert process.stdout is not None
                yield process.stdout
            if process.returncode:
                raise LocalClusterError(f"{self.name} save {tag} failed with exit code {process.returncode}")
            return
        with tempfile.TemporaryDirectory(prefix="tidemill-") as folder:
            pipe = Path(folder) / "archive"
            os.mkfifo(pipe)
            command = [*self._command, "push", "--quiet", tag, f"docker-archive:{pipe}:{tag}"]
            writer = subprocess.Popen(command, env=self._environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
            end = threading.Thread(target=_wait_and_release, args=(writer, pipe))
            end.start()
            reader = pipe.open("rb")
            try:
                yield reader
                # What follows the last member (padding) must be taken off too, or the writer blocks for ever.
                while reader.read(1 << 20):
                    pass
            finally:
                reader.close()
                end.join()
                message = writer.stderr.read().decode() if writer.stderr else ""
                if writer.stderr:
                    writer.stderr.close()
            if writer.returncode:
                raise LocalClusterError(f"buildah push {tag} failed: {message.strip()}")


def _wait_and_release(writer: subprocess.Popen[bytes], pipe: Path) -> None:
    """A writer that fails before it opens the pipe would leave the reader waiting for somebody to open it."""
    writer.wait()
    with contextlib.suppress(OSError):
        os.close(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK))


def choose_engine(progress: Progress) -> Engine:
    """docker or podman where an engine answers, else buildah (installed on Debian as root)."""
    engine = container_engine()
    if engine:
        # Attestations would make an image of one platform an index, which not every containerd imports.
        return Engine(engine, [engine], {"DOCKER_BUILDKIT": "1", "BUILDX_NO_DEFAULT_ATTESTATIONS": "1"})
    if os.geteuid() != 0 and shutil.which("buildah") is None:
        raise LocalClusterError(
            "no docker or podman answers and buildah is missing; run: sudo apt-get install -y buildah"
        )
    missing = [name for name in ("buildah", "mmdebstrap") if shutil.which(name) is None]
    if missing:
        install(missing, progress.step)
    root = cache_folder() / "buildah"
    temporary = root / "tmp"
    temporary.mkdir(parents=True, exist_ok=True)
    options = ["--root", str(root / "storage"), "--runroot", str(root / "run"), "--storage-driver", _driver(root)]
    # chroot: a build needs no containers of its own, so it works inside one; TMPDIR also holds the cache mounts.
    environment = {"BUILDAH_ISOLATION": "chroot", "TMPDIR": str(temporary)}
    return Engine("buildah", ["buildah", *options], environment)


def _driver(folder: Path) -> str:
    """overlay, unless the folder is itself on an overlay, where it cannot be stacked."""
    done = subprocess.run(
        ["stat", "--file-system", "--format=%T", str(folder)], capture_output=True, text=True, check=True
    )
    return "vfs" if done.stdout.strip() == "overlayfs" else "overlay"
