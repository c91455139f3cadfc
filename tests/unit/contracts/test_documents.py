"""Documents between versions: what an image from before wrote is read today, and what is written today it can read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from pydantic import ValidationError
from tests.support import documents
from tests.support.stored import GOLDEN, RELEASES, check_readable, readers, says

from tidemill_contracts.base import Document
from tidemill_contracts.inference import PredictionBatch
from tidemill_contracts.monitoring import DriftConfig, MonitorConfig
from tidemill_contracts.training import Expectations, TrainerConfig

STORED = [
    pytest.param(documents.DOCUMENTS[path.name.partition(".")[0]], path, id=f"{path.parent.name}-{path.name}")
    for release in RELEASES
    for path in sorted(release.glob("*.json"))
    if path.name != "readers.schema.json"
]
LATER = "of_a_later_version"


def extended(stored: Any, read: Any) -> Any:
    """A stored document with a field more in every object that is a document of its own."""
    if isinstance(read, Document):
        known = {k: extended(v, getattr(read, k)) for k, v in stored.items()}
        return {**known, LATER: {"deep": [1]}}
    if isinstance(read, dict):
        return {k: extended(v, read[k]) for k, v in stored.items()}
    if isinstance(read, tuple | list):
        return [extended(v, r) for v, r in zip(stored, read, strict=True)]
    return stored


def test_every_kind_of_document_is_stored_for_every_release() -> None:
    for release in RELEASES:
        kinds = {p.name.partition(".")[0] for p in release.glob("*.json")} - {"readers"}
        assert kinds == set(readers(release))
        assert kinds <= set(documents.DOCUMENTS)
    assert RELEASES[0].name == "0.1"


@pytest.mark.parametrize(("model", "path"), STORED)
def test_what_was_written_before_is_read_as_it_was_meant(model: type[Document], path: Path) -> None:
    stored = json.loads(path.read_text())
    assert says(model.from_json(path.read_text()).model_dump(mode="json"), stored)


@pytest.mark.parametrize(("model", "path"), STORED)
def test_a_field_of_a_later_version_is_ignored_at_every_level(model: type[Document], path: Path) -> None:
    read = model.from_json(path.read_text())
    later = json.dumps(extended(json.loads(path.read_text()), read))
    assert LATER in later
    assert model.from_json(later) == read


@pytest.mark.parametrize(("model", "path"), STORED)
def test_a_writer_that_misspells_a_field_is_refused(model: type[Document], path: Path) -> None:
    with pytest.raises(ValidationError, match=f"(?s){LATER}.*Extra inputs are not permitted"):
        model(**{**json.loads(path.read_text()), LATER: 1})


def test_a_writer_that_misspells_a_field_of_a_part_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"drift\.featurs"):
        MonitorConfig(namespace="a", monitor="b", deployment="c", drift={"featurs": None})  # type: ignore[arg-type]


@pytest.mark.slow
def test_what_pods_are_given_is_read_by_the_images_of_before() -> None:
    """A pinned trainer image, or a pod that waits for its turn, refuses what it does not know: version 0.1 did."""
    for name, text in documents.of_the_operator().items():
        check_readable(name.partition(".")[0], json.loads(text))


def test_version_0_1_refuses_what_it_does_not_know() -> None:
    """So the test above can fail."""
    config = {**json.loads(documents.of_the_operator()["server-config.default.json"]), LATER: 1}
    with pytest.raises(jsonschema.ValidationError, match=LATER):
        jsonschema.validate(config, readers(GOLDEN / "0.1")["server-config"])


@pytest.mark.slow
@pytest.mark.parametrize("release", [pytest.param(r, id=r.name) for r in RELEASES])
def test_a_default_never_changes_and_nothing_becomes_required(release: Path) -> None:
    """What has its default is not sent: a reader from before fills in its own."""
    for kind, before in readers(release).items():
        now = json.loads(documents.schemas())[kind]
        parts = {"": (before, now)} | {
            name: (part, now["$defs"][name]) for name, part in before.get("$defs", {}).items()
        }
        for part, (old, new) in parts.items():
            where = f"{kind} {part}"
            for name, field in old["properties"].items():
                assert name in new["properties"], f"{where}: {name} was removed"
                assert new["properties"][name].get("default") == field.get("default"), f"{where}: {name}"
            assert set(new.get("required", ())) <= set(old.get("required", ())), where


def test_what_has_its_default_is_not_sent_and_what_tells_kinds_apart_always_is() -> None:
    assert DriftConfig().to_json() == "{}"
    assert DriftConfig(drifted_share=0.4).to_json() == '{"drifted_share":0.4}'
    stored = (GOLDEN / "0.1" / "posted-reference.json").read_text()
    sent = json.loads(documents.DOCUMENTS["posted-reference"].from_json(stored).to_json())
    assert [f["kind"] for f in sent["profile"]["features"]] == ["numeric", "categorical"]


WRONG = [None] * 1000  # no text, no number, no document


@pytest.mark.parametrize(
    ("model", "field", "value"),
    [
        (PredictionBatch, "ids", WRONG),
        (PredictionBatch, "latencies", WRONG),
        (PredictionBatch, "columns", {str(i): 1 for i in range(1000)}),
        (PredictionBatch, "columns", {"a": [[]] * 1000}),
        (TrainerConfig, "data", WRONG),
        (Expectations, "columns", WRONG),
    ],
)
def test_a_collection_fails_at_its_first_wrong_item(model: type[Document], field: str, value: Any) -> None:
    with pytest.raises(ValidationError) as caught:
        model.from_json(json.dumps({field: value}))
    mistakes = {error["loc"][:3] for error in caught.value.errors() if error["loc"][0] == field}
    assert len(mistakes) == 1
