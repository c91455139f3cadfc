"""Whole runs with `evaluation.split`: what code and clients get, what is recorded, and what is said of the champion."""

import sys

import numpy as np
import pandas as pd
import pytest
from tests.runtime.conftest import Trainer
from tests.support import training_code

from tidemill_contracts.artifact import ModelManifest
from tidemill_contracts.holdout import Holdout, HoldoutSplit
from tidemill_contracts.training import Champion, DataInput, TrainingResult

GROUP = HoldoutSplit(type="Group", column="customer")
TIME = HoldoutSplit(type="Time", column="day", keep_column=True)
COLUMN = HoldoutSplit(type="Column", column="side")

# Shows in the metrics what it was given.
SHOWS = """
from sklearn.linear_model import LogisticRegression


def train(data, target):
    model = LogisticRegression().fit(data[["x", "z"]], target)
    model.seen_ = float("customer" in data.columns)
    return model


def evaluate(model, data, target):
    return {"customer_in_train": model.seen_, "customer_in_holdout": float("customer" in data.columns)}
"""
# Uses the column, as code from before the split may.
USES = """
from sklearn.tree import DecisionTreeClassifier


def train(data, target):
    return DecisionTreeClassifier(max_depth=2, random_state=0).fit(data[["customer", "x", "z"]], target)
"""
PLAIN = """
from sklearn.tree import DecisionTreeClassifier


def train(data, target):
    return DecisionTreeClassifier(max_depth=2, random_state=0).fit(data[["x", "z"]], target)
"""
PROGRAM_COLUMNS = """
import json, os
from pathlib import Path
import pandas as pd

inputs, outputs = Path(os.environ["TIDEMILL_INPUT_DIR"]), Path(os.environ["TIDEMILL_OUTPUT_DIR"])
columns = {side: list(pd.read_csv(inputs / f"{side}.csv").columns) for side in ("train", "holdout")}
assert columns["train"] == columns["holdout"] == ["x", "z", "day", "side", "y"], columns
(outputs / "model.bin").write_bytes(b"weights")
(outputs / "metrics.json").write_text(json.dumps({"rows": len(pd.read_csv(inputs / "holdout.csv"))}))
"""


