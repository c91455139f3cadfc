"""A run on rows that a monitor has kept: from its files, on a claim and in a bucket, to the lineage of a version."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.runtime.conftest import Trainer
from tests.support import training_code
from tests.support.monitoring import START, Clock, batch, config, running

from tidemill_contracts.feedback import RowsInput, RowsTaken
from tidemill_contracts.inference import Feedback
from tidemill_contracts.payloads import PayloadConfig
from tidemill_contracts.training import DataInput, ProbeConfig
from tidemill_runtime.monitor import payload_writer
from tidemill_runtime.trainer import probe

ROWS = 120
CLAIM = "pvc://store/log/team-a/churn"


@pytest.fixture(autouse=True)
def by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """The monitor's thread never writes by itself."""
    monkeypatch.setattr(payload_writer, "LOOK_SECONDS", 3600.0)


class Kept:
    """A monitor that keeps rows."""

    def __init__(self, folder: Path, uri: str, secret: str | None) -> None:
        self.uri, self.secret = uri, secret
        self.clock = Clock(START + 10)
        settings = PayloadConfig(uri=uri, secret=secret, columns=("age",), wait_seconds=60)
        self.monitor = running(config(folder, payloads=settings), self.clock)
        self._next = 0

    def answer(self, labelled: int) -> None:
        """Answer ROWS requests, of which the first get a label, and write a file."""
        self._next += 1
        columns = {"age": [int(v) for v in np.arange(ROWS) % 60], "plan": ["basic"] * ROWS}
        sent = batch(self._next, rows=ROWS, columns=columns)
        self.running.add_batch(sent).result(10)
        labels = [
            Feedback(id=identifier, label=int(age > 30))
            for identifier, age in zip(sent.ids[:labelled], columns["age"], strict=False)
        ]
        self.running.add_feedback(labels).result(10)
        self.clock.now += 70
        while self.running.payloads.step():
            pass

    def __enter__(self) -> Kept:
        self.running: Any = self.monitor.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self.monitor.__exit__(*error)

    def source(self, revision: str | None = None, **rows: Any) -> DataInput:
        where = RowsInput(uri=self.uri, secret=self.secret, columns=("age",), min_new_rows=50, **rows)
        return DataInput(name="fresh", uri="feedback://churn", revision=revision, rows=where)

    def look(self, **rows: Any) -> str:
        found = probe.probe(ProbeConfig(data=(self.source(**rows),)))
        return found.revisions.get("fresh") or found.errors["fresh"]


@pytest.fixture(params=["claim", "bucket"])
def kept(request: pytest.FixtureRequest, tmp_path: Path, mounts: Path) -> Iterator[Kept]:
    uri, secret = CLAIM, None
    if request.param == "bucket":
        uri, secret = f"s3://{request.getfixturevalue('bucket')}/log/team-a/churn", "lake"
    (tmp_path / "monitor").mkdir()
    with Kept(tmp_path / "monitor", uri, secret) as found:
        yield found


def test_kept_rows_train_a_version_that_says_which_they_were(kept: Kept, trainer: Trainer) -> None:
    kept.answer(labelled=0)
    assert kept.look().startswith("TooFewLabels: feedback://churn has 0 rows with a label")
    kept.answer(labelled=90)
    decided = kept.look()
    kept.answer(labelled=90)
    assert kept.look(known=decided) != decided
    trained = trainer(training_code.LOGISTIC, (kept.source(decided),), "label")
    assert trained.exit_code == 0, trained.log
    assert trained.result.data == {"fresh": decided}
    assert not any("changed since" in text for text in trained.result.warnings)
    taken = RowsTaken(rows=90, first=START, last=START, versions={"churn-1": 90})
    assert trained.result.kept_rows == {"fresh": taken}
    assert sum(trained.result.rows.values()) == 90
    version = trained.open()
    assert version.manifest.lineage.kept_rows == {"fresh": taken}
    assert [column.name for column in version.manifest.signature.inputs] == ["age"]
    again = trainer(training_code.LOGISTIC, (kept.source(decided),), "label")
    assert again.result.digest == trained.result.digest, "the same rows give the same version"


def test_a_version_of_other_data_has_the_manifest_that_it_had(trainer: Trainer) -> None:
    trained = trainer(training_code.LOGISTIC, "builtin://iris")
    assert b"kept_rows" not in trained.open().manifest.canonical_bytes()
    assert trained.result.kept_rows == {}


def test_a_run_without_a_row_with_a_label_fails_with_the_reason(kept: Kept, trainer: Trainer) -> None:
    kept.answer(labelled=0)
    trained = trainer(training_code.LOGISTIC, (kept.source(),), "label")
    assert (trained.failure.category, trained.failure.reason) == ("DataInvalid", "TooFewLabels")
