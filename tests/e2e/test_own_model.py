"""A model of one's own: data with an id and a date, and a class that adds a column, from the data to the answer."""

from typing import Any

import pytest
from hack.tools.kubectl import Kubectl, condition, is_true
from tests.e2e.client import Client
from tests.e2e.conftest import wait_condition
from tests.e2e.manifests import code, deployment, pipeline, table

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(420)]

NAME = "churn"
V1 = f"/v1/models/{NAME}:predict"
SELECTING = """
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler


def train(data, target):
    columns = ColumnTransformer([("n", StandardScaler(), ["age", "income"]), ("plan", OneHotEncoder(), ["plan"])])
    return make_pipeline(columns, LogisticRegression()).fit(data, target)
"""
OWN_CLASS = """
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler


class AddRatio(TransformerMixin, BaseEstimator):
    def fit(self, data, target=None):
        return self

    def transform(self, data):
        return data.assign(ratio=data["income"] / data["age"])


def train(data, target):
    columns = ColumnTransformer([("n", StandardScaler(), ["age", "income", "ratio"])])
    return make_pipeline(AddRatio(), columns, LogisticRegression()).fit(data, target)
"""
ROW: dict[str, Any] = {"customer": 900, "since": "2026-11-30", "age": 41, "plan": "gold", "income": 2.5}
USED = {name: ROW[name] for name in ("age", "plan", "income")}


def given(namespace: Kubectl, text: str) -> None:
    rows = ["customer,since,age,plan,income,churned"]
    rows += [
        f"{i},2025-{1 + i % 12:02}-11,{20 + i % 47},{('basic', 'gold')[i % 2]},{i % 9}.5,{int(i % 9 > 4)}"
        for i in range(150)
    ]
    source = [{"name": "rows", "uri": "configmap://rows/d.csv"}]
    namespace.apply([table("rows", rows), code(f"{NAME}-code", text), deployment(NAME)])
    namespace.apply(pipeline(NAME, data=source, target="churned"))


def patched(namespace: Kubectl, **server: Any) -> None:
    found = deployment(NAME)
    found["spec"]["server"] |= server
    namespace.apply(found)


def test_clients_send_the_columns_that_the_model_uses(namespace: Kubectl) -> None:
    given(namespace, SELECTING)
    client = Client(namespace).start()
    wait_condition(namespace, "modeldeployment", NAME, lambda md: is_true(md, "Ready"), 240)

    version = namespace.get("modelversion", f"{NAME}-1")
    assert version is not None
    inputs = version["spec"]["signature"]["inputs"]
    assert [column["name"] for column in inputs if column.get("used") is False] == ["customer", "since"]
    for row in (USED, ROW, {**ROW, "customer": None}, list(ROW.values()), list(USED.values())):
        assert client.post(NAME, V1, {"instances": [row]}).status == 200, row
    missing = client.post(NAME, V1, {"instances": [{"customer": 900, "age": 41, "income": 2.5}]})
    assert (missing.status, "missing columns: 'plan'" in missing.json["error"]) == (400, True)
    extra = client.post(NAME, V1, {"instances": [{**ROW, "shoe": 43}]})
    assert (extra.status, "unexpected columns: 'shoe'" in extra.json["error"]) == (400, True)

    patched(namespace, extraColumns="Ignore")

    def is_current(md: dict[str, Any]) -> bool:
        return is_true(md, "Ready") and md["status"]["observedGeneration"] == md["metadata"]["generation"]

    wait_condition(namespace, "modeldeployment", NAME, is_current, 240)
    assert client.post(NAME, V1, {"instances": [{**ROW, "shoe": 43}]}).status == 200


def test_a_class_of_ones_own_is_served_where_the_author_allows_it(namespace: Kubectl) -> None:
    given(namespace, OWN_CLASS)
    client = Client(namespace).start()
    stalled = wait_condition(namespace, "modeldeployment", NAME, lambda md: is_true(md, "Stalled"), 240)
    assert condition(stalled, "Stalled")["reason"] == "CodeNotAllowed"
    assert "spec.server.allowCode: true" in condition(stalled, "Stalled")["message"]
    version = namespace.get("modelversion", f"{NAME}-1")
    assert version is not None
    assert version["spec"]["formats"] == ["skops-code"]

    patched(namespace, allowCode=True)
    wait_condition(namespace, "modeldeployment", NAME, lambda md: is_true(md, "Ready"), 240)
    assert client.post(NAME, V1, {"instances": [ROW]}).status == 200
