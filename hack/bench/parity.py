"""`python -m hack.bench.parity`: how often a verified ONNX form differs on rows that its check did not try.

Fits generated pairs of steps and estimators on awkward data (nulls, codes beyond 2^24, atoms, single precision), checks
their ONNX forms as the trainer does, and compares both forms of the verified ones on random rows. Where the check found
no dependence on the batch, rows of a batch are also sent one by one.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn import (
    cluster,
    compose,
    decomposition,
    ensemble,
    impute,
    linear_model,
    naive_bayes,
    neighbors,
    neural_network,
    pipeline,
    preprocessing,
    svm,
    tree,
)
from threadpoolctl import threadpool_limits

from tidemill_runtime.frameworks.onnx.served_model import OnnxModel
from tidemill_runtime.frameworks.scikit_learn.native_model import NativeModel
from tidemill_runtime.model.frame import Frame, Schema
from tidemill_runtime.model.prediction import Predictor
from tidemill_runtime.parity.compare import Refused, difference, outcome
from tidemill_runtime.trainer.model import inspection
from tidemill_runtime.trainer.package import native, verification

_CODE = 2**24 - 6
_BATCH_ROWS = 64
_SINGLE_ROWS = 500
_NAMES = ("natively", "by ONNX")


def _encoded(encoder: Any) -> Any:
    rest = [("rest", preprocessing.StandardScaler(), ["a", "b", "zero", "n"])]
    return compose.ColumnTransformer([("code", encoder, ["code"]), *rest])


def steps() -> dict[str, list[Any]]:
    """The steps before an estimator, by the data that they are fitted on and a name."""
    pre = preprocessing
    return {
        "plain: none": [],
        "plain: scaler": [pre.StandardScaler()],
        "plain: min-max": [pre.MinMaxScaler()],
        "plain: robust": [pre.RobustScaler()],
        "plain: power": [pre.PowerTransformer()],
        "plain: quantiles": [pre.QuantileTransformer(n_quantiles=50)],
        "plain: bins": [pre.KBinsDiscretizer(4, encode="ordinal", quantile_method="averaged_inverted_cdf")],
        "plain: products": [pre.PolynomialFeatures(2)],
        "plain: components": [pre.StandardScaler(), decomposition.PCA(3)],
        "plain: binarizer": [pre.Binarizer(threshold=0.1)],
        "plain: lengths": [pre.Normalizer()],
        "nulls: none": [],
        "nulls: medians": [impute.SimpleImputer(strategy="median")],
        "nulls: means, flags": [impute.SimpleImputer(add_indicator=True), pre.StandardScaler()],
        "codes: one-hot": [_encoded(pre.OneHotEncoder(handle_unknown="ignore"))],
        "codes: ordinal": [_encoded(pre.OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1))],
        "codes: target": [_encoded(pre.TargetEncoder(random_state=0))],
    }


def estimators() -> dict[str, Any]:
    """The last steps by name; regressors have their own target."""
    return {
        "logistic": linear_model.LogisticRegression(max_iter=200),
        "forest": ensemble.RandomForestClassifier(12, random_state=0),
        "extra trees": ensemble.ExtraTreesClassifier(12, random_state=0),
        "boosting": ensemble.GradientBoostingClassifier(n_estimators=15, random_state=0),
        "histograms": ensemble.HistGradientBoostingClassifier(max_iter=15, random_state=0),
        "tree": tree.DecisionTreeClassifier(random_state=0),
        "gaussian": naive_bayes.GaussianNB(),
        "bernoulli": naive_bayes.BernoulliNB(binarize=0.2),
        "neighbours": neighbors.KNeighborsClassifier(5),
        "vectors": svm.SVC(),
        "perceptron": neural_network.MLPClassifier((8,), max_iter=60, random_state=0),
        "linear regressor": linear_model.LinearRegression(),
        "ridge regressor": linear_model.Ridge(),
        "forest regressor": ensemble.RandomForestRegressor(12, random_state=0),
        "histograms regressor": ensemble.HistGradientBoostingRegressor(max_iter=15, random_state=0),
        "neighbours regressor": neighbors.KNeighborsRegressor(5),
        "isolation forest": ensemble.IsolationForest(n_estimators=20, random_state=0),
        "k-means": cluster.KMeans(4, random_state=0, n_init=2),
    }


def table(kind: str, rows: int, random: np.random.Generator) -> pd.DataFrame:
    """Training data of one kind: ties, single precision, an atom at zero, counts, and nulls or codes."""
    columns: dict[str, Any] = {
        "a": np.round(random.normal(size=rows), 1),
        "b": random.normal(size=rows).astype(np.float32).astype(np.float64),
        "zero": np.where(random.random(rows) < 0.5, 0.0, random.exponential(size=rows)),
        "n": random.integers(0, 10, rows).astype(float),
    }
    if kind == "nulls":
        for name in ("a", "b", "zero"):
            columns[name] = np.where(random.random(rows) < 0.15, np.nan, columns[name])
    if kind == "codes":
        columns["code"] = _CODE + random.integers(0, 12, rows)
    return pd.DataFrame(columns)


def random_rows(known: pd.DataFrame, rows: int, random: np.random.Generator) -> list[Any]:
    """Random rows: each value one of training, one between two of them, one from a normal distribution, or zero."""
    out = []
    for name in known:
        values = known[name].to_numpy()
        one, other = random.choice(values, rows), random.choice(values, rows)
        if name == "code":
            out.append(np.where(random.random(rows) < 0.9, one, _CODE + random.integers(-4, 16, rows)))
            continue
        spread = random.normal(scale=2 * np.nanstd(values), size=rows)
        between = one + random.random(rows) * (other - one)
        out.append(np.choose(random.choice(4, rows, p=[0.55, 0.25, 0.15, 0.05]), [one, between, spread, 0.0]))
    return out


@dataclass(frozen=True)
class Forms:
    """Both forms of a model as a server has them; `onnx` is None where the check did not verify it."""

    schema: Schema
    native: Predictor
    onnx: Predictor | None
    reason: str
    batches: bool

    @classmethod
    def of(cls, estimator: Any, rows: pd.DataFrame, folder: Path) -> Forms:
        """The forms as the trainer makes and checks them."""
        model = inspection.inspect(estimator, rows, Path("/code"))
        held_out = rows.head(50)
        form = native.dump(estimator, allow_pickle=False)
        verified = verification.verify(form, model, inspection.signature(model, rows), rows, held_out)
        converted = verified.converted
        assert converted is not None
        schema, manifest = Schema(verified.signature), verification.manifest(model, verified.signature)
        onnx = None
        if converted.content is not None:
            path = folder / "model.onnx"
            path.write_bytes(converted.content)
            onnx = OnnxModel(path, schema, manifest, threads=1)
        loaded = NativeModel(native.load(form), schema, manifest)
        return cls(schema, loaded, onnx, converted.report.reason, verified.batching is not False)


def differences(first: Predictor, second: Predictor, frame: Frame) -> Iterator[str]:
    """How each row differs on which two forms disagree. A refused batch is sent row by row."""
    for start in range(0, frame.rows, _BATCH_ROWS):
        part = frame.part(start, min(start + _BATCH_ROWS, frame.rows))
        wanted, given = outcome(first, part), outcome(second, part)
        if not isinstance(wanted, Refused) and difference(wanted, given, [1.0], _NAMES) is None:
            continue
        for i in range(part.rows):
            row = part.part(i, i + 1)
            found = difference(outcome(first, row), outcome(second, row), [1.0], _NAMES)
            if found is not None:
                yield f"{[column[0] for column in _columns(row)]}: {found[1]}"


def _columns(frame: Frame) -> list[Any]:
    return [frame.column(i) for i in range(frame.schema.width)]


def batch_dependent(model: Predictor, frame: Frame) -> int:
    """How many rows have another prediction as a request of their own than in a batch."""
    count = 0
    for start in range(0, frame.rows, _BATCH_ROWS):
        part = frame.part(start, min(start + _BATCH_ROWS, frame.rows))
        together = outcome(model, part)
        for i in range(0 if isinstance(together, Refused) else part.rows):
            assert not isinstance(together, Refused)
            alone = outcome(model, part.part(i, i + 1))
            count += difference(together.part(i, i + 1), alone, [1.0], ("in a batch", "alone")) is not None
    return count


@dataclass
class Counts:
    """What was found so far."""

    models: int = 0
    verified: int = 0
    rows: int = 0
    wrong_models: int = 0
    wrong_rows: int = 0
    batched: int = 0
    batch_dependent_models: int = 0
    batch_dependent_rows: int = 0
    single_rows: int = 0


def sample_pairs(models: int) -> list[tuple[str, str]]:
    """Pairs of steps and an estimator, evenly spaced in the list of all."""
    pairs = list(itertools.product(steps(), estimators()))
    count = min(models, len(pairs))
    return [pairs[i * len(pairs) // count] for i in range(count)]


def measure(pairs: Sequence[tuple[str, str]], rows: int, only: str = "") -> Counts:
    """Fit, check and compare; `rows` for each verified model. `only`: how the steps' name begins."""
    found = Counts()
    for number, (before, last) in enumerate(pairs):
        if not before.startswith(only):
            continue
        random = np.random.default_rng(number)
        data = table(before.partition(":")[0], 300, random)
        score = data["b"].fillna(0.3) + data["zero"].fillna(0) - 0.1 * data["n"] + data["a"].fillna(0) ** 2
        target = score if last.endswith("regressor") else (score > score.median()).astype(int)
        try:
            model = pipeline.make_pipeline(*steps()[before], estimators()[last]).fit(data, target)
        except ValueError:
            continue  # nulls that the estimator does not take
        found.models += 1
        with tempfile.TemporaryDirectory() as folder:
            forms = Forms.of(model, data, Path(folder))
        _compare(found, forms, random_rows(data, rows, random), f"{before} + {last}")
    return found


