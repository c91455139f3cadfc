"""The servers that people use today, started as their documentation says, with default settings.

Exceptions are in the labels, but for one: MLServer has `debug` off, as in its own benchmarks. Logs of requests, where
a server writes them by default, go to a file.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

from hack.bench.serving import forms
from hack.bench.serving.environments import environment, version
from hack.bench.serving.generator import Form
from hack.bench.serving.models import FittedModel
from hack.bench.serving.servers import PROGRAMS, Launch, Place, Server


def _mlserver(
    key: str, label: str, settings: Mapping[str, Any], model_settings: Mapping[str, Any], **more: Any
) -> Server:
    def launch(model: FittedModel, place: Place) -> Launch:
        http, (grpc, metrics) = place.port, place.other_ports[:2]
        ports = {"host": "127.0.0.1", "http_port": http, "grpc_port": grpc, "metrics_port": metrics}
        (place.folder / "settings.json").write_text(json.dumps({"debug": False, **ports, **settings}))
        (place.folder / "model-settings.json").write_text(
            json.dumps(
                {
                    "name": model.name,
                    "implementation": "mlserver_sklearn.SKLearnModel",
                    "parameters": {"uri": str(model.joblib), "version": "1"},
                    **model_settings,
                }
            )
        )
        return Launch([str(environment("mlserver").with_name("mlserver")), "start", str(place.folder)])

    return Server(key, label, "peer", launch, forms.v2, version=version("mlserver", "mlserver"), **more)


def _kserve(key: str, label: str, form: Callable[[FittedModel, int], Form]) -> Server:
    def launch(model: FittedModel, place: Place) -> Launch:
        options = ["--http_port", str(place.port), "--grpc_port", str(place.other_ports[0])]
        program = [str(environment("kserve")), str(PROGRAMS / "kserve_server.py"), model.name, str(model.joblib)]
        return Launch([*program, *options])

    note = "the sklearnserver package is not on PyPI: kserve's own ModelServer and Model around the same joblib file"
    return Server(key, label, "peer", launch, form, process="kserve", version=version("kserve", "kserve"), note=note)


def _bentoml(key: str, label: str, batching: bool, **more: Any) -> Server:
    def launch(model: FittedModel, place: Place) -> Launch:
        variables = {
            "MODEL_FILE": str(model.joblib),
            "COLUMNS": "1" if model.name == "mixed" else "0",
            "BATCHING": "1" if batching else "0",
            "BENTOML_HOME": str(place.folder / "home"),
            "BENTOML_DO_NOT_TRACK": "True",
        }
        program = str(environment("bentoml").with_name("bentoml"))
        service = ["bentoml_service:Classifier", "--working-dir", str(PROGRAMS)]
        return Launch([program, "serve", *service, "--host", "127.0.0.1", "--port", str(place.port)], variables)

    return Server(key, label, "peer", launch, forms.bentoml, version=version("bentoml", "bentoml"), **more)


PEERS = (
    _mlserver("mlserver", "MLServer, worker pool", {}, {}),
    _mlserver("mlserver-0", "MLServer, no pool", {"parallel_workers": 0}, {}),
    _mlserver(
        "mlserver-batching",
        "MLServer, no pool, batching",
        {"parallel_workers": 0},
        {"max_batch_size": 64, "max_batch_time": 0.002},
        models=("forest",),
        tuned=True,
    ),
    _kserve("kserve-v1", "KServe, V1", forms.v1),
    _kserve("kserve-v2", "KServe, V2", forms.v2),
    _bentoml("bentoml", "BentoML", batching=False),
    _bentoml("bentoml-batching", "BentoML, batching", batching=True, models=("forest",), tuned=True),
)
