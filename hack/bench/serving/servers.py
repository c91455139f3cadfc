"""What is compared: our server and the floors. The peers are in peers.py; nothing is started here."""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from hack.bench.serving import forms
from hack.bench.serving.generator import Form
from hack.bench.serving.models import MODELS, FittedModel
from tidemill_contracts.inference import SERVER_CONFIG_ENV, PredictionLog, ServerConfig

PROGRAMS = Path(__file__).with_name("programs")
ALL_MODELS = tuple(MODELS)


@dataclass(frozen=True)
class Place:
    """Where a server is to run: ports of its own, an empty folder, and where prediction logs go."""

    port: int
    other_ports: tuple[int, ...]
    folder: Path
    sink: str  # base URL


@dataclass(frozen=True)
class Launch:
    """A command with what it needs beside the inherited environment."""

    command: Sequence[str]
    variables: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Server:
    """One line of the comparison."""

    key: str
    label: str
    kind: Literal["own", "floor", "peer"]
    launch: Callable[[FittedModel, Place], Launch]
    form: Callable[[FittedModel, int], Form]
    models: tuple[str, ...] = ALL_MODELS
    process: str = ""  # servers of one name here are one process, asked in two ways
    version: str = ""
    note: str = ""
    tuned: bool = False  # a peer with a setting that is off by default

    @property
    def process_key(self) -> str:
        """The name of the process."""
        return self.process or self.key


def own(
    key: str, label: str, models: tuple[str, ...], workers: int = 1, runtime: Literal["ONNX", "Native"] = "ONNX"
) -> Server:
    """Return our complete server: everything on, as an operator would run it."""

    def launch(model: FittedModel, place: Place) -> Launch:
        config = ServerConfig(
            namespace="bench",
            deployment=model.name,
            version=f"{model.name}-1",
            number="1",
            digest=model.digest,
            uri=model.uri,
            runtime=runtime,
            workers=workers,
            log=PredictionLog(url=place.sink),
            max_in_flight=1024,  # 300 users are to be served here, not refused
            drain_seconds=0,
        )
        variables = {
            SERVER_CONFIG_ENV: config.to_json(),
            "TIDEMILL_HTTP_PORT": str(place.port),
            "TIDEMILL_ADMIN_PORT": str(place.other_ports[0]),
            "TIDEMILL_GRPC_PORT": "0",  # any that is free
            "TMPDIR": str(place.folder),
        }
        return Launch([sys.executable, "-m", "tidemill_runtime.server"], variables)

    return Server(key, label, "own", launch, forms.v2, models)


def _program(name: str, *arguments: str) -> list[str]:
    return [sys.executable, str(PROGRAMS / name), *arguments]


SINK_FORM = Form("/", [""], [[]], None)


def sink(port: int) -> Launch:
    """Return what acknowledges the prediction log: the constant floor on a port of its own."""
    return Launch(_program("constant.py", str(port)))


OWN = (
    own("tidemill", "Tidemill, ONNX", ALL_MODELS),
    own("tidemill-2", "Tidemill, ONNX, 2 workers", ("iris",), workers=2),
    own("tidemill-native", "Tidemill, scikit-learn, batching", ("forest",), runtime="Native"),
    own("tidemill-native-2", "Tidemill, scikit-learn, batching, 2 workers", ("forest",), 2, "Native"),
)
FLOORS = (
    Server(
        "echo",
        "raw event-loop echo",
        "floor",
        lambda _, place: Launch(_program("echo.py", str(place.port))),
        forms.echo,
        ("iris",),
    ),
    Server(
        "constant",
        "bare ASGI, a constant",
        "floor",
        lambda _, place: Launch(_program("constant.py", str(place.port))),
        forms.constant,
        ("iris",),
    ),
    Server(
        "onnx",
        "bare ASGI, orjson and ONNX",
        "floor",
        lambda model, place: Launch(_program("onnx_app.py", str(place.port), str(model.onnx))),
        forms.v2,
    ),
)
