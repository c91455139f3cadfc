"""Builders for the monitor's tests: a reference, batches drawn from it or shifted, a monitor with a clock to turn."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from tidemill_contracts.inference import PredictionBatch, Reference
from tidemill_contracts.monitoring import DriftConfig, MonitorConfig, TestConfig
from tidemill_contracts.reference import CategoricalProfile, NumericProfile, ReferenceProfile
from tidemill_runtime.monitor.service import Monitor

DOORS = (
    {"/v1/feedback": "feedback"}
    | dict.fromkeys(("/v1/report", "/v1/report.html", "/v1/report.json"), "report")
    | dict.fromkeys(("/metrics", "/healthz", "/readyz"), "admin")
)
"""The port of the monitor, by its name, to which a path is usually sent; `http` for all others."""

START = 1_700_000_000.0 // 3600 * 3600
DIGEST = "sha256:" + "a" * 64

PROFILE = ReferenceProfile(
    rows=1_000,
    features=(
        NumericProfile(
            name="age",
            edges=(0.2, 0.4, 0.6, 0.8),
            counts=(200,) * 5,
            missing=0,
            minimum=0.0,
            maximum=1.0,
            mean=0.5,
            std=0.2887,
            bin_means=(0.1, 0.3, 0.5, 0.7, 0.9),
        ),
        CategoricalProfile(name="plan", categories=("basic", "pro"), counts=(500, 500, 0), missing=0),
    ),
    prediction=CategoricalProfile(name="churned", categories=("0", "1"), counts=(500, 500, 0), missing=0),
)


class Clock:
    """A clock that moves when told."""

    def __init__(self, now: float = START) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def config(folder: Path, **changes: Any) -> MonitorConfig:
    """Return a configuration with PSI on everything and a database in a folder."""
    psi = TestConfig(test="PSI", threshold=0.2)
    values: dict[str, Any] = {
        "namespace": "team-a",
        "monitor": "churn",
        "deployment": "churn",
        "database": str(folder / "monitor.db"),
        "drift": DriftConfig(features=psi, predictions=psi),
    }
    return MonitorConfig(**(values | changes))


@contextmanager
def running(settings: MonitorConfig, clock: Clock | None = None) -> Iterator[Monitor]:
    """Run a monitor that knows the reference."""
    monitor = Monitor(settings, clock or Clock())
    monitor.start()
    try:
        monitor.add_reference(reference()).result(10)
        yield monitor
    finally:
        monitor.close()


def reference(digest: str = DIGEST, version: str = "churn-1", profile: ReferenceProfile = PROFILE) -> Reference:
    """Return a version's reference."""
    return Reference(deployment="churn", version=version, digest=digest, profile=profile)


def batch(
    number: int = 0,
    rows: int = 1_000,
    *,
    at: float = START,
    digest: str = DIGEST,
    shift: float = 0.0,
    pro: float = 0.5,
    positive: float = 0.5,
    **changes: Any,
) -> PredictionBatch:
    """Return a batch; `shift` moves ages, `pro` and `positive` are shares. Ids are p<number>/<row>."""
    random = np.random.default_rng(number)
    values: dict[str, Any] = {
        "batch_id": f"pod-1/7/{number}",
        "deployment": "churn",
        "version": "churn-1",
        "digest": digest,
        "sent_at": at,
        "ids": [f"p{number}/{row}" for row in range(rows)],
        "times": [at] * rows,
        "columns": {
            "age": (random.random(rows) + shift).tolist(),
            "plan": np.where(random.random(rows) < pro, "pro", "basic").tolist(),
        },
        "predictions": (random.random(rows) < positive).astype(int).tolist(),
        "latencies": [0.01] * rows,
    }
    return PredictionBatch(**(values | changes))


def hear_others(monitor: Monitor, at: float) -> None:
    """Post a batch of each of two other versions."""
    for number in range(2):
        digest = "sha256:" + f"{number}" * 64
        monitor.add_reference(reference(digest, f"other-{number}")).result(10)
        monitor.add_batch(batch(900 + number, 1, at=at, digest=digest, batch_id=f"other-{number}/1/1")).result(10)