def rows(number: int = 600, seed: int = 0) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    x, z = random.normal(size=number), random.normal(size=number)
    return pd.DataFrame(
        {
            "customer": random.integers(0, number // 4, number),
            "x": x.round(6),
            "z": z.round(6),
            "day": pd.date_range("2026-01-01", periods=number, freq="h").strftime("%Y-%m-%dT%H:%M").to_list(),
            "side": np.where(np.arange(number) % 4 == 0, "test", "train"),
            "y": (x + z + random.normal(size=number) > 0).astype(int),
        }
    )


def csv(data: pd.DataFrame) -> str:
    return data.to_csv(index=False)


def champion(result: TrainingResult) -> Champion:
    assert result.uri is not None
    assert result.digest is not None
    return Champion(version="churn-1", uri=result.uri, digest=result.digest, metrics={"accuracy": 0.123})


def manifest(trainer: Trainer, result: TrainingResult) -> ModelManifest:
    folder = trainer.root / "mnt" / "pvc" / (result.uri or "").removeprefix("pvc://")
    return ModelManifest.model_validate_json((folder / "manifest.json").read_bytes())


def test_by_group_code_clients_and_record(trainer: Trainer) -> None:
    ran = trainer(SHOWS, trainer.table(csv(rows())), "y", split=GROUP)
    result = ran.result
    assert result.metrics["customer_in_train"] == result.metrics["customer_in_holdout"] == 0
    assert result.signature is not None
    assert [column.name for column in result.signature.inputs] == ["x", "z"]
    assert result.holdout is not None
    assert (result.holdout.type, result.holdout.cut) == ("Group", None)
    assert sum(result.holdout.groups.values()) == rows()["customer"].nunique()
    assert sum(result.rows.values()) == 600
    assert manifest(trainer, result).lineage.holdout == Holdout(type="Group", ratio=0.2, column="customer")


def test_a_kept_column_reaches_code_and_is_not_asked_of_clients_that_no_model_uses_it_for(trainer: Trainer) -> None:
    kept = GROUP.model_copy(update={"keep_column": True})
    result = trainer(SHOWS, trainer.table(csv(rows())), "y", split=kept).result
    assert result.metrics["customer_in_train"] == result.metrics["customer_in_holdout"] == 1
    assert result.signature is not None
    assert [column.name for column in result.signature.inputs] == ["x", "z"]
    used = trainer(USES, trainer.table(csv(rows())), "y", split=kept).result
    assert used.signature is not None
    assert [column.name for column in used.signature.used_inputs] == ["customer", "x", "z"]


def test_by_time_the_newest_rows(trainer: Trainer) -> None:
    result = trainer(PLAIN, trainer.table(csv(rows())), "y", split=TIME).result
    assert result.rows == {"train": 480, "holdout": 120}
    assert result.holdout is not None
    assert result.holdout.cut == "2026-01-21T00:00:00+00:00"
    found = manifest(trainer, result).lineage.holdout
    assert found == Holdout(type="Time", ratio=0.2, column="day", cut="2026-01-21T00:00:00+00:00")


def test_by_column_what_it_says(trainer: Trainer) -> None:
    result = trainer(PLAIN, trainer.table(csv(rows())), "y", split=COLUMN).result
    assert result.rows == {"train": 450, "holdout": 150}


def test_without_a_split_nothing_is_reported_and_the_record_says_how(trainer: Trainer) -> None:
    result = trainer(training_code.TREE).result
    assert result.holdout is None
    found = manifest(trainer, result).lineage.holdout
    assert found is not None
    assert (found.type, found.ratio) == ("Stratified", 0.2)


def test_a_program_finds_the_same_sides_without_the_column(trainer: Trainer) -> None:
    command = (sys.executable, "train.py")
    result = trainer(PROGRAM_COLUMNS, trainer.table(csv(rows())), "y", split=GROUP, command=command).result
    assert result.outcome == "Succeeded"
    assert result.metrics["rows"] == result.rows["holdout"]
    function = trainer(PLAIN, trainer.table(csv(rows())), "y", split=GROUP).result
    assert function.rows == result.rows


class TestChampion:
    """It is scored on the very rows, and what it may have learned of them is said."""

    def run(self, trainer: Trainer, data: pd.DataFrame, split: HoldoutSplit | None, **more: object) -> TrainingResult:
        ran = trainer(PLAIN, trainer.table(csv(data)), "y", split=split, **more)
        assert ran.exit_code == 0, ran.result
        return ran.result

    @pytest.mark.parametrize("split", [HoldoutSplit(type="Hash"), GROUP, TIME], ids=["Hash", "Group", "Time"])
    def test_it_has_not_learned_them_when_data_grows(self, trainer: Trainer, split: HoldoutSplit) -> None:
        first = self.run(trainer, rows(), split)
        later = rows(800, seed=5).assign(day=lambda d: d["day"].str.replace("2026", "2027"))
        again = self.run(trainer, pd.concat([rows(), later]), split, champion=champion(first))
        assert again.champion_metrics is not None
        assert again.champion_metrics["accuracy"] != 0.123
        assert (again.champion_note, again.champion_overlap) == (None, None)

    def test_one_that_held_out_newer_rows_has(self, trainer: Trainer) -> None:
        first = self.run(trainer, rows(), TIME)
        second = self.run(trainer, rows().head(400), TIME, champion=champion(first))
        assert second.champion_overlap == (
            "churn-1 may have been trained on rows that are held out here: its run held out rows from "
            "2026-01-21T00:00:00+00:00 on only, this one from 2026-01-14T08:00:00+00:00 on"
        )

    def test_by_column_only_the_same_test_rows_are_sure(self, trainer: Trainer) -> None:
        first = self.run(trainer, rows(), COLUMN)
        more = rows(200, seed=3).assign(side="train")
        assert self.run(trainer, pd.concat([more, rows()]), COLUMN, champion=champion(first)).champion_overlap is None
        moved = rows().assign(side=lambda d: d["side"].to_numpy()[::-1])
        other = self.run(trainer, moved, COLUMN, champion=champion(first))
        assert other.champion_metrics is not None
        assert "the rows marked as test are not those of its run" in (other.champion_overlap or "")

    def test_one_from_before_the_split_is_scored_also_where_it_takes_the_column(self, trainer: Trainer) -> None:
        first = trainer(USES, trainer.table(csv(rows())), "y").result
        second = self.run(trainer, rows(), GROUP, champion=champion(first))
        assert second.champion_note is None
        assert second.champion_metrics is not None
        assert second.champion_metrics["accuracy"] != 0.123
        assert "by the default split, this one by split Group of column 'customer'" in (second.champion_overlap or "")

    def test_recorded_metrics_are_of_other_rows(self, trainer: Trainer) -> None:
        first = trainer(training_code.TREE).result
        second = self.run(trainer, rows(), COLUMN, champion=champion(first))
        assert "columns that the data no longer has" in (second.champion_note or "")
        assert second.champion_overlap is None


def test_few_positives_are_said_for_every_split(trainer: Trainer) -> None:
    data = rows().assign(y=lambda d: (np.arange(600) % 30 == 0).astype(int))
    for split in (None, GROUP):
        warnings = trainer(PLAIN, trainer.table(csv(data)), "y", split=split).result.warnings
        assert any(text.startswith("the holdout has fewer than 20 positives: ") for text in warnings), split


@pytest.mark.parametrize(
    ("split", "reason"),
    [
        (HoldoutSplit(type="Group", column="shop"), "MissingSplitColumn"),
        (HoldoutSplit(type="Column", column="customer"), "InvalidSplitColumn"),
    ],
)
def test_what_cannot_be_divided_is_the_datas_fault(trainer: Trainer, split: HoldoutSplit, reason: str) -> None:
    ran = trainer(PLAIN, trainer.table(csv(rows())), "y", split=split)
    assert (ran.failure.category, ran.failure.reason) == ("DataInvalid", reason)
    assert ran.failure.message.startswith(f"evaluation.split (type {split.type}, column {split.column!r}): ")


JOINS = """
from sklearn.linear_model import LogisticRegression


def features(data):
    return data["orders"].merge(data["customers"], on="customer", how="left")[["x", "age"]]


def train(data, target):
    return LogisticRegression().fit(features(data), target)
"""


def test_code_that_joins_by_the_column_is_told_how_to_get_it(trainer: Trainer) -> None:
    people = pd.DataFrame({"customer": range(150), "age": np.arange(150) % 50 + 20})
    inputs = (
        DataInput(name="orders", uri=trainer.table(csv(rows()), "orders.csv")),
        DataInput(name="customers", uri=trainer.table(csv(people), "customers.csv")),
    )
    failed = trainer(JOINS, inputs, "y", split=GROUP).failure
    assert failed.reason == "CodeFailed"
    assert "'customer', the column of evaluation.split; keepColumn: true gives it" in failed.message
    kept = GROUP.model_copy(update={"keep_column": True})
    result = trainer(JOINS, inputs, "y", split=kept).result
    assert result.signature is not None
    assert [column.name for column in result.signature.inputs] == ["x", "age"]


def test_only_target_and_split_column(trainer: Trainer) -> None:
    ran = trainer(PLAIN, trainer.table(csv(rows()[["customer", "y"]])), "y", split=GROUP)
    assert ran.failure.reason == "NoFeatures"
    assert "no column but the target 'y' and the split column 'customer'" in ran.failure.message
