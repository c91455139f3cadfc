"""A file of a million rows judged for drift, and by Evidently in the same run: seconds and memory, each a process."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from hack.bench.alarms import columns
from hack.bench.serving.environments import environment, version
from hack.bench.table import Row
from hack.tools.paths import REPOSITORY
from tidemill_contracts.reference import ReferenceProfile
from tidemill_runtime.trainer.package import reference_profile

FULL_ROWS, FEATURES = 1_000_000, 30
GOAL_TIMES, GOAL_MEBIBYTES, GOAL_GROWTH = 50.0, 300.0, 1.1
FLOOR: Final = "the monitor's functions"
_ROW_GROUP: Final = 100_000
_PEER: Final = Path(__file__).with_name("evidently_drift.py")


def compare(rows: int) -> list[Row]:
    """Return seconds and memory of both, and of ours for a tenth of the rows; goals are for the full size.

    Our reference profile was made at training and is read; Evidently keeps none and reads the reference rows each time.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        reference = _written(folder / "reference.parquet", rows, seed=1)
        current = _written(folder / "current.parquet", rows, seed=2, shift=0.5)
        tenth = _written(folder / "tenth.parquet", rows // 10, seed=3, shift=0.5)
        profile = _profile(folder / "reference.json", reference)
        own = [
            _measured([sys.executable, "-m", "hack.bench.alarms.own", str(profile), str(f)]) for f in (current, tenth)
        ]
        peer = _measured([str(environment("evidently")), str(_PEER), str(reference), str(current)])
    if own[0]["drifted"] != ["n0"]:
        raise RuntimeError(f"n0 moved by half a deviation, and these drifted: {own[0]['drifted']}")
    return rows_of(rows, own[0], own[1], peer, f"Evidently {version('evidently', 'evidently')}")


def rows_of(rows: int, own: dict[str, Any], tenth: dict[str, Any], peer: dict[str, Any], name: str) -> list[Row]:
    """Return the table of measured processes."""
    full = rows >= FULL_ROWS
    times, what = peer["cpu_seconds"] / own["cpu_seconds"], f"{rows:,} rows of {FEATURES} columns"
    growth = own["mebibytes"] / tenth["mebibytes"]

    def goal(text: str, *, met: bool) -> tuple[str, bool | None]:
        return (text, met) if full else (f"{text} (of {FULL_ROWS:,} rows)", None)

    return [
        Row(f"{name}: {what}, read and judged, CPU", peer["cpu_seconds"], "s", own["cpu_seconds"], FLOOR,
            *goal(f"a ratio of at least {GOAL_TIMES:g}", met=times >= GOAL_TIMES)),
        Row(f"{name}: the same on the clock", peer["seconds"], "s", own["seconds"], FLOOR),
        Row(f"{name}: memory", peer["mebibytes"], "MiB", own["mebibytes"], FLOOR,
            *goal(f"ours at most {GOAL_MEBIBYTES:g} MiB", met=own["mebibytes"] <= GOAL_MEBIBYTES)),
        Row("memory of ours", own["mebibytes"], "MiB", tenth["mebibytes"], "a tenth of the rows",
            *goal(f"a ratio of at most {GOAL_GROWTH:g}", met=growth <= GOAL_GROWTH)),
    ]  # fmt: skip


def _written(path: Path, rows: int, *, seed: int, shift: float = 0.0) -> Path:
    """Write rows piece by piece."""
    random, writer = np.random.default_rng(seed), None
    for first in range(0, rows, _ROW_GROUP):
        part = columns.features(random, min(_ROW_GROUP, rows - first), FEATURES, shift)
        table = pa.Table.from_pandas(part, preserve_index=False)
        writer = writer or pq.ParquetWriter(path, table.schema)
        writer.write_table(table)
    if writer is not None:
        writer.close()
    return path


def _profile(path: Path, reference: Path) -> Path:
    rows = pd.read_parquet(reference)
    features = reference_profile.features(rows)
    path.write_text(ReferenceProfile(schema_version=2, rows=len(rows), features=features).to_json())
    return path


def _measured(command: list[str]) -> dict[str, Any]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "DO_NOT_TRACK": "1"}
    done = subprocess.run(
        command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )
    if done.returncode != 0:
        raise RuntimeError(f"`{' '.join(command)}` failed: {done.stderr.strip()[-1500:]}")
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found
