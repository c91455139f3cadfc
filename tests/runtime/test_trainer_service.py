"""Trained, published, served: columns that pandas keeps as objects reach a server that repeats the recorded answers."""

import json

import numpy as np
import pandas as pd
import pytest
from tests.runtime.conftest import Trained, Trainer
from tests.support import training_code

from tidemill_contracts.inference import ServerConfig
from tidemill_contracts.training import DataInput
from tidemill_runtime.loading import local_copy, warm_up
from tidemill_runtime.loading.warm_up import WarmModel

ROWS = 200
RUNTIMES = ("Auto", "Native")
# The left join leaves a gap for each order of a customer who is not in the other table: objects True, False, NaN.
JOINS_FLAGS = """
def features(data):
    joined = data["orders"].merge(data["customers"], on="customer", how="left")
    return joined[["amount", "active", "mark"]]
"""
JOINS_FLAGS += training_code.MIXED.replace(
    "    features = ", "    data = features(data).astype({'active': float})\n    chosen = "
).replace("(features, ", "(chosen, ")


def warm(trained: Trained, runtime: str) -> WarmModel:
    """Return the model as a server warms it up."""
    assert trained.exit_code == 0, trained.result.failure
    config = ServerConfig(
        namespace="team-a",
        deployment="churn",
        version="churn-1",
        number="1",
        digest=trained.result.digest or "",
        uri=trained.result.uri or "",
        runtime=runtime,
    )
    with local_copy.opened(config) as version:
        return warm_up.load(version, config, threads=1)


def orders() -> pd.DataFrame:
    random = np.random.default_rng(5)
    amount = random.normal(size=ROWS).round(3)
    return pd.DataFrame({"customer": range(ROWS), "amount": amount, "churned": np.where(amount > 0, "ja", "nein")})


def lines(table: pd.DataFrame) -> str:
    return "\n".join(json.dumps(row) for row in table.astype(object).to_dict("records"))


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_booleans_with_gaps_in_a_file(trainer: Trainer, runtime: str) -> None:
    table = orders().assign(
        active=[(True, False, None)[i % 3] for i in range(ROWS)],
        mark=[(1, "b", True, None, 2.5)[i % 5] for i in range(ROWS)],
    )
    trained = trainer(training_code.MIXED, trainer.table(lines(table), "table.jsonl"), "churned")
    kinds = {column.name: column.datatype for column in warm(trained, runtime).schema.columns}
    assert kinds == {"customer": "INT64", "amount": "FP64", "active": "FP64", "mark": "BYTES"}


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("gaps", ["everywhere", "in one row"])
def test_booleans_with_gaps_that_a_join_leaves(trainer: Trainer, runtime: str, gaps: str) -> None:
    customers = pd.DataFrame({"customer": range(ROWS), "active": [i % 2 == 0 for i in range(ROWS)]})
    customers["mark"] = [f"m{i % 3}" for i in range(ROWS)]
    # One gap is in one part only: that must not make the column another type in the other part.
    customers = customers[customers["customer"] % 3 > 0] if gaps == "everywhere" else customers.iloc[1:]
    data = (
        DataInput(name="orders", uri=trainer.table(orders().to_csv(index=False), "orders.csv")),
        DataInput(name="customers", uri=trainer.table(customers.to_csv(index=False), "customers.csv")),
    )
    kinds = {c.name: c.datatype for c in warm(trainer(JOINS_FLAGS, data, "churned"), runtime).schema.columns}
    assert kinds == {"amount": "FP64", "active": "FP64", "mark": "BYTES"}


@pytest.mark.parametrize(
    ("made", "says"),
    [
        ("__import__('pandas').concat([data, data], axis=1)", "features returned columns more than once: a"),
        ("data.assign(**{f'only-{len(data)}': 1})", "features returned other columns for the held-out rows"),
    ],
)
def test_features_without_one_name_for_a_column_are_refused(trainer: Trainer, made: str, says: str) -> None:
    text = f"def features(data):\n    return {made}\n" + training_code.TREE
    table = "a,target\n" + "".join(f"{i},{i % 2}\n" for i in range(50))
    failure = trainer(text, trainer.table(table)).failure
    assert (failure.category, failure.reason) == ("UserError", "InvalidFeatures")
    assert says in failure.message
