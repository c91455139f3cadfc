"""A real S3 server for tests: versitygw over a temporary folder, built from its Go module by `make test-programs`."""

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hack.tools.go import built_once, go_toolchain
from hack.tools.paths import cache_folder
from tests.support.programs import needed

VERSION = "v1.8.0"
MODULE = f"github.com/versity/versitygw/cmd/versitygw@{VERSION}"
ACCESS_KEY = "tidemill"
SECRET_KEY = "tidemill-secret"
REGION = "eu-central-1"


@dataclass(frozen=True)
class S3Server:
    """A running server with one account; a bucket is a folder of `folder`, an object a file."""

    endpoint: str
    folder: Path

    @property
    def secret(self) -> dict[str, str]:
        """Return the content of a Secret for this server, by key."""
        return {
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_REGION": REGION,
            "AWS_ENDPOINT_URL": self.endpoint,
        }

    def client(self) -> Any:
        """Return another vendor's client, to look at what ours wrote."""
        import boto3  # takes longer than most tests
        from botocore.config import Config

        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=SECRET_KEY,
            region_name=REGION,
            config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 1}),
        )


def binary() -> Path:
    """Return the server's binary.

    Raises:
        RuntimeError: it was not built; names the command that does.
    """
    return needed("the S3 server", _program())


def build() -> None:
    """Build the server into the user's cache when it is not there yet (two minutes).

    Raises:
        ToolError: there is no Go and it cannot be installed.
        RuntimeError: the build failed; the message is what Go said.
    """
    built_once(_program(), _build)


def _program() -> Path:
    return cache_folder() / "versitygw" / VERSION / "versitygw"


def _build(path: Path) -> None:
    """Build beside the final place and rename: a build that was stopped leaves no broken program behind."""
    go = go_toolchain()
    sys.stderr.write(f"building versitygw {VERSION} (once; about 2 minutes on 2 cores)\n")
    with tempfile.TemporaryDirectory(dir=path.parent) as unfinished:
        environment = {**os.environ, "CGO_ENABLED": "0", "GOBIN": unfinished, "GOFLAGS": "-buildvcs=false"}
        command = [str(go), "install", "-trimpath", "-ldflags", "-s -w", MODULE]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=1800)
        if done.returncode != 0:
            raise RuntimeError(f"`{' '.join(command)}` failed: {done.stderr.strip()[-2000:]}")
        Path(unfinished, path.name).rename(path)


@contextlib.contextmanager
def running(folder: Path) -> Iterator[S3Server]:
    """Run a server over `folder` until the block ends."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {**os.environ, "ROOT_ACCESS_KEY": ACCESS_KEY, "ROOT_SECRET_KEY": SECRET_KEY}
    command = [str(binary()), "--port", f"127.0.0.1:{port}", "--region", REGION, "--quiet", "posix", str(folder)]
    log = folder.with_name(folder.name + ".log")
    with log.open("wb") as output, subprocess.Popen(command, env=environment, stdout=output, stderr=output) as process:
        try:
            _wait(port, process, log)
            yield S3Server(f"http://127.0.0.1:{port}", folder)
        finally:
            process.terminate()
            process.wait(timeout=10)


def _wait(port: int, process: "subprocess.Popen[bytes]", log: Path) -> None:
    for _ in range(200):
        if process.poll() is not None:
            raise RuntimeError(f"versitygw ended: {log.read_text()}")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=0.2):
            return
        time.sleep(0.05)
    raise RuntimeError(f"versitygw does not listen: {log.read_text()}")
