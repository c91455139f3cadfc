"""The load generator (loadgen/, Go): built once into the user's cache, driven with one order for each measurement."""

import hashlib
import json
import os
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from hack.tools.go import built_once, go_toolchain
from hack.tools.paths import cache_folder

_SOURCE = Path(__file__).with_name("loadgen")
_SLACK_SECONDS = 30.0


class LoadError(RuntimeError):
    """The generator could not be built or could not run."""


@dataclass(frozen=True)
class Form:
    """How one server wants to be asked about one model, and where its labels are."""

    target: str  # path
    bodies: Sequence[str]
    expected: Sequence[list[Any]]  # labels of each body
    answer: Sequence[str | int] | None  # path to the labels in the answer; None: only the status is checked
    headers: dict[str, str] = field(default_factory=lambda: {"content-type": "application/json"})

    def is_right(self, index: int, body: bytes) -> bool:
        """Return whether a body is the right answer to one of the requests, as the generator judges it."""
        if self.answer is None:
            return True
        try:
            value = json.loads(body)
            for element in self.answer:
                value = value[element]
        except (ValueError, LookupError, TypeError):
            return False
        return _flat(value) == self.expected[index]


@dataclass(frozen=True)
class Load:
    """What is sent: closed loops of users, or arrivals at a rate over as many connections."""

    users: int
    seconds: float
    warm_up: float = 0.3
    rate: float = 0.0
    drain: float = 30.0


@dataclass(frozen=True)
class Measurement:
    """What one run of the generator found; times in µs, CPU in cores. See loadgen/result.go."""

    per_second: float
    p50: float
    p90: float
    p99: float
    p999: float
    max: float
    mean: float
    samples: int
    errors: int
    error_kinds: dict[str, int]
    first_error: str
    sent: int
    answers: int
    seconds: float
    reconnects: int
    lag_p99: float
    generator_cpu: float
    server_cpu: float
    histogram: list[tuple[float, int]]
    whole: bool = False  # so few answers in the measured time that rate and latencies are of the whole run

    def figures(self) -> dict[str, Any]:
        """Return what is worth keeping of many measurements: all but the histogram, to five digits."""
        kept = asdict(replace(self, histogram=[]))
        del kept["histogram"]
        return {name: float(f"{value:.5g}") if isinstance(value, float) else value for name, value in kept.items()}


def _flat(value: Any) -> list[Any]:
    return [scalar for item in value for scalar in _flat(item)] if isinstance(value, list) else [value]


def program() -> Path:
    """Return where the program of this source is, or would be."""
    sources = sorted(path for path in _SOURCE.iterdir() if path.suffix == ".go" and not path.stem.endswith("_test"))
    digest = hashlib.sha256()
    for path in [_SOURCE / "go.mod", *sources]:
        digest.update(path.read_bytes())
    return cache_folder() / "loadgen" / digest.hexdigest()[:16] / "loadgen"


def binary() -> Path:
    """Return the program, built when its source is new.

    Raises:
        LoadError: the build failed; says what Go said.
    """
    return built_once(program(), _build)


def _build(target: Path) -> None:
    unfinished = target.with_suffix(".new")
    environment = {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly -buildvcs=false", "GOWORK": "off"}
    command = [str(go_toolchain()), "build", "-trimpath", "-ldflags", "-s -w", "-o", str(unfinished), "."]
    done = subprocess.run(command, cwd=_SOURCE, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise LoadError(f"`{' '.join(command)}` failed: {done.stderr.strip()[-2000:]}")
    unfinished.rename(target)


def measure(address: str, form: Form, load: Load, pids: Iterable[int] = ()) -> Measurement:
    """Load a server and return what was measured.

    Raises:
        LoadError: the generator failed, or never came to its end.
    """
    order = {
        "address": address,
        "target": form.target,
        "headers": form.headers,
        "requests": [{"body": b, "expect": e} for b, e in zip(form.bodies, form.expected, strict=True)],
        "answer": form.answer,
        "users": load.users,
        "rate": load.rate,
        "warmUp": load.warm_up,
        "seconds": load.seconds,
        "drain": load.drain,
        "pids": list(pids),
    }
    # One thread works; the runtime's others would only be woken to find nothing.
    environment = {**os.environ, "GOMAXPROCS": "1"}
    limit = load.warm_up + load.seconds + load.drain + _SLACK_SECONDS
    try:
        done = subprocess.run(
            [str(binary())],
            input=json.dumps(order),
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=limit,
        )
    except subprocess.TimeoutExpired as error:
        raise LoadError(f"the load generator did not end within {limit:g} s") from error
    if done.returncode != 0:
        raise LoadError(done.stderr.strip())
    return parse(json.loads(done.stdout))


def parse(document: dict[str, Any]) -> Measurement:
    """Return the generator's document as a measurement."""
    names = {
        "perSecond": "per_second",
        "errorKinds": "error_kinds",
        "firstError": "first_error",
        "lagP99": "lag_p99",
        "generatorCPU": "generator_cpu",
        "serverCPU": "server_cpu",
    }
    values = {names.get(key, key): value for key, value in document.items()}
    values["histogram"] = [(float(edge), int(count)) for edge, count in values["histogram"]]
    return Measurement(**values)
