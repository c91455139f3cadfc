"""The three models that every server serves: fitted once, saved in each server's own form, with requests and truth.

Truth is what scikit-learn itself predicts in this process; every answer of every server is held against it. The
copies for the peers are fitted on the same numbers and, for iris, without column names, as their documentation does:
with names each of their requests would warn that it has none. Numeric libraries are imported where something is fitted:
who reads results needs none.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tidemill_contracts.artifact import REFERENCE_FILE, SAMPLE_FILE, Lineage, ModelManifest
from tidemill_contracts.digests import canonical_json, sha256
from tidemill_contracts.formats import FORMATS

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

JOBLIB_FILE = "model.joblib"  # the name that MLServer looks for
MODELS = {
    "iris": "logistic regression on iris",
    "mixed": "pipeline with scaler and one-hot on mixed columns",
    "forest": "random forest of 100 trees on iris",
}
BATCH_ROWS = 100
SINGLES, BATCHES = 64, 8  # different requests, sent in turn
_SEED = 7
_MIXED_ROWS = 2000
_CITIES = ("Berlin", "Lagos", "Lima", "Osaka", "Turin")
_PLANS = ("basic", "family", "premium")


@dataclass(frozen=True)
class FittedModel:
    """One model in every form."""

    name: str
    frame: pd.DataFrame  # rows to ask for
    truth: np.ndarray[Any, Any]  # labels, one for each row
    uri: str  # published for our server
    digest: str
    onnx: Path
    joblib: Path

    def requests(self, rows: int) -> list[tuple[pd.DataFrame, list[Any]]]:
        """Return different requests of so many rows, each with its labels."""
        import numpy as np

        random = np.random.default_rng(_SEED)
        count = SINGLES if rows == 1 else BATCHES
        picked = [random.choice(len(self.frame), size=rows, replace=rows > len(self.frame)) for _ in range(count)]
        return [(self.frame.iloc[at].reset_index(drop=True), self.truth[at].tolist()) for at in picked]


def fit(name: str, folder: Path) -> FittedModel:
    """Fit one of MODELS and save it under a folder.

    Raises:
        RuntimeError: the model has no ONNX form, or the peers' copy predicts something else.
    """
    import joblib
    import numpy as np

    data, target, estimator, copy = _iris(name) if name != "mixed" else _mixed()
    truth = np.asarray(estimator.predict(data))
    plain = data if name == "mixed" else data.to_numpy()
    if not np.array_equal(truth, copy.predict(plain)):
        raise RuntimeError(f"{name}: the two fits differ")
    folder.mkdir(parents=True, exist_ok=True)
    joblib.dump(copy, folder / JOBLIB_FILE)
    uri, digest, content = _publish(name, estimator, data, target, folder / "store")
    (folder / FORMATS["onnx"].file).write_bytes(content)
    return FittedModel(name, data, truth, uri, digest, folder / FORMATS["onnx"].file, folder / JOBLIB_FILE)


def _iris(name: str) -> tuple[pd.DataFrame, Any, Any, Any]:
    from sklearn.datasets import load_iris
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression

    def make() -> Any:
        if name == "forest":
            return RandomForestClassifier(n_estimators=100, random_state=_SEED)
        return LogisticRegression(max_iter=500)

    loaded = load_iris(as_frame=True)
    data, target = loaded.data, loaded.target
    return data, target, make().fit(data, target), make().fit(data.to_numpy(), target.to_numpy())


def _mixed() -> tuple[pd.DataFrame, Any, Any, Any]:
    import numpy as np
    import pandas as pd
    from sklearn.base import clone
    from sklearn.compose import ColumnTransformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    random = np.random.default_rng(_SEED)
    data = pd.DataFrame(
        {
            "age": random.integers(18, 90, _MIXED_ROWS).astype(float),
            "tenure": random.gamma(2.0, 12.0, _MIXED_ROWS).round(1),
            "charge": random.normal(60.0, 20.0, _MIXED_ROWS).round(2),
            "visits": random.poisson(6.0, _MIXED_ROWS).astype(float),
            "city": pd.Series(random.choice(_CITIES, _MIXED_ROWS), dtype="str"),
            "plan": pd.Series(random.choice(_PLANS, _MIXED_ROWS), dtype="str"),
        }
    )
    score = (
        0.04 * (data["charge"] - 60)
        - 0.03 * (data["tenure"] - 24)
        + (data["plan"] == "basic")
        - (data["city"] == "Lima")
    )
    target = pd.Series((score + random.normal(0, 0.5, _MIXED_ROWS) > 0).astype(int), name="churned")
    columns = ColumnTransformer(
        [
            ("numbers", StandardScaler(), ["age", "tenure", "charge", "visits"]),
            ("text", OneHotEncoder(handle_unknown="ignore"), ["city", "plan"]),
        ]
    )
    estimator = Pipeline([("columns", columns), ("classifier", LogisticRegression(max_iter=1000))])
    return data, target, estimator.fit(data, target), clone(estimator).fit(data, target)


def _publish(name: str, estimator: Any, data: pd.DataFrame, target: Any, store: Path) -> tuple[str, str, bytes]:
    """Publish as a training run would; return URI, digest and the ONNX form."""
    from tidemill_runtime.frameworks.scikit_learn.onnx_form import convert
    from tidemill_runtime.trainer.model import inspection
    from tidemill_runtime.trainer.package import native, publish, reference_profile

    del target
    store.mkdir(parents=True, exist_ok=True)
    model = inspection.inspect(estimator, data, store)
    converted = convert.convert(model, data)
    if converted.content is None:
        raise RuntimeError(f"{name}: no ONNX form: {converted.report.reason}")
    profile = reference_profile.profile(model, data, model.predict(data), model.probabilities(data), {})
    files = {
        FORMATS["skops"].file: native.dump(model.estimator, allow_pickle=False).content,
        FORMATS["onnx"].file: converted.content,
        SAMPLE_FILE: canonical_json(reference_profile.sample(model, data).model_dump(mode="json")),
        REFERENCE_FILE: canonical_json(profile.model_dump(mode="json")),
    }
    manifest = ModelManifest(
        pipeline=name,
        task=model.task,
        formats=("skops", "onnx"),
        files={file: sha256(content) for file, content in files.items()},
        model_digest=sha256(files[FORMATS["skops"].file]),
        signature=inspection.signature(model, data),
        metrics={},
        classes=tuple(model.classes.tolist()) if model.classes is not None else None,
        lineage=Lineage(data={}, code="", image=""),
        onnx_parity=converted.report,
    )
    return publish.publish(f"file://{store}", None, manifest, files), manifest.digest(), converted.content
