"""Performance without labels: the estimate against the formulas of CBPE, its error against simulated labels."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from prometheus_client import CollectorRegistry, generate_latest
from sklearn import metrics as sklearn_metrics
from sklearn.linear_model import LinearRegression, LogisticRegression
from tests.support.monitoring import DIGEST, START, Clock, batch, config, reference, running

from tidemill_contracts.calibration import CalibrationTable
from tidemill_contracts.inference import Feedback
from tidemill_contracts.monitoring import PerformanceConfig
from tidemill_contracts.reference import ReferenceProfile
from tidemill_runtime.monitor import estimate
from tidemill_runtime.monitor.binning import Counts, Layout
from tidemill_runtime.monitor.service import Monitor
from tidemill_runtime.trainer.model import inspection
from tidemill_runtime.trainer.model.inspection import Model
from tidemill_runtime.trainer.package import calibration_tables, reference_profile

Rows = tuple[pd.DataFrame, np.ndarray[Any, Any]]


def classified(random: np.random.Generator, rows: int, shift: float = 0.0) -> Rows:
    """Two features; the probability of the label 1 is no logistic function of them: the model is not calibrated."""
    x = random.normal(shift, 1.0, (rows, 2))
    probability = 1 / (1 + np.exp(-2 * np.sin(x[:, 0]) - x[:, 1] * np.abs(x[:, 1])))
    return pd.DataFrame(x, columns=["a", "b"]), (random.random(rows) < probability).astype(int)


def of_three(random: np.random.Generator, rows: int, shift: float = 0.0) -> Rows:
    x = random.normal(shift, 1.0, (rows, 2))
    scores = np.stack([x[:, 0], x[:, 1], np.zeros(rows)], axis=1) + random.gumbel(size=(rows, 3))
    return pd.DataFrame(x, columns=["a", "b"]), np.array(["red", "green", "blue"])[scores.argmax(axis=1)]


def measured(random: np.random.Generator, rows: int, shift: float = 0.0) -> Rows:
    """The spread of the label grows with the prediction."""
    x = random.normal(shift, 1.0, (rows, 2))
    mean = 10 + 3 * x[:, 0]
    return pd.DataFrame(x, columns=["a", "b"]), mean + random.normal(size=rows) * (0.5 + 0.2 * np.abs(mean))


def trained(estimator: Any, rows: Rows) -> Model:
    estimator.fit(*rows)
    return inspection.inspect(estimator, rows[0], Path())


def layout(model: Model, holdout: Rows) -> Layout:
    predicted, probabilities = model.predict(holdout[0]), model.probabilities(holdout[0])
    tables = calibration_tables.tables(model, predicted, probabilities, pd.Series(holdout[1]))
    return Layout(reference_profile.profile(model, holdout[0], predicted, probabilities, {}, tables))


def scores_of(model: Model, predicted: Any, probabilities: Any) -> list[float] | None:
    """The probability of the predicted class in 32 bits, as a server records it of a model by ONNX."""
    if probabilities is None:
        return None
    assert model.classes is not None
    place = np.searchsorted(model.classes, predicted)
    found: list[float] = probabilities[np.arange(len(place)), place].astype(np.float32).astype(float).tolist()
    return found


def counted(model: Model, found: Layout, features: pd.DataFrame) -> Counts:
    """Count rows as a server records them."""
    predicted, probabilities = model.predict(features), model.probabilities(features)
    return found.calibration(found.count({}, predicted.tolist(), scores_of(model, predicted, probabilities)))


def realised(names: tuple[str, ...], model: Model, rows: Rows) -> dict[str, float]:
    truth, predicted, probabilities = rows[1], model.predict(rows[0]), model.probabilities(rows[0])
    if probabilities is None:
        formulas = {"mae": "mean_absolute_error", "rmse": "root_mean_squared_error", "r2": "r2_score"}
        return {name: float(getattr(sklearn_metrics, formulas[name])(truth, predicted)) for name in names}
    average: dict[str, Any] = {} if probabilities.shape[1] == 2 else {"average": "macro"}
    scores = sklearn_metrics.precision_recall_fscore_support(
        truth, predicted, zero_division=0, **(average or {"average": "binary"})
    )
    found = dict(zip(("precision", "recall", "f1"), map(float, scores[:3]), strict=True))
    found["accuracy"] = float((truth == predicted).mean())
    recalls = [float((predicted[truth == value] == value).mean()) for value in np.unique(truth)]
    found["balanced_accuracy"] = float(np.mean(recalls))
    if not average:
        of_truth = np.where(truth == 1, probabilities[:, 1], probabilities[:, 0])
        found["roc_auc"] = float(sklearn_metrics.roc_auc_score(truth, probabilities[:, 1]))
        found |= {"log_loss": float(-np.log(of_truth).mean()), "brier": float(((1 - of_truth) ** 2).mean())}
    return {name: found[name] for name in names}


SHARES = ("accuracy", "balanced_accuracy", "f1", "precision", "recall")
FAMILIES: dict[str, tuple[Any, Any, tuple[str, ...]]] = {
    "two classes": (classified, LogisticRegression, (*SHARES, "roc_auc", "log_loss", "brier")),
    "three classes": (of_three, LogisticRegression, SHARES),
    "numbers": (measured, LinearRegression, ("mae", "rmse", "r2")),
}


def values(found: Layout, counts: Counts, names: tuple[str, ...]) -> dict[str, estimate.Estimated]:
    results = {name: estimate.estimated(name, found, counts) for name in names}
    assert not [text for text in results.values() if isinstance(text, str)]
    return results  # type: ignore[return-value]


@pytest.mark.parametrize("family", FAMILIES)
def test_on_the_holdout_itself_the_estimate_is_the_metric(family: str) -> None:
    draw, estimator, names = FAMILIES[family]
    random = np.random.default_rng(1)
    model = trained(estimator(), draw(random, 1_000))
    holdout = draw(random, 2_000)
    found = layout(model, holdout)
    results = values(found, counted(model, found, holdout[0]), names)
    expected = realised(names, model, holdout)
    assert {name: result.value for name, result in results.items()} == pytest.approx(expected, rel=2e-3)


@pytest.mark.parametrize("others", [False, True], ids=["like the holdout", "other rows"])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_interval_has_the_realised_value_in_95_of_100_cases(family: str, others: bool) -> None:
    """With `others` the features are of another distribution, chosen by the answer: what it says of the label stays."""
    draw, estimator, names = FAMILIES[family]
    random = np.random.default_rng(2)
    model = trained(estimator(), draw(random, 1_000))
    inside, runs = dict.fromkeys(names, 0), 80
    for _ in range(runs):
        found = layout(model, draw(random, 1_500))
        rows = draw(random, 600)
        if others:
            answer = model.predict(rows[0])
            kept = (answer > np.median(answer)) if family == "numbers" else (answer == answer[0])
            kept |= random.random(600) < 0.4
            rows = rows[0][kept], rows[1][kept]
        truth = realised(names, model, rows)
        for name, result in values(found, counted(model, found, rows[0]), names).items():
            inside[name] += result.low <= truth[name] <= result.high
    # 80 x 0.95 = 76 ± 2; below 69 in one of 1,000 such tests
    assert {name: count for name, count in inside.items() if count < 69} == {}


def test_cbpe_is_the_expected_confusion_matrix_of_calibrated_scores() -> None:
    """NannyML, How it works: performance estimation: tp += p for rows predicted positive, fp += 1 - p, and so on."""
    random = np.random.default_rng(3)
    model = trained(LogisticRegression(), classified(random, 3_000))
    found = layout(model, classified(random, 5_000))
    features, _ = classified(random, 700, 0.3)
    counts = counted(model, found, features)
    strata = found.strata
    assert strata is not None
    right = np.concatenate([np.array(t.sums[f'confusion ["{t.predicted}", "{t.predicted}"]']) for t in strata.tables])
    calibrated = right / np.maximum(strata.rows, 1)
    predicted, probabilities = model.predict(features), model.probabilities(features)
    place = strata.places(predicted.tolist(), scores_of(model, predicted, probabilities))
    known = strata.rows[place] > 0  # scores beyond those of the holdout are left out
    place, positive = place[known], predicted[known] == 1
    assert known.mean() > 0.98
    p = np.where(positive, calibrated[place], 1 - calibrated[place])
    tp, fp, fn = p[positive].sum(), (1 - p[positive]).sum(), p[~positive].sum()
    tn = (1 - p[~positive]).sum()
    results = {name: estimate.estimated(name, found, counts) for name in SHARES}
    expected = {
        "accuracy": (tp + tn) / len(p),
        "balanced_accuracy": (tp / (tp + fn) + tn / (tn + fp)) / 2,
        "f1": 2 * tp / (2 * tp + fp + fn),
        "precision": tp / (tp + fp),
        "recall": tp / (tp + fn),
    }
    assert {name: getattr(value, "value", value) for name, value in results.items()} == pytest.approx(expected)


def test_an_uncalibrated_score_is_corrected() -> None:
    """Of rows with a score near 0.9 six of ten are right on the holdout: that is what counts, not the 0.9."""
    table = CalibrationTable(
        predicted="1",
        edges=(0.5, 0.85, 0.95),
        rows=(0, 100, 100, 0),
        sums={'confusion ["1", "1"]': (0.0, 50.0, 60.0, 0.0), 'confusion ["0", "1"]': (0.0, 50.0, 40.0, 0.0)},
    )
    found = Layout(_profile(table))
    result = estimate.estimated("accuracy", found, found.calibration(found.count({}, [1] * 10, [0.9] * 10)))
    assert isinstance(result, estimate.Estimated)
    assert result.value == pytest.approx(0.6)
    # ten labels of such rows, and a share that 100 held-out rows say
    assert result.error == pytest.approx((0.6 * 0.4 * 100 / 99 * (1 / 10 + 1 / 100)) ** 0.5)


def _profile(*tables: CalibrationTable) -> ReferenceProfile:
    return ReferenceProfile.model_validate(
        {
            "schema_version": 2,
            "rows": 200,
            "features": [],
            "prediction": {
                "kind": "categorical",
                "name": "y",
                "categories": ["0", "1"],
                "counts": [100, 100, 0],
                "missing": 0,
            },
            "classes": ["0", "1"],
            "calibration": [table.model_dump() for table in tables],
        }
    )


POOR = CalibrationTable(
    predicted="1",
    edges=(0.5, 0.8, 1.01),
    rows=(0, 300, 29, 0),
    sums={'confusion ["1", "1"]': (0.0, 150.0, 20.0, 0.0), 'confusion ["0", "1"]': (0.0, 150.0, 9.0, 0.0)},
)


@pytest.mark.parametrize(
    ("predictions", "scores", "share", "trusted"),
    [
        ([1] * 20, [0.6] * 19 + [0.9], 0.05, True),
        ([1] * 20, [0.6] * 18 + [0.9] * 2, 0.1, False),
        ([1] * 19 + [0], [0.6] * 20, 0.05, True),
        ([1] * 18 + [0] * 2, [0.6] * 20, 0.1, False),
        ([1] * 20, [0.6] * 18 + [None, float("nan")], 0.1, False),
        ([1] * 20, [0.6] * 18 + [0.4] * 2, 0.1, False),
    ],
    ids=["few", "too many", "few of a class without table", "too many of it", "no score", "below all held-out rows"],
)
def test_it_is_not_trusted_where_more_than_a_twentieth_has_no_support(
    predictions: list[int], scores: list[float | None], share: float, trusted: bool
) -> None:
    found = Layout(_profile(POOR))
    counts = found.calibration(found.count({}, predictions, scores))
    config = PerformanceConfig(metric="accuracy", min=0.9, estimate=True)
    result = estimate.report(config, found, counts, start=0.0, end=3600.0)
    assert result.unsupported_ratio == pytest.approx(share)
    assert result.trusted is trusted
    assert not result.exceeded, "20 rows prove nothing, and what is not trusted proves nothing either"


def test_no_row_no_table_and_no_such_metric_are_said() -> None:
    found = Layout(_profile(POOR))
    empty = found.calibration(found.count({}, [], []))
    config = PerformanceConfig(metric="accuracy", min=0.9, estimate=True)
    assert estimate.report(config, found, empty, start=0.0, end=1.0).note == "no row was counted by score"
    without = Layout(_profile())
    assert without.strata is None
    assert "no calibration table" in estimate.report(config, without, np.zeros(1, dtype=np.int64), start=0, end=1).note
    of_numbers = config.model_copy(update={"metric": "mae"})
    counts = found.calibration(found.count({}, [1] * 9, [0.6] * 9))
    result = estimate.report(of_numbers, found, counts, start=0.0, end=1.0)
    assert result.value is None
    assert "mae is not computed for classes" in result.note


def test_many_classes_have_one_table_of_right_rows() -> None:
    random = np.random.default_rng(4)
    classes = np.array([f"c{i:02}" for i in range(25)])
    probabilities = random.dirichlet(np.ones(25), 4_000)
    predicted = classes[probabilities.argmax(axis=1)]
    truth = np.where(random.random(4_000) < 0.7, predicted, random.choice(classes, 4_000))  # whatever the score
    model = Model(None, "classification", ("a",), True, classes, None, None)  # type: ignore[arg-type]
    tables = calibration_tables.tables(model, predicted, probabilities, pd.Series(truth))
    assert [table.predicted for table in tables] == [None]
    profile = reference_profile.profile(model, pd.DataFrame({"a": [1.0]}), predicted, probabilities, {}, tables)
    found = Layout(profile)
    scores = probabilities[np.arange(4_000), np.searchsorted(classes, predicted)].tolist()
    counts = found.calibration(found.count({}, predicted.tolist(), scores))
    result = estimate.estimated("accuracy", found, counts)
    assert isinstance(result, estimate.Estimated)
    right = (predicted == truth).mean()
    assert result.value == pytest.approx(right)
    assert result.error == pytest.approx((right * (1 - right) * 2 / 4_000) ** 0.5, rel=0.05)
    assert estimate.estimated("f1", found, counts) == "a model of so many classes has an estimate of accuracy only"


@pytest.mark.parametrize(
    "changes",
    [
        {"rows": (1, 2)},
        {"rows": (0, 300, 29, -1)},
        {"edges": (0.8, 0.5, 1.01)},
        {"edges": (0.5, 0.8, float("inf"))},
        {"sums": {"confusion nonsense": (0.0,) * 4}},
        {"sums": {"anything": (0.0,) * 4}},
        {"sums": {"log_loss": (0.0, float("nan"), 0.0, 0.0)}},
        {"sums": {'confusion ["1", "1"]': (0.0, 301.0, 0.0, 0.0)}},
        {"sums": {"log_loss": (0.0,)}},
    ],
)
def test_a_table_that_contradicts_itself_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"profile\.calibration of '1'"):
        Layout(_profile(POOR.model_copy(update=changes)))


def test_two_tables_of_one_class_or_too_many_bins_are_refused() -> None:
    with pytest.raises(ValueError, match="one table for each predicted class"):
        Layout(_profile(POOR, POOR))
    many = CalibrationTable(predicted="0", edges=tuple(range(1_000)), rows=(0,) * 1_001, sums={})
    with pytest.raises(ValueError, match="at most 1000 bins"):
        Layout(_profile(many))


RISKY = CalibrationTable(
    predicted="1",
    edges=(0.5, 0.75, 1.01),
    rows=(0, 1_000, 1_000, 0),
    sums={'confusion ["1", "1"]': (0.0, 600.0, 950.0, 0.0), 'confusion ["0", "1"]': (0.0, 400.0, 50.0, 0.0)},
)


def test_the_report_has_it_for_the_last_judged_window_and_for_the_windows_with_labels(tmp_path: Path) -> None:
    limits = PerformanceConfig(metric="accuracy", min=0.8, min_labels=50, label_delay_seconds=0, estimate=True)
    settings = config(tmp_path, min_rows=100, performance=limits)
    clock = Clock(START + 1)
    monitor = Monitor(settings, clock)
    monitor.start()
    try:
        monitor.add_reference(reference(profile=_profile(RISKY))).result(10)

        def served(hour: int, rows: int, score: float) -> None:
            clock.now = START + hour * 3600 + 1
            scores = [score] * rows
            monitor.add_batch(
                batch(hour, rows, at=clock.now, columns={}, predictions=[1] * rows, scores=scores)
            ).result(10)

        served(0, 200, 0.9)
        monitor.add_feedback([Feedback(id=f"p0/{row}", label=int(row % 10 > 0)) for row in range(200)]).result(10)
        served(1, 400, 0.6)
        served(2, 50, 0.9)  # too few to be judged
        clock.now = START + 3 * 3600 + 10
        found = monitor.report(DIGEST).versions[0].performance
        assert found is not None
        assert found.estimate is not None
        assert (found.value, found.estimated) == (pytest.approx(0.9), pytest.approx(0.95))
        assert (found.estimate.start, found.estimate.rows) == (START + 3600, 400)
        assert found.estimate.value == pytest.approx(0.6)
        assert found.estimate.trusted
        assert found.estimate.exceeded, "0.6 with an error of 0.03 is far below 0.8"
        monitor.collector.update(monitor._evaluator.evaluate())
        registry = CollectorRegistry()
        registry.register(monitor.collector)
        text = generate_latest(registry).decode()
        assert 'tidemill_estimated_performance{deployment="churn",metric="accuracy"' in text
    finally:
        monitor.close()


def test_who_does_not_ask_has_no_estimate(tmp_path: Path) -> None:
    limits = PerformanceConfig(metric="accuracy", min=0.8, min_labels=50, label_delay_seconds=0)
    with running(config(tmp_path, performance=limits), Clock(START + 9_999)) as monitor:
        monitor.add_batch(batch(0, 600, at=START + 1)).result(10)
        found = monitor.report(DIGEST).versions[0].performance
        assert found is not None
        assert (found.estimate, found.estimated) == (None, None)
