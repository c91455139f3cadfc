"""The table of schemes: every row can be used for what it says, is read, is documented, and nothing else is."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from hack.generate import crd
from pydantic import ValidationError

from tidemill.api.v1alpha1 import ModelImport, ModelVersion, TrainingPipeline, TrainingRun
from tidemill.api.v1alpha1.training_template import DataSource
from tidemill.training.pipeline.snapshot import probed_by
from tidemill.training.volumes import PodVolumes
from tidemill_contracts import schemes
from tidemill_contracts.schemes import BY_NAME, SCHEMES, Scheme
from tidemill_contracts.storage import MOUNT_ROOTS, parse_uri
from tidemill_contracts.training import DataInput
from tidemill_runtime.datasets import sources
from tidemill_runtime.datasets.errors import DataError
from tidemill_runtime.storage import folders, objects
from tidemill_runtime.storage.local import LocalFolder
from tidemill_runtime.storage.objects import ObjectFolder

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = {"builtin": "builtin://iris", "configmap": "configmap://name/key"}
EVERY = pytest.mark.parametrize("scheme", SCHEMES, ids=lambda s: s.name)


def example(scheme: Scheme) -> str:
    return EXAMPLES.get(scheme.name, scheme.form)


@cache
def _schema(resource: Any) -> dict[str, Any]:
    return crd.object_schema(resource)


def schema(resource: Any, path: str) -> Any:
    found = _schema(resource)
    for part in path.split("."):
        found = found["properties"][part.removesuffix("[]")]
        found = found["items"] if part.endswith("[]") else found
    return found


PLACES = (
    (TrainingPipeline, "spec.data[].uri", "data"),
    (TrainingRun, "spec.data[].uri", "data"),
    (TrainingPipeline, "spec.artifacts.uri", "artifacts"),
    (ModelVersion, "spec.uri", "artifacts"),
    (ModelImport, "spec.source.uri", "artifacts"),
    (ModelImport, "spec.artifacts.uri", "artifacts"),
)


def test_a_scheme_stands_in_the_table_once() -> None:
    assert len(BY_NAME) == len(SCHEMES)
    assert set(get_args(schemes.Use)) == {use for scheme in SCHEMES for use in scheme.uses}


@EVERY
@pytest.mark.parametrize(("resource", "path", "use"), PLACES, ids=lambda v: v if isinstance(v, str) else v.__name__)
def test_a_scheme_is_allowed_where_its_row_says_and_nowhere_else(
    scheme: Scheme, resource: Any, path: str, use: schemes.Use
) -> None:
    assert parse_uri(example(scheme)).scheme == scheme.name
    field = schema(resource, path)
    assert (re.search(field["pattern"], example(scheme)) is not None) == (use in scheme.uses)
    assert (scheme.form in field["description"]) == (use in scheme.uses)


@EVERY
def test_a_data_scheme_is_read_in_one_way(scheme: Scheme, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uri = parse_uri(example(scheme))
    is_single = scheme.name in sources.SINGLE_FILES
    assert is_single == (scheme.place in ("bundled", "web")), (
        f"{scheme.name}: SINGLE_FILES of tidemill_runtime/datasets/sources.py has readers of places bundled and web "
        f"and of no other; the place of this scheme is {scheme.place}"
    )
    if is_single:
        return
    if scheme.place == "kept rows":  # where they are, the operator says (`DataInput.rows`)
        with pytest.raises(DataError, match="in runs of a TrainingPipeline only"):
            sources.resolve(DataInput(name="x", uri=example(scheme)))
        return
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "lake")
    folder = folders.open_folder(uri)
    assert isinstance(folder, ObjectFolder if scheme.place == "objects" else LocalFolder)


def test_nothing_is_read_that_is_in_no_row() -> None:
    assert {s.name for s in SCHEMES if s.place in ("bundled", "web")} == set(sources.SINGLE_FILES)
    assert {s.name for s in SCHEMES if s.place == "objects"} == set(objects._STORES)
    assert {s.mount for s in SCHEMES if s.place == "mounted"} == set(MOUNT_ROOTS)
    assert not any(s.mount for s in SCHEMES if s.place != "mounted")


@EVERY
def test_what_a_pod_mounts_is_what_the_row_says(scheme: Scheme) -> None:
    volumes = PodVolumes("s3://models")
    volumes.add_uri(example(scheme))
    assert bool(volumes.claims) == (scheme.mount == "claim")
    assert bool(volumes.config_maps) == (scheme.mount == "configMap")


@EVERY
def test_whoever_can_tell_that_data_changed_is_who_looks(scheme: Scheme) -> None:
    if "data" not in scheme.uses:
        return
    assert probed_by(DataSource(name="x", uri=example(scheme))) == scheme.probed_by
    assert (scheme.probed_by == "operator") == (scheme.mount == "configMap")
    assert (scheme.probed_by == "nobody") == (scheme.place == "bundled")


@pytest.mark.parametrize("use", ["data", "artifacts"])
def test_a_secret_may_be_named_for_every_scheme_that_has_keys_and_the_page_lists_them(use: schemes.Use) -> None:
    path = {"data": "spec.data[]", "artifacts": "spec.artifacts"}[use]
    rules = str(schema(TrainingPipeline, path)["x-kubernetes-validations"])
    (said,) = re.findall(r"secretRef may be set only with a uri of ([^']*)'", rules)
    assert re.findall(r"\w+(?=://)", said) == list(schemes.with_secret(use))
    described = schema(TrainingPipeline, "spec.data[].secretRef")["description"]
    assert set(schemes.SECRET_KEYS) == set(re.findall(r"\b[A-Z]+(?:_[A-Z]+)*_[A-Z]+\b|AUTHORIZATION", described))


def test_pods_reach_the_ports_of_every_scheme_and_no_other() -> None:
    policy = yaml.safe_load((ROOT / "manifests/namespace/data-and-artifacts.yaml").read_text())
    opened = {entry["port"] for rule in policy["spec"]["egress"] for entry in rule["ports"]}
    assert opened == {port for scheme in SCHEMES for port in scheme.ports}
    assert all(bool(scheme.ports) == (scheme.place in ("objects", "web")) for scheme in SCHEMES)


def test_every_scheme_is_documented_and_no_other() -> None:
    page = (ROOT / "docs/training-code.md").read_text()
    table = page.split("<!-- schemes of URIs: begin;")[1].split("<!-- schemes of URIs: end -->")[0]
    assert re.findall(r"^\| `(\w+)://", table, re.MULTILINE) == [scheme.name for scheme in SCHEMES], (
        "docs/training-code.md has another list than the table of schemes: run `make generate`"
    )


def test_a_scheme_of_no_row_is_refused_with_those_there_are() -> None:
    with pytest.raises(ValueError, match=schemes.expected(sorted(BY_NAME))):
        parse_uri("gopher://x/y")
    with pytest.raises(ValidationError):
        DataSource(name="x", uri="file:///etc/passwd")
