"""Every kind of model, from train to an answer over the wire, by both forms that a version may have."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_iris
from tests.runtime.conftest import Trainer
from tests.support.asgi import post

from tidemill_contracts.inference import PredictionLog, ServerConfig
from tidemill_runtime.model.prediction import Prediction
from tidemill_runtime.predictionlog import record_batches
from tidemill_runtime.server.host.state import State
from tidemill_runtime.server.process.lifecycle import Parts, assemble
from tidemill_runtime.server.telemetry.metrics import Telemetry

ROWS = load_iris().data[::15]


@dataclass(frozen=True)
class Kind:
    """One kind: how it is made, what its signature says, what scikit-learn itself answers to `ROWS`."""

    body: str  # of train(data, target)
    task: str
    outputs: dict[str, tuple[str, tuple[int, ...]]]
    onnx: bool = True
    target: str | None = "target"


KINDS = {
    "classifier of integers": Kind(
        "from sklearn.linear_model import LogisticRegression\n"
        "model = LogisticRegression(max_iter=500).fit(data, target)",
        "classification",
        {"label": ("INT64", (-1,)), "probabilities": ("FP64", (-1, 3))},
    ),
    "classifier of text": Kind(
        "from sklearn.linear_model import LogisticRegression\n"
        "model = LogisticRegression(max_iter=500).fit(data, target.map({0: 'süß', 1: 'b', 2: 'c'}))",
        "classification",
        {"label": ("BYTES", (-1,)), "probabilities": ("FP64", (-1, 3))},
        target=None,
    ),
    "classifier of truth": Kind(
        "from sklearn.ensemble import RandomForestClassifier\n"
        "model = RandomForestClassifier(20, random_state=0).fit(data, target > 0)",
        "classification",
        {"label": ("BOOL", (-1,)), "probabilities": ("FP64", (-1, 2))},
        target=None,
    ),
    "classifier without probabilities": Kind(
        "from sklearn.svm import LinearSVC\nmodel = LinearSVC().fit(data, target)",
        "classification",
        {"label": ("INT64", (-1,))},
    ),
    "regressor": Kind(
        "from sklearn.linear_model import Ridge\nmodel = Ridge().fit(data, data.iloc[:, 0] * 2)",
        "regression",
        {"value": ("FP64", (-1,))},
    ),
    "regressor of several targets": Kind(
        "from sklearn.ensemble import RandomForestRegressor\n"
        "model = RandomForestRegressor(10, random_state=0).fit(data, data.iloc[:, :2] * 2)",
        "regression",
        {"value": ("FP64", (-1, 2))},
    ),
    "forest of several targets": Kind(
        "import numpy as np\nfrom sklearn.ensemble import RandomForestClassifier\n"
        "both = np.c_[target == 0, data.iloc[:, 1] > 3].astype(int)\n"
        "model = RandomForestClassifier(10, random_state=0).fit(data, both)",
        "classification",
        {"label": ("INT64", (-1, 2)), "probabilities_0": ("FP64", (-1, 2)), "probabilities_1": ("FP64", (-1, 2))},
        onnx=False,  # skl2onnx writes it in single precision: a training row at a split goes the other way
        target=None,
    ),
    "classifiers side by side": Kind(
        "import numpy as np\nfrom sklearn.linear_model import LogisticRegression\n"
        "from sklearn.multioutput import MultiOutputClassifier\n"
        "both = np.c_[target, data.iloc[:, 1] > 3].astype(int)\n"
        "model = MultiOutputClassifier(LogisticRegression(max_iter=500)).fit(data, both)",
        "classification",
        {"label": ("INT64", (-1, 2)), "probabilities_0": ("FP64", (-1, 3)), "probabilities_1": ("FP64", (-1, 2))},
        target=None,
    ),
    "several labels at once": Kind(
        "import numpy as np\nfrom sklearn.linear_model import LogisticRegression\n"
        "from sklearn.multiclass import OneVsRestClassifier\n"
        "both = np.c_[target == 0, data.iloc[:, 1] > 3].astype(int)\n"
        "model = OneVsRestClassifier(LogisticRegression(max_iter=500)).fit(data, both)",
        "classification",
        {"label": ("INT64", (-1, 2)), "probabilities": ("FP64", (-1, 2))},
        target=None,
    ),
    "transformer": Kind(
        "from sklearn.decomposition import PCA\nfrom sklearn.pipeline import make_pipeline\n"
        "from sklearn.preprocessing import StandardScaler\n"
        "model = make_pipeline(StandardScaler(), PCA(2, random_state=0)).fit(data)",
        "transformation",
        {"value": ("FP64", (-1, 2))},
        target=None,
    ),
    "isolation forest": Kind(
        "from sklearn.ensemble import IsolationForest\n"
        "model = IsolationForest(n_estimators=20, random_state=0).fit(data)",
        "outlier-detection",
        {"label": ("INT64", (-1,)), "score": ("FP64", (-1,))},
        target=None,
    ),
    "local outlier factor": Kind(
        "from sklearn.neighbors import LocalOutlierFactor\n"
        "model = LocalOutlierFactor(novelty=True).fit(data.to_numpy())",
        "outlier-detection",
        {"label": ("INT64", (-1,)), "score": ("FP64", (-1,))},
        onnx=False,  # of equal rows, which iris has, distances round otherwise
        target=None,
    ),
    "one-class support vectors": Kind(
        "from sklearn.svm import OneClassSVM\nmodel = OneClassSVM(nu=0.1).fit(data)",
        "outlier-detection",
        {"label": ("INT64", (-1,)), "score": ("FP64", (-1,))},
        target=None,
    ),
    "elliptic envelope": Kind(
        "from sklearn.covariance import EllipticEnvelope\nmodel = EllipticEnvelope(random_state=0).fit(data)",
        "outlier-detection",
        {"label": ("INT64", (-1,)), "score": ("FP64", (-1,))},
        onnx=False,  # skl2onnx has no converter
        target=None,
    ),
    "k-means behind a scaler": Kind(
        "from sklearn.cluster import KMeans\nfrom sklearn.pipeline import make_pipeline\n"
        "from sklearn.preprocessing import StandardScaler\n"
        "model = make_pipeline(StandardScaler(), KMeans(3, random_state=0)).fit(data)",
        "clustering",
        {"cluster": ("INT64", (-1,)), "distances": ("FP64", (-1, 3))},
        target=None,
    ),
    "mixture": Kind(
        "from sklearn.mixture import GaussianMixture\nmodel = GaussianMixture(2, random_state=0).fit(data)",
        "clustering",
        {"cluster": ("INT64", (-1,)), "probabilities": ("FP64", (-1, 2))},
        onnx=False,  # its graph is a hundredth off where the components meet
        target=None,
    ),
}


def code(kind: Kind) -> str:
    """Return a module whose `train` fits the model; where the run has no target, it is a column like any other."""
    lines = ["data = data.copy()", "target = data.pop('target')"] if kind.target is None else []
    body = "\n".join(f"    {line}" for line in [*lines, *kind.body.splitlines(), "return model"])
    features = "def features(data):\n    return data.drop(columns='target', errors='ignore')\n"
    return f"def train(data, target):\n{body}\n\n\n{features}"


def served(trained: Any, runtime: str) -> Parts:
    given = {"uri": trained.result.uri, "digest": trained.result.digest, "number": "1", "version": "demo-1"}
    config = ServerConfig(
        namespace="team-a", deployment="demo", runtime=runtime, log=PredictionLog(url="http://127.0.0.1:9"), **given
    )
    state = State()
    state.phase = "ready"
    return assemble(config, state, Telemetry(config), threads=1)


async def answers(parts: Parts) -> tuple[dict[str, Any], list[Any]]:
    """Return the named outputs of V2 and the predictions of V1."""
    tensor = {"name": "x", "shape": list(ROWS.shape), "datatype": "FP64", "data": ROWS.ravel().tolist()}
    reply = await post(parts.app, "/v2/models/demo/infer", {"inputs": [tensor]})
    assert reply.status == 200, reply.body
    found = {o["name"]: np.array(o["data"]).reshape(o["shape"]) for o in reply.json()["outputs"]}
    simple = await post(parts.app, "/v1/models/demo:predict", {"instances": ROWS.tolist()})
    return found, simple.json()["predictions"]


@pytest.mark.parametrize("name", KINDS)
async def test_a_kind_is_served_as_it_was_trained(trainer: Trainer, name: str) -> None:
    kind = KINDS[name]
    trained = trainer(code(kind), target=kind.target)
    assert trained.exit_code == 0, trained.result.failure
    assert trained.result.task == kind.task
    signature = trained.open().manifest.signature
    assert {o.name: (o.datatype, o.shape) for o in signature.outputs} == kind.outputs
    assert (trained.result.onnx == "verified") is kind.onnx, trained.result.onnx
    by_form = []
    for runtime in ("ONNX", "Native") if kind.onnx else ("Native",):
        parts = served(trained, runtime)
        found, predictions = await answers(parts)
        assert list(found) == list(kind.outputs)
        assert predictions == next(iter(found.values())).tolist()
        _check_shapes(kind, found)
        _check_log(parts)
        by_form.append(found)
    for one in by_form[1:]:
        for output, values in by_form[0].items():
            if values.dtype.kind == "f":
                np.testing.assert_allclose(values, one[output], rtol=1e-3, atol=1e-4)
            else:
                np.testing.assert_array_equal(values, one[output])


def _check_shapes(kind: Kind, found: dict[str, Any]) -> None:
    for output, (_, shape) in kind.outputs.items():
        assert found[output].shape == (len(ROWS), *shape[1:])
    if kind.task == "outlier-detection":
        assert set(found["label"].tolist()) <= {1, -1}
        np.testing.assert_array_equal(found["label"] > 0, found["score"] >= 0)
    if "distances" in found:
        np.testing.assert_array_equal(found["cluster"], found["distances"].argmin(axis=1))
    for output, values in found.items():
        if output.startswith("probabilities_") or (output == "probabilities" and found[next(iter(found))].ndim == 1):
            np.testing.assert_allclose(values.sum(axis=1), 1, atol=1e-4)


def _check_log(parts: Parts) -> None:
    """The prediction log takes every kind; a row of several targets has no one label."""
    recorder = parts.recorder
    assert recorder is not None
    slices = [record_batches.slice_of([record], parts.plane.schema) for record in recorder._records]
    batch = {name: [item for one in slices for item in one[name]] for name in slices[0] if name != "columns"}
    outputs = parts.plane.warm.manifest.signature.outputs
    assert len(batch["predictions"]) == 2 * len(ROWS)
    assert (batch["predictions"][0] is None) is (len(outputs[0].shape) > 1)
    has_scores = len(outputs) > 1 and outputs[1].name == "probabilities" and len(outputs[0].shape) == 1
    assert ("scores" in batch) is has_scores


def test_an_estimator_that_neither_predicts_nor_transforms_is_refused(trainer: Trainer) -> None:
    text = "from sklearn.cluster import DBSCAN\n\n\ndef train(data, target):\n    return DBSCAN().fit(data)\n"
    failure = trainer(text).failure
    assert failure.reason == "NotAnEstimator"
    assert "(an object with a predict or transform method)" in failure.message


def test_parts_of_an_answer_have_all_of_its_outputs() -> None:
    whole = Prediction([("label", "INT64"), ("score", "FP64")], np.arange(4), None, [np.arange(4) / 2])
    assert [(n, a.tolist()) for n, _, a in whole.part(1, 3).tensors()] == [("label", [1, 2]), ("score", [0.5, 1.0])]
