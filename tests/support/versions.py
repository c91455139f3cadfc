"""Small published versions to serve: fitted here, converted here, written by the trainer's publishing function.

Models are as small as they can be while each kind of input is there: numbers as a matrix, mixed columns
as a frame (non-ASCII names and categories among them), a regressor.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType, StringTensorType
from skops import io as skops_io

from tidemill_contracts.artifact import (
    REFERENCE_FILE,
    SAMPLE_FILE,
    ColumnSpec,
    Lineage,
    ModelManifest,
    ParityReport,
    Sample,
    Signature,
)
from tidemill_contracts.digests import canonical_json, sha256
from tidemill_contracts.formats import FORMATS, Format
from tidemill_contracts.inference import PredictionLog, ServerConfig
from tidemill_contracts.runtimes import PARITY_CHECK
from tidemill_runtime.trainer.package.publish import publish

COLORS = ("blau", "grün", "rot")


@dataclass(frozen=True)
class Published:
    """A version in a store."""

    uri: str
    digest: str
    folder: Path
    manifest: ModelManifest
    frame: pd.DataFrame  # the rows it was fitted on
    model: Any

    def config(self, *, log: PredictionLog | None = None, **changes: Any) -> ServerConfig:
        """Return a server's configuration for this version."""
        values: dict[str, Any] = {
            "namespace": "team-a",
            "deployment": "demo",
            "version": "demo-7",
            "number": "7",
            "digest": self.digest,
            "uri": self.uri,
            "drain_seconds": 0.5,
            "log": log,
        }
        return ServerConfig(**{**values, **changes})


def numbers(
    store: Path,
    *,
    rows: int = 120,
    estimator: Any = None,
    with_onnx: bool = True,
    relabel: list[Any] | None = None,
    **options: Any,
) -> Published:
    """Publish a classifier of four numeric columns, fitted on a matrix."""
    from sklearn.linear_model import LogisticRegression

    x = np.random.default_rng(1).normal(size=(rows, 4))
    y = (x[:, 0] + 2 * x[:, 1] > 0).astype(int) + (x[:, 2] > 1)
    if relabel is not None:
        y = np.array(relabel)[(y > 0).astype(int)]
    frame = pd.DataFrame(x, columns=["a", "b", "c", "d"])
    model = (LogisticRegression() if estimator is None else estimator).fit(x, y)
    content = None
    if with_onnx:
        types = [("X", FloatTensorType([None, 4]))]
        content = to_onnx(model, initial_types=types, options={"zipmap": False}, target_opset=21).SerializeToString()
    datatype = {"b": "BOOL", "f": "FP64", "i": "INT64"}.get(model.classes_.dtype.kind, "BYTES")
    outputs = (ColumnSpec(name="label", datatype=datatype), _probabilities(len(model.classes_)))
    inputs = tuple(ColumnSpec(name=c, datatype="FP64") for c in frame.columns)
    signature = Signature(inputs=inputs, outputs=outputs, frame=False)
    return write(store, model, frame, signature, content, answer=x, **options)


def mixed(store: Path, *, with_onnx: bool = True, handle_unknown: str = "ignore", **options: Any) -> Published:
    """Publish a pipeline on a frame with a number, a whole number and a category; it takes missing numbers."""
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import OneHotEncoder

    rng = np.random.default_rng(2)
    frame = pd.DataFrame(
        {
            "größe": rng.normal(size=90),
            "alter": rng.integers(0, 9, size=90),
            "farbe": pd.Series(rng.choice(COLORS, size=90), dtype="str"),
        }
    )
    target = np.where((frame["größe"] > 0) & (frame["farbe"] != "rot"), "ja", "nein")
    steps = ColumnTransformer(
        [
            ("numbers", SimpleImputer(), ["größe", "alter"]),
            ("colors", OneHotEncoder(handle_unknown=handle_unknown), ["farbe"]),
        ]
    )
    model = Pipeline([("columns", steps), ("model", LogisticRegression())]).fit(frame, target)
    types = [
        ("größe", FloatTensorType([None, 1])),
        ("alter", FloatTensorType([None, 1])),
        ("farbe", StringTensorType([None, 1])),
    ]
    content = None
    if with_onnx:
        content = to_onnx(
            model, initial_types=types, options={id(model): {"zipmap": False}}, target_opset=21
        ).SerializeToString()
    inputs = (
        ColumnSpec(name="größe", datatype="FP64"),
        ColumnSpec(name="alter", datatype="INT64"),
        ColumnSpec(name="farbe", datatype="BYTES", categories=COLORS),
    )
    outputs = (ColumnSpec(name="label", datatype="BYTES"), _probabilities(2))
    return write(store, model, frame, Signature(inputs=inputs, outputs=outputs), content, **options)


def regression(store: Path, **options: Any) -> Published:
    """Publish a tree that takes missing values and gives numbers; native only."""
    from sklearn.tree import DecisionTreeRegressor

    frame = pd.DataFrame(np.random.default_rng(3).normal(size=(60, 2)), columns=["u", "v"])
    model = DecisionTreeRegressor(max_depth=3, random_state=0).fit(frame, frame["u"] * 10)
    inputs = tuple(ColumnSpec(name=c, datatype="FP64") for c in frame.columns)
    signature = Signature(inputs=inputs, outputs=(ColumnSpec(name="value", datatype="FP64"),))
    return write(store, model, frame, signature, None, task="regression", **options)


def write(
    store: Path,
    model: Any,
    frame: pd.DataFrame,
    signature: Signature,
    onnx_content: bytes | None,
    *,
    answer: Any = None,
    task: str = "classification",
    parity: bool = True,
    check: int | None = PARITY_CHECK,
    batching: bool | None = True,
    as_pickle: Callable[[Any], bytes] | None = None,
    sample: Sample | None = None,
    extra: Mapping[str, bytes] | None = None,
) -> Published:
    """Write a version of a fitted model and return where it is."""
    store.mkdir(parents=True, exist_ok=True)
    form: Format = "joblib" if as_pickle else "skops"
    native = as_pickle(model) if as_pickle else skops_io.dumps(model)
    files = {FORMATS[form].file: native}
    if onnx_content is not None:
        files[FORMATS["onnx"].file] = onnx_content
    predictions = model.predict(frame if answer is None else answer).tolist()
    recorded = sample or Sample(
        columns={name: frame[name].tolist()[:5] for name in frame.columns}, predictions=predictions[:5]
    )
    files[SAMPLE_FILE] = canonical_json(recorded.model_dump(mode="json"))
    files[REFERENCE_FILE] = canonical_json({"rows": len(frame), "features": []} | {"schema_version": 1})
    files |= extra or {}
    formats = (form, *(("onnx",) if onnx_content is not None else ()))
    manifest = ModelManifest(
        pipeline="demo",
        task=task,
        formats=formats,
        files={name: sha256(content) for name, content in files.items()},
        model_digest=sha256(native),
        signature=signature,
        metrics={},
        classes=tuple(model.classes_.tolist()) if task == "classification" else None,
        lineage=Lineage(data={"demo": "1"}, code="sha256:0", image="none"),
        onnx_parity=ParityReport(passed=parity, rows=5, check=check) if onnx_content is not None else None,
        batching=batching,
    )
    uri = publish(f"file://{store}", None, manifest, files)
    return Published(uri, manifest.digest(), Path(uri.removeprefix("file://")), manifest, frame, model)


def _probabilities(classes: int) -> ColumnSpec:
    return ColumnSpec(name="probabilities", datatype="FP64", shape=(-1, classes))
