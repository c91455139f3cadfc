"""Real data, profiled by the trainer's own code: no alarm on held-out rows, the changed features named otherwise."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_breast_cancer
from tests.support.monitoring import batch, config, reference, running

from tidemill_contracts.drift_tests import BY_NAME, NAMES
from tidemill_contracts.monitoring import DriftConfig, TestConfig, WindowReport
from tidemill_contracts.reference import CategoricalProfile, ReferenceProfile
from tidemill_runtime.monitor import drift
from tidemill_runtime.monitor.binning import ColumnBins
from tidemill_runtime.monitor.drift import Scored
from tidemill_runtime.monitor.scoring import column_score
from tidemill_runtime.monitor.tally import ColumnTally
from tidemill_runtime.trainer.package.reference_profile import categorical, numeric

SHIFTED = {"mean radius": 1.6, "mean area": 2.2, "worst area": 2.2, "worst perimeter": 1.6}


@pytest.fixture(scope="module")
def cancer() -> Any:
    return load_breast_cancer(as_frame=True).data.sample(frac=1, random_state=3)


def judge(folder: Path, cancer: Any, current: Any, test: str) -> WindowReport:
    """Profile 455 rows and judge the others, by one test at its usual threshold."""
    training = cancer.iloc[:455]
    features = tuple(numeric(training[name].to_numpy(), name) for name in training)
    profile = ReferenceProfile(rows=455, features=features)
    settings = DriftConfig(features=TestConfig(test=test, threshold=BY_NAME[test].threshold), drifted_share=0.1)
    with running(config(folder, drift=settings, min_rows=100)) as monitor:
        monitor.add_reference(reference("sha256:real", "cancer-1", profile)).result()
        columns = {name: current[name].tolist() for name in current}
        posted = batch(rows=len(current), digest="sha256:real", columns=columns)
        monitor.add_batch(posted).result()
        return monitor.report("sha256:real").versions[0].windows[0]


@pytest.mark.parametrize("test", NAMES)
def test_held_out_rows_are_not_drift(tmp_path: Path, cancer: Any, test: str) -> None:
    window = judge(tmp_path, cancer, cancer.iloc[455:], test)
    assert window.judged
    assert not window.drift
    assert [f.name for f in window.features if f.drifted] == []


@pytest.mark.parametrize("test", NAMES)
def test_the_changed_features_are_named_and_no_other(tmp_path: Path, cancer: Any, test: str) -> None:
    current = cancer.iloc[np.random.default_rng(0).integers(455, 569, size=600)].copy()
    for name, factor in SHIFTED.items():
        current[name] *= factor
    window = judge(tmp_path, cancer, current, test)
    assert window.drift
    scores = {f.name: f.score for f in window.features if f.score is not None}
    assert set(sorted(scores, key=lambda name: -scores[name])[:4]) == set(SHIFTED)
    assert {f.name for f in window.features if f.drifted} >= set(SHIFTED)


@pytest.mark.parametrize(("rows", "levels"), [(1_500, 1_000), (20_000, 1_000), (5_000, 200)])
def test_many_categories_of_the_same_mix_are_no_drift_and_another_mix_is(rows: int, levels: int) -> None:
    """A zip code: the categories that were frequent in training by chance are not in any window that follows."""
    random = np.random.default_rng(levels + rows)
    reference_rows = pd.Series(random.integers(0, levels, rows)).map("z{:04d}".format)
    column = ColumnBins(categorical(reference_rows, "zip"))
    psi = TestConfig(test="PSI", threshold=BY_NAME["PSI"].threshold)

    def drifted(values: list[str]) -> bool:
        counted = column.count(values)
        score = column_score("zip", column, counted, psi)
        scored = Scored(score, column.profile, ColumnTally.of(column, counted))
        return drift.judge(DriftConfig(), [scored], window_seconds=3_600, rows=len(values)).columns[0].drifted

    windows = [[f"z{value:04d}" for value in random.integers(0, levels, 1_000)] for _ in range(20)]
    assert not any(drifted(values) for values in windows)
    frequent = column.profile.categories if isinstance(column.profile, CategoricalProfile) else ()
    assert drifted([*random.choice(frequent, 500).tolist(), *windows[0][:500]])
