"""What it costs the monitor to count a batch, beside bare numpy that counts the same numbers into the same bins.

The floor has no JSON, no missing values, no categories, no windows and no database: what the arithmetic alone costs.
"""

import argparse
import json
import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hack.bench.table import Row
from tidemill_contracts.inference import PredictionBatch, Reference
from tidemill_contracts.monitoring import DriftConfig, MonitorConfig, TestConfig
from tidemill_contracts.reference import CategoricalProfile, NumericProfile, Profile, ReferenceProfile
from tidemill_runtime.monitor.binning import Layout
from tidemill_runtime.monitor.service import Monitor

ROWS, NUMERIC, CATEGORICAL = 1_000, 24, 6
CELLS = ROWS * (NUMERIC + CATEGORICAL)
EDGES = tuple(float(edge) for edge in np.linspace(-1.3, 1.3, 9))
BATCHES = 40
GOAL_MICROSECONDS = 1.0


def run(arguments: argparse.Namespace) -> list[Row]:
    """Measure counting alone, and a batch from its bytes to the commit; microseconds per value."""
    del arguments  # nothing to choose
    values = random.Random(1)  # not for secrets
    profile = reference_profile()
    bodies = [batch(values, number) for number in range(BATCHES)]
    parsed = [PredictionBatch.model_validate_json(body) for body in bodies]
    arrays = [np.array(b.columns[f"n{i}"], dtype=np.float64) for b in parsed for i in range(NUMERIC)]
    floor = per_value(lambda: bare(arrays), BATCHES) * (NUMERIC + CATEGORICAL) / NUMERIC
    layout = Layout(profile)
    counting = per_value(lambda: [layout.count(b.columns, b.predictions) for b in parsed], BATCHES)
    with tempfile.TemporaryDirectory() as folder:
        whole, report = post(folder, profile, bodies)
    floor_name = "numpy searchsorted and bincount of arrays"
    goal = f"at most {GOAL_MICROSECONDS:g} µs a value"
    return [
        Row("count a value on its bin", counting, "µs", floor, floor_name, goal, counting <= GOAL_MICROSECONDS),
        Row(
            "a value from posted bytes to commit, ids kept for labels",
            whole,
            "µs",
            floor,
            floor_name,
            goal,
            whole <= GOAL_MICROSECONDS,
        ),
        Row(f"report of one window, {NUMERIC + CATEGORICAL} features", report * 1e3, "ms"),
    ]


def bare(columns: list[NDArray[np.float64]]) -> None:
    """Count columns with numpy alone."""
    edges = np.array(EDGES)
    for column in columns:
        np.bincount(edges.searchsorted(column, side="right"), minlength=len(EDGES) + 1)


def post(folder: str, profile: ReferenceProfile, bodies: list[bytes]) -> tuple[float, float]:
    """Return microseconds per value through a whole monitor, and seconds of a first report."""
    psi = TestConfig()
    config = MonitorConfig(
        namespace="bench",
        monitor="bench",
        deployment="bench",
        database=str(Path(folder) / "monitor.db"),
        drift=DriftConfig(features=psi, predictions=psi),
    )
    monitor = Monitor(config)
    monitor.start()
    monitor.add_reference(Reference(deployment="bench", version="v", digest="d", profile=profile)).result()
    started = time.perf_counter()
    futures = [monitor.add_batch(PredictionBatch.model_validate_json(body)) for body in bodies]
    for future in futures:
        future.result()
    whole = (time.perf_counter() - started) / len(bodies) / CELLS * 1e6
    started = time.perf_counter()
    monitor.report()
    report = time.perf_counter() - started
    monitor.close()
    return whole, report


def per_value(work: Callable[[], object], batches: int) -> float:
    """Return the best of five in microseconds per value."""
    times = []
    for _ in range(5):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return min(times) / batches / CELLS * 1e6


def reference_profile() -> ReferenceProfile:
    """Return a reference of 30 features and a class."""
    numeric: list[Profile] = [
        NumericProfile(name=f"n{i}", edges=EDGES, counts=(100,) * 10, missing=0, minimum=-4, maximum=4, mean=0, std=1)
        for i in range(NUMERIC)
    ]
    categorical: list[Profile] = [
        CategoricalProfile(name=f"c{i}", categories=tuple("abcdefgh"), counts=(125,) * 8 + (0,), missing=0)
        for i in range(CATEGORICAL)
    ]
    label = CategoricalProfile(name="y", categories=("0", "1"), counts=(500, 500, 0), missing=0)
    return ReferenceProfile(rows=1_000, features=(*numeric, *categorical), prediction=label)


def batch(values: random.Random, number: int) -> bytes:
    """Return one batch as a server posts it."""
    now = time.time()
    columns: dict[str, list[float] | list[str]] = {
        f"n{i}": [values.gauss(0, 1) for _ in range(ROWS)] for i in range(NUMERIC)
    }
    columns |= {f"c{i}": values.choices("abcdefgh", k=ROWS) for i in range(CATEGORICAL)}
    document = {
        "batch_id": f"pod/1/{number}",
        "deployment": "bench",
        "version": "v",
        "digest": "d",
        "sent_at": now,
        "ids": [f"{values.getrandbits(128):032x}" for _ in range(ROWS)],
        "times": [now] * ROWS,
        "columns": columns,
        "predictions": values.choices([0, 1], k=ROWS),
        "latencies": [0.01] * ROWS,
    }
    return json.dumps(document).encode()
