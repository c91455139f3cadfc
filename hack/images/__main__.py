"""`python -m hack.images [TARGET …]`: build what changed, load what the cluster does not have.

Names: IMAGE_PREFIX (default tidemill.io), IMAGE_TAG (default dev). BASE_IMAGE replaces the base.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from hack.images.base import base_image
from hack.images.engines import Engine, choose_engine
from hack.images.inputs import TARGETS, image_name, inputs_digest
from hack.localcluster.choice import choose_provider
from hack.localcluster.progress import LocalClusterError, Progress
from hack.localcluster.provider import Provider
from hack.tools.kubectl import Kubectl
from hack.tools.paths import REPOSITORY, cache_folder
from hack.tools.pypi import ToolError

REMEMBERED_CLUSTERS = 20
PUSH_HINT = (
    "the images are on this machine only, and a cluster that was not started here pulls its own: unless it has them, "
    "push them with `make images PUSH=1 IMAGE_PREFIX=registry.example.com/tidemill` (your registry) and give the same "
    "IMAGE_PREFIX to `make install`, `make demo` and `make e2e`"
)


def build(engine: Engine, targets: list[str], progress: Progress, root: Path = REPOSITORY) -> None:
    """Build each target whose inputs below `root` changed since its image was built."""
    base = base_image(engine, progress)
    bundle = os.environ.get("SSL_CERT_FILE") or os.environ.get("PIP_CERT")
    ca = Path(bundle) if bundle and Path(bundle).is_file() else None
    # Not a label of the image: a build that hits the cache in all steps keeps the old one.
    record = cache_folder() / "images.json"
    built: dict[str, list[str]] = json.loads(record.read_text()) if record.exists() else {}
    for target in targets:
        name = image_name(target)
        inputs = inputs_digest(target, base or "", root)
        if built.get(name) == [engine.name, inputs, engine.image_id(name)]:
            progress.step(f"{name}: up to date")
            continue
        progress.step(f"{name}: building with {engine.name}")
        engine.build(target, name, root, base, ca)
        built[name] = [engine.name, inputs, engine.image_id(name)]
        record.write_text(json.dumps(built, indent=1) + "\n")


def cluster_uid(provider: Provider) -> str:
    """What distinguishes the cluster from one that had its name and address before.

    Raises:
        LocalClusterError: the cluster does not answer.
    """
    kubectl = Kubectl(kubeconfig=provider.kubeconfig(), request_seconds=20)
    done = kubectl.attempt("get", "namespace", "kube-system", "-o=jsonpath={.metadata.uid}")
    if done.returncode or not done.stdout.strip():
        raise LocalClusterError(f"the cluster does not answer: {done.stderr.strip()}; run: make cluster")
    return done.stdout.strip()


def load(engine: Engine, provider: Provider, targets: list[str], progress: Progress) -> None:
    """Bring images into the cluster unless the very same ones were brought before, from whichever clone."""
    record = cache_folder() / "loaded.json"
    clusters: dict[str, dict[str, str]] = json.loads(record.read_text()) if record.exists() else {}
    cluster = cluster_uid(provider)
    loaded = clusters.pop(cluster, {})

    def one(target: str) -> None:
        name = image_name(target)
        identity = engine.image_id(name)
        if loaded.get(name) == identity:
            return
        progress.step(f"{name}: loading into the cluster")
        with engine.stream(name) as stream:
            provider.load_stream(name, stream)
        loaded[name] = identity

    try:
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(one, targets))
    finally:
        newest = list(clusters.items())[1 - REMEMBERED_CLUSTERS :]  # most are no more
        record.parent.mkdir(parents=True, exist_ok=True)
        record.write_text(json.dumps(dict([*newest, (cluster, loaded)]), indent=1) + "\n")


def require_registry() -> None:
    """Raise LocalClusterError when IMAGE_PREFIX begins with no registry to push to."""
    host = image_name("operator").partition("/")[0]
    if host == "tidemill.io" or not ("." in host or ":" in host or host == "localhost"):
        raise LocalClusterError(
            "IMAGE_PREFIX does not name a registry of yours; for example: "
            "make images PUSH=1 IMAGE_PREFIX=registry.example.com/tidemill"
        )


def push(engine: Engine, targets: list[str], progress: Progress) -> None:
    """Bring images to the registry that IMAGE_PREFIX begins with. Raises LocalClusterError when that is none."""
    require_registry()
    for target in targets:
        progress.step(f"{image_name(target)}: pushing")
        engine.push(image_name(target))


@contextlib.contextmanager
def one_at_a_time() -> Iterator[None]:
    """Two builds beside each other would do the same work twice and load the same images twice."""
    cache_folder().mkdir(parents=True, exist_ok=True)
    with (cache_folder() / "images.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m hack.images", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(TARGETS)} (default: all)")
    parser.add_argument("--no-load", action="store_true", help="only build")
    parser.add_argument("--push", action="store_true", help="push to the registry that IMAGE_PREFIX names")
    arguments = parser.parse_args()
    targets = arguments.targets or list(TARGETS)
    unknown = sorted(set(targets) - set(TARGETS))
    if unknown:
        parser.error(f"unknown target {', '.join(unknown)}: allowed are {', '.join(TARGETS)}")
    progress = Progress()
    try:
        if arguments.push:  # building takes minutes
            require_registry()
        with one_at_a_time():
            engine = choose_engine(progress)
            build(engine, targets, progress)
            provider = choose_provider(progress)
            if arguments.push:
                push(engine, targets, progress)
            elif not arguments.no_load and provider.status().running:
                if provider.loads_images:
                    load(engine, provider, targets, progress)
                else:
                    progress.step(PUSH_HINT)
        progress.step("images are ready")
    except (LocalClusterError, ToolError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
