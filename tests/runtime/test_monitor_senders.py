"""Who may report: a hostile pod that reaches the monitor changes nothing of what it knows."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.runtime.test_monitor_http import Api, serving
from tests.support.monitoring import PROFILE, batch, config

from tidemill_contracts.artifact import Lineage, ModelManifest, Signature
from tidemill_contracts.digests import canonical_json, sha256
from tidemill_contracts.inference import Reference, ServerConfig
from tidemill_contracts.reference import ReferenceProfile
from tidemill_runtime.monitor.senders import Senders
from tidemill_runtime.predictionlog.record_batches import VersionFiles, reference_document

TOKEN = "a-token-of-256-bits"


class Files:
    """What the operator has mounted into the monitor's pod, and the version that is in service."""

    def __init__(self, folder: Path) -> None:
        self.token, self.served = folder / "token", folder / "digests.json"
        self.profile = canonical_json(PROFILE.model_dump(mode="json"))
        self.manifest = ModelManifest(
            pipeline="churn",
            task="classification",
            formats=("skops",),
            files={"reference.json": sha256(self.profile)},
            model_digest="sha256:" + "0" * 64,
            signature=Signature(inputs=(), outputs=()),
            metrics={},
            lineage=Lineage(data={}, code="", image=""),
        ).canonical_bytes()
        self.digest = sha256(self.manifest)
        self.token.write_text(TOKEN + "\n")
        self.serve(self.digest)

    def serve(self, *digests: str) -> None:
        self.served.write_text(json.dumps(digests))

    @property
    def senders(self) -> Senders:
        return Senders(self.token, self.served)

    def reference(self, **changes: Any) -> dict[str, Any]:
        texts = {"manifest": self.manifest.decode(), "profile_text": self.profile.decode()}
        said = Reference(deployment="churn", version="churn-1", digest=self.digest, profile=PROFILE, **texts)
        return {**said.model_dump(mode="json"), **changes}


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


@pytest.fixture
def api(files: Files, tmp_path: Path) -> Iterator[Api]:
    with serving(config(tmp_path), senders=files.senders) as client:
        yield client


def with_token(token: str = TOKEN) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def counted(api: Api) -> int:
    return sum(version["rows"] for version in api.get("/v1/report").json()["versions"])


@pytest.mark.parametrize("headers", [{}, with_token("another"), {"authorization": f"Basic {TOKEN}"}])
@pytest.mark.parametrize("path", ["/v1/batches", "/v1/references", "/v1/feedback"])
def test_a_pod_without_the_token_reports_nothing(api: Api, files: Files, path: str, headers: dict[str, str]) -> None:
    assert api.post("/v1/references", json=files.reference(), headers=with_token()).status_code == 201
    body = {"/v1/batches": batch(digest=files.digest).model_dump(mode="json"), "/v1/references": files.reference()}
    answer = api.post(api.url(path, "http"), json=body.get(path, {"id": "p0/1", "label": 1}), headers=headers)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert "token of the deployment's servers" in answer.json()["error"]
    assert TOKEN not in answer.text
    assert counted(api) == 0


def test_the_servers_report_with_the_token(api: Api, files: Files) -> None:
    assert api.post("/v1/references", json=files.reference(), headers=with_token()).status_code == 201
    posted = api.post("/v1/batches", content=batch(digest=files.digest).model_dump_json(), headers=with_token())
    assert posted.status_code == 202
    assert counted(api) == 1_000


def test_a_new_token_is_taken_and_the_old_one_is_refused_without_a_restart(api: Api, files: Files) -> None:
    files.token.write_text("the next one")
    assert api.post("/v1/references", json=files.reference(), headers=with_token()).status_code == 401
    assert api.post("/v1/references", json=files.reference(), headers=with_token("the next one")).status_code == 201


def test_a_token_that_is_gone_opens_nothing(files: Files, tmp_path: Path) -> None:
    with serving(config(tmp_path), senders=files.senders) as client:
        assert client.post("/v1/references", json=files.reference()).status_code == 401
        client.monitor._remember_token()
    files.token.unlink()
    with serving(config(tmp_path), senders=files.senders) as client:
        assert client.post("/v1/references", json=files.reference()).status_code == 401


def test_without_a_token_all_is_as_it_was(files: Files, tmp_path: Path) -> None:
    files.token.unlink()
    with serving(config(tmp_path), senders=files.senders) as client:
        said = Reference(deployment="churn", version="churn-1", digest="sha256:1", profile=PROFILE)
        assert client.post("/v1/references", content=said.to_json()).status_code == 201


def test_a_profile_that_is_not_the_versions_own_is_refused(api: Api, files: Files) -> None:
    other = PROFILE.model_copy(update={"rows": 5})
    forged = canonical_json(other.model_dump(mode="json")).decode()
    claims = {"files": {"reference.json": sha256(forged.encode())}}
    manifest = canonical_json({**json.loads(files.manifest), **claims}).decode()
    for changes, error in (
        ({"manifest": None}, "manifest, profile_text: both"),
        ({"profile_text": None}, "manifest, profile_text: both"),
        ({"profile_text": forged}, "profile_text: its digest is not that of reference.json"),
        ({"profile_text": forged, "manifest": manifest}, "manifest: its digest is not that of the version"),
    ):
        answer = api.post("/v1/references", json=files.reference(**changes), headers=with_token())
        assert answer.status_code == 400, changes
        assert error in answer.json()["error"]
    # one that proves itself, of a version that nobody serves
    made_up = files.reference(profile_text=forged, manifest=manifest, digest=sha256(manifest.encode()))
    answer = api.post("/v1/references", json=made_up, headers=with_token())
    assert answer.status_code == 503
    assert "is not in service" in answer.json()["error"]
    assert api.get("/v1/report").json()["versions"] == []


def test_what_is_stored_is_the_text_and_not_what_stands_beside_it(api: Api, files: Files) -> None:
    other = PROFILE.model_copy(update={"rows": 5}).model_dump(mode="json")
    assert api.post("/v1/references", json=files.reference(profile=other), headers=with_token()).status_code == 201
    assert api.monitor._layouts[files.digest].profile.rows == PROFILE.rows


def test_a_version_that_comes_into_service_is_taken_without_a_restart(api: Api, files: Files) -> None:
    files.serve("sha256:another")
    assert api.post("/v1/references", json=files.reference(), headers=with_token()).status_code == 503
    files.serve(files.digest)
    assert api.post("/v1/references", json=files.reference(), headers=with_token()).status_code == 201


@pytest.mark.parametrize("content", ["", "{", "3", '[["x"]]', '{"a": 1}'])
def test_an_unreadable_list_of_versions_names_none(api: Api, files: Files, content: str) -> None:
    files.served.write_text(content)
    assert api.post("/v1/references", json=files.reference(), headers=with_token()).status_code == 503


def test_what_servers_post_proves_itself(files: Files) -> None:
    settings = ServerConfig(
        namespace="n", deployment="churn", version="churn-1", number="1", digest=files.digest, uri="pvc://claim/x"
    )
    document = reference_document(settings, VersionFiles(files.profile, files.manifest))
    found = Senders(files.token, files.served).verified(Reference.from_json(document))
    assert found.profile == ReferenceProfile.from_json(files.profile)
