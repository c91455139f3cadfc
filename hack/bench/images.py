"""How long a change of code takes until the cluster could run it: build what changed, load it, nothing else.

Works on a copy of the sources, under image names of its own, so that neither the checkout nor the images that the
cluster runs change. The first build and load of the copy is the state before and is not measured.
"""

import argparse
import os
import shutil
import tempfile
import time
from pathlib import Path

from hack.bench.table import Row
from hack.images import __main__ as program
from hack.images.engines import Engine, choose_engine
from hack.images.inputs import image_name
from hack.localcluster.choice import choose_provider
from hack.localcluster.progress import Progress
from hack.localcluster.provider import Provider
from hack.tools.paths import REPOSITORY

TAG = "bench"
GOAL_SECONDS = 20
SOURCES = ("images", "operator", "pyproject.toml", "uv.lock", ".dockerignore")
CHANGES = {
    "operator": ("operator/tidemill/app.py", ("operator",)),
    "runtime": ("images/runtime/tidemill_runtime/__init__.py", ("trainer", "server", "monitor")),
}


def copy(folder: Path) -> Path:
    """Copy what images are made of, and return the copy's root."""
    root = folder / "sources"
    for name in SOURCES:
        source = REPOSITORY / name
        if source.is_dir():
            shutil.copytree(source, root / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            root.mkdir(exist_ok=True)
            shutil.copy2(source, root / name)
    return root


def update(engine: Engine, provider: Provider, targets: list[str], root: Path) -> float:
    """Build and load targets as `make images` does; return the seconds."""
    started, progress = time.monotonic(), Progress(quiet=True)
    program.build(engine, targets, progress, root)
    if provider.loads_images:
        program.load(engine, provider, targets, progress)
    return time.monotonic() - started


def measure(engine: Engine, provider: Provider, root: Path) -> list[Row]:
    """Change one file of each half of the product, and return what each cost."""
    rows = []
    for name, (file, targets) in CHANGES.items():
        before = update(engine, provider, list(targets), root)
        print(f"  {name}: the state before took {before:.1f} s", flush=True)
        nothing = update(engine, provider, list(targets), root)
        with (root / file).open("a") as source:
            source.write(f"\nCHANGED_BY_A_BENCHMARK = {time.time()}\n")
        seconds = update(engine, provider, list(targets), root)
        where = "in the cluster" if provider.loads_images else "built"
        what = f"one file of the {name} changed → {', '.join(targets)} {where}"
        goal = f"≤ {GOAL_SECONDS} s"
        rows.append(Row(what, seconds, "s", nothing, "nothing changed", goal, seconds <= GOAL_SECONDS))
    return rows


def run(arguments: argparse.Namespace) -> list[Row]:
    """Measure with the engine and the cluster that `make images` uses.

    Raises:
        LocalClusterError: there is no engine, or what it built cannot be loaded.
    """
    del arguments  # nothing to choose
    named, os.environ["IMAGE_TAG"] = os.environ.get("IMAGE_TAG"), TAG
    try:
        with tempfile.TemporaryDirectory(prefix="tidemill-bench-") as folder, program.one_at_a_time():
            progress = Progress(quiet=True)
            engine = choose_engine(progress)
            try:
                return measure(engine, choose_provider(progress), copy(Path(folder)))
            finally:
                for target in (t for _, targets in CHANGES.values() for t in targets):
                    engine.run("rmi", image_name(target), check=False)
    finally:
        if named is None:
            del os.environ["IMAGE_TAG"]
        else:
            os.environ["IMAGE_TAG"] = named
