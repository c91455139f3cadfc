"""One real kube-apiserver for all integration tests that ask for it, and an operator under its shipped rights.

Nothing here starts unless a test asks for `installation`. There is no kubelet and no controller manager: the test plays
them (`kubectl … --subresource=status`).
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hack.localcluster import control_plane
from tests.support import requests
from tests.support.apiserver import connect
from tests.support.invariants import check_status
from tests.support.operators import InProcess, Installation, wait
from tests.support.servingcluster import Cluster
from tests.support.servingworld import World, operator_of

from tidemill.core import names
from tidemill.kube import metrics

# Not the category `tidemill`: kubectl learns categories from a cache that may be older than the definitions.
_PLURALS = ("trainingpipelines", "trainingruns", "modelimports", "modelversions", "modeldeployments", "modelmonitors")
KINDS = ",".join(f"{kind}.tidemill.io" for kind in _PLURALS)


_MADE: set[requests.Request] = set()


@pytest.fixture(scope="session", autouse=True)
def recorded() -> Iterator[None]:
    """Every request of the operators in this process; see `pytest_sessionfinish`."""
    with pytest.MonkeyPatch.context() as patch:
        requests.record(_MADE, patch)
        yield


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """After a whole and successful run, a right of the operator that no test needed fails the run."""
    here = {path.name for path in Path(__file__).parent.glob("test_*.py")}
    chosen = session.config.option
    is_whole = here <= {item.path.name for item in session.items} and not (chosen.keyword or chosen.markexpr)
    left = requests.unused(_MADE) if is_whole and exitstatus == 0 else set()
    if left:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
        sys.stderr.write(f"\nrights of the operator that nothing needed: {sorted(left)}\n")


@pytest.fixture(scope="session")
def kubeconfig() -> Iterator[Path]:
    """An administrator's kubeconfig of a fresh control plane."""
    with control_plane() as path:
        yield path


@pytest.fixture(scope="session")
def installation(kubeconfig: Path, tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """CRDs, roles and ServiceAccount, as the cluster-wide overlay ships them."""
    return Installation(kubeconfig, tmp_path_factory.mktemp("installation"))


@pytest.fixture(scope="module")
def operator(installation: Installation) -> Iterator[InProcess]:
    """The product's operator, in this process, as its ServiceAccount; it must never be refused by RBAC."""
    before = refusals()
    running = InProcess(installation).start()
    yield running
    running.stop()
    assert refusals() == before, "the shipped roles are not enough: the operator was answered 403"


@pytest.fixture(scope="session")
def administrator(installation: Installation) -> Iterator[httpx.Client]:
    """Requests as administrator; each kubectl is a process, and two hundred tests need four each for a namespace."""
    with connect(installation.kubeconfig) as api:
        yield api.http


@pytest.fixture
def namespace(administrator: httpx.Client, request: pytest.FixtureRequest) -> Iterator[str]:
    """A namespace of the test's own; every status in it is held against the invariants at the end."""
    slug = re.sub("[^a-z0-9]+", "-", request.node.name.removeprefix("test_").lower()).strip("-")
    name = names.child_name(slug, limit=50)
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
    administrator.post("/api/v1/namespaces", json=body).raise_for_status()
    yield name
    paths = [f"/apis/tidemill.io/v1alpha1/namespaces/{name}/{plural}" for plural in _PLURALS]
    found = [(path, obj) for path in paths for obj in listed(administrator, path)]
    for _, obj in found:
        check_status(obj)
    for path, obj in found:
        answer = administrator.delete(f"{path}/{obj['metadata']['name']}")
        assert answer.status_code in (200, 404), answer.text  # an operator that still runs may have been first


def listed(administrator: httpx.Client, path: str) -> list[dict[str, Any]]:
    """Objects of one kind; the API server asks for patience (429) while a definition is new."""
    answer = wait(lambda: patient(administrator.get(path)), 20, f"{path} is listed")
    items: list[dict[str, Any]] = answer.raise_for_status().json()["items"]
    return items


def patient(answer: httpx.Response) -> httpx.Response | None:
    """The answer, None where it is to be asked for again."""
    return None if answer.status_code == httpx.codes.TOO_MANY_REQUESTS else answer


def refusals() -> float:
    """How often the API server has answered 403 to any client of this process."""
    samples = (sample for metric in metrics.REQUESTS.collect() for sample in metric.samples)
    return sum(s.value for s in samples if s.name.endswith("_total") and s.labels["code"] == "403")


@pytest.fixture(scope="module")
def serving(installation: Installation) -> Iterator[InProcess]:
    """An operator with the serving slice only: versions are written by the test."""
    running = operator_of(installation)
    yield running
    running.stop()


@pytest.fixture
def world(installation: Installation, serving: InProcess, namespace: str) -> Iterator[World]:
    """A namespace with a stand-in for nodes, and what a person does and sees there."""
    del serving
    with connect(installation.kubeconfig) as api, Cluster(api.http, namespace) as cluster:
        yield World(installation, cluster, namespace)
