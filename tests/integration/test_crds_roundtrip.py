"""The CRD schemas and the pydantic types say the same: random objects, good and broken, before a real API server.

Two directions. What the types allow is stored and read back equal, defaults included. What the API server lets through
can be read by the types: an object in the cluster never makes the operator fail on parsing. The types let through more
than the API server in the ways that `allowed_difference` lists; docs/decisions/0061 says why.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from tests.support.apiserver import Answer, ApiServer, with_crds
from tests.support.consistent import FIELDS, REPAIRS
from tests.support.objects import make
from tests.support.strategies import documents

from tidemill.api.base import Resource
from tidemill.api.v1alpha1 import KINDS

pytestmark = pytest.mark.integration

Json = dict[str, Any]
KIND_IDS = [kind.INFO.kind for kind in KINDS]
SETTINGS = settings(max_examples=40, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module")
def api(kubeconfig: Path) -> Iterator[ApiServer]:
    with with_crds(kubeconfig) as server:
        for kind in KINDS:
            assert server.create(make(kind.INFO.kind), dry_run=False).ok
        yield server


def part(kind: type[Resource], name: str) -> st.SearchStrategy[Json]:
    annotation = kind.model_fields[name].annotation
    assert isinstance(annotation, type)
    return documents(annotation, FIELDS, REPAIRS)


@pytest.mark.parametrize("kind", KINDS, ids=KIND_IDS)
def test_what_a_person_writes_is_read_back_equal(api: ApiServer, kind: type[Resource]) -> None:
    @SETTINGS
    @given(part(kind, "spec"))
    def check(spec: Json) -> None:
        written = {**make(kind.INFO.kind), "metadata": {"name": "random"}, "spec": spec}

        answer = api.create(written)

        assert answer.ok, answer.message
        assert kind.model_validate(answer.body).spec == kind.model_validate(written).spec  # type: ignore[attr-defined]

    check()


@pytest.mark.parametrize("kind", KINDS, ids=KIND_IDS)
def test_what_the_operator_writes_is_read_back_equal(api: ApiServer, kind: type[Resource]) -> None:
    @SETTINGS
    @given(part(kind, "status"))
    def check(status: Json) -> None:
        parsed = kind.model_validate({**make(kind.INFO.kind), "status": status})
        written = {**make(kind.INFO.kind), "status": parsed.status.to_json()}  # type: ignore[attr-defined]

        answer = api.replace_status(written, dry_run=True)

        assert answer.ok, answer.message
        assert kind.model_validate(answer.body).status == parsed.status  # type: ignore[attr-defined]

    check()


@st.composite
def broken(draw: st.DrawFn, good: st.SearchStrategy[Json]) -> Json:
    """Draw a good document and change one place of it to something that probably does not belong there."""
    document = copy.deepcopy(draw(good))
    node: Any = document
    while True:
        keys = list(node) if isinstance(node, dict) else list(range(len(node)))
        key = draw(st.sampled_from(keys))
        if not (isinstance(node[key], dict | list) and node[key] and draw(st.booleans())):
            break
        node = node[key]
    wrong = [None, True, -1, 0, 1.5, 10**12, "", "No!", "A" * 5000, [], ["No!"], {}, {"No!": 1}]
    action = draw(st.sampled_from(["replace", "remove", "add"]))
    if action == "remove":
        del node[key]
    elif action == "add" and isinstance(node, dict):
        node[draw(st.sampled_from(["unknownField", "Suspend"]))] = draw(st.sampled_from(wrong))
    else:
        node[key] = draw(st.sampled_from(wrong))
    return document


def readable(kind: type[Resource], document: Json, *, strict: bool = False) -> bool:
    try:
        kind.model_validate_json(json.dumps(document), strict=strict)
    except ValidationError:
        return False
    return True


def has_null(node: Any) -> bool:
    if isinstance(node, dict):
        return any(has_null(child) for child in node.values())
    return node is None or (isinstance(node, list) and any(has_null(child) for child in node))


def allowed_difference(kind: type[Resource], document: Json, answer: Answer) -> bool:
    """Whether the API server may refuse what the types would read."""
    return (
        not readable(kind, document, strict=True)  # "7" for 7: the types convert
        or has_null(document)  # null: the types take it as absent
        or "Duplicate value" in answer.message  # uniqueness in lists: only the CRD knows
        or any(f": {message}" in answer.message for message in cel_messages(kind))  # CEL: only the CRD knows
    )


def cel_messages(kind: type[Resource]) -> set[str]:
    found: set[str] = set()

    def walk(node: Any) -> None:
        if isinstance(node, dict):
            found.update(rule["message"] for rule in node.get("x-kubernetes-validations", []))
            for child in node.values():
                walk(child)

    walk(kind.model_json_schema())
    return found


@pytest.mark.parametrize("kind", KINDS, ids=KIND_IDS)
def test_broken_objects_are_judged_alike(api: ApiServer, kind: type[Resource]) -> None:
    verdicts: list[bool] = []

    @settings(SETTINGS, max_examples=100)
    @given(broken(part(kind, "spec")))
    def check(spec: Json) -> None:
        written = {**make(kind.INFO.kind), "metadata": {"name": "random"}, "spec": spec}

        answer = api.create(written)

        verdicts.append(answer.ok)
        if answer.ok:
            assert readable(kind, answer.body), answer.body
        elif readable(kind, written):
            assert allowed_difference(kind, written, answer), answer.message

    check()
    assert verdicts.count(False) > 20, "hardly anything was broken: the test looks at nothing"