def _compare(found: Counts, forms: Forms, columns: list[Any], name: str) -> None:
    frame = Frame(forms.schema, len(columns[0]), arrays=columns)
    result = f"native: {forms.reason}"
    if forms.onnx is not None:
        wrong = list(differences(forms.native, forms.onnx, frame))
        found.verified += 1
        found.rows += frame.rows
        found.wrong_models += bool(wrong)
        found.wrong_rows += len(wrong)
        result = f"verified, {len(wrong)} of {frame.rows} rows differ {wrong[:2] or ''}"
    if forms.batches:
        count = batch_dependent(forms.native, frame.part(0, min(_SINGLE_ROWS, frame.rows)))
        found.batched += 1
        found.single_rows += min(_SINGLE_ROWS, frame.rows)
        found.batch_dependent_models += bool(count)
        found.batch_dependent_rows += count
        result += f"; {count} rows differ alone" if count else ""
    print(f"{time.strftime('%H:%M:%S')} {name}: {result}", file=sys.stderr, flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit codes: 0 no verified model differed, 1 one did."""
    parser = argparse.ArgumentParser(prog="python -m hack.bench.parity", description=__doc__.partition("\n")[0])
    parser.add_argument("--models", type=int, default=150, help="pairs of steps and an estimator that are tried")
    parser.add_argument("--rows", type=int, default=2000, help="random rows of each verified model")
    parser.add_argument("--only", default="", metavar="DATA", help="of these pairs, plain, nulls or codes alone")
    parsed = parser.parse_args(arguments)
    with warnings.catch_warnings(), threadpool_limits(1):
        warnings.simplefilter("ignore")
        found = measure(sample_pairs(parsed.models), parsed.rows, parsed.only)
    print(f"models fitted and checked: {found.models}, verified: {found.verified}")
    print(f"verified models with a row that differs: {found.wrong_models}")
    print(f"rows that differ: {found.wrong_rows} of {found.rows}")
    print(
        f"models whose check found no dependence on the batch: {found.batched}, "
        f"of them with a row that differs: {found.batch_dependent_models}"
    )
    print(f"rows that differ alone and in a batch: {found.batch_dependent_rows} of {found.single_rows}")
    return 1 if found.wrong_models else 0


if __name__ == "__main__":
    sys.exit(main())
