"""A Kubernetes API server as tests of the CRDs see it: create, apply and status writes over plain HTTP.

Not a client for the operator (tidemill.kube is): tests must see every byte that a refused manifest gets back.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml

from tidemill.kube.encoding import encode

Json = dict[str, Any]
CRDS = Path(__file__).resolve().parents[2] / "crds"
_CORE = {
    "ConfigMap": "configmaps",
    "Namespace": "namespaces",
    "Pod": "pods",
    "ResourceQuota": "resourcequotas",
    "Secret": "secrets",
    "ServiceAccount": "serviceaccounts",
}


@dataclass(frozen=True)
class Answer:
    """What the API server said: `code`, and the object or the Status as `body`."""

    code: int
    body: Json

    @property
    def ok(self) -> bool:
        """Whether the request was accepted."""
        return self.code < 300

    @property
    def causes(self) -> list[str]:
        """Each reason of a refusal as `field: message`."""
        details = self.body.get("details") or {}
        return [f"{cause.get('field')}: {cause['message']}" for cause in details.get("causes") or []]

    @property
    def message(self) -> str:
        """The whole sentence that kubectl prints."""
        return str(self.body.get("message", ""))


class ApiServer:
    """Requests as an administrator, with strict field validation, as kubectl sends them."""

    def __init__(self, client: httpx.Client) -> None:
        self.http = client

    def create(self, document: Json, *, dry_run: bool = True) -> Answer:
        """POST an object; by default nothing is kept."""
        return self._send("POST", _collection(document), document, dry_run=dry_run)

    def apply(self, document: Json, *, subresource: str = "", dry_run: bool = False) -> Answer:
        """Server-side apply, forced, of an object or of its subresource, for example `/status`."""
        more = {"fieldManager": "tests", "force": "true"}
        return self._send("PATCH", _path(document) + subresource, document, dry_run=dry_run, **more)

    def replace_status(self, document: Json, *, dry_run: bool = False) -> Answer:
        """Set the status of an object as a whole, as the operator does."""
        body = [{"op": "add", "path": "/status", "value": document["status"]}]
        kind = "application/json-patch+json"
        return self._send("PATCH", f"{_path(document)}/status", body, dry_run=dry_run, content_type=kind)

    def get(self, document: Json) -> Json:
        """GET the object that a document names."""
        return dict(self.http.get(_path(document)).raise_for_status().json())

    def table(self, document: Json) -> Json:
        """GET the object that a document names as `kubectl get` does: printer columns and one row of cells."""
        accept = {"accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}
        return dict(self.http.get(_path(document), headers=accept).raise_for_status().json())

    def install_crds(self) -> None:
        """Apply the committed CRDs and wait until each is served."""
        for file in sorted(CRDS.glob("tidemill.io_*.yaml")):
            crd = yaml.safe_load(file.read_text())
            path = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{crd['metadata']['name']}"
            # As a person who ran `kubectl apply --server-side` before: the same command again is no conflict.
            params = {"fieldManager": "kubectl", "force": "true", "fieldValidation": "Strict"}
            headers = {"content-type": "application/apply-patch+yaml"}
            answer = self.http.patch(path, params=params, headers=headers, content=encode(crd))
            assert answer.is_success, f"{file.name}: {answer.text}"
            self._wait_until_served(crd)

    def _wait_until_served(self, crd: Json) -> None:
        spec = crd["spec"]
        path = f"/apis/{spec['group']}/{spec['versions'][0]['name']}/{spec['names']['plural']}"
        deadline = time.monotonic() + 30
        while not self.http.get(path).is_success:
            assert time.monotonic() < deadline, f"{path} is not served"
            time.sleep(0.05)

    def _send(
        self,
        method: str,
        path: str,
        document: Json | list[Json],
        *,
        dry_run: bool,
        content_type: str = "application/apply-patch+yaml",
        **params: str,
    ) -> Answer:
        params |= {"fieldValidation": "Strict"} | ({"dryRun": "All"} if dry_run else {})
        kind = content_type if method == "PATCH" else "application/json"
        content = encode(document)
        answer = self.http.request(method, path, params=params, headers={"content-type": kind}, content=content)
        return Answer(answer.status_code, answer.json())


def _collection(document: Json) -> str:
    namespace = document["metadata"].get("namespace", "default")
    group = document["apiVersion"]
    if group == "v1":
        plural = _CORE[document["kind"]]
        return f"/api/v1/{plural}" if plural == "namespaces" else f"/api/v1/namespaces/{namespace}/{plural}"
    return f"/apis/{group}/namespaces/{namespace}/{document['kind'].lower()}s"


def _path(document: Json) -> str:
    return f"{_collection(document)}/{document['metadata']['name']}"


@contextmanager
def with_crds(kubeconfig: Path) -> Iterator[ApiServer]:
    """Connect to a server that has the CRDs; objects of ours in the namespace default are removed at the end."""
    with connect(kubeconfig) as server:
        server.install_crds()
        yield server
        for file in CRDS.glob("tidemill.io_*.yaml"):
            plural = file.stem.removeprefix("tidemill.io_")
            server.http.delete(f"/apis/tidemill.io/v1alpha1/namespaces/default/{plural}").raise_for_status()


@contextmanager
def connect(kubeconfig: Path) -> Iterator[ApiServer]:
    """Connect with the client certificate or the token that a kubeconfig names."""
    config = yaml.safe_load(kubeconfig.read_text())
    cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
    context = ssl.create_default_context(cafile=cluster["certificate-authority"])
    headers = {}
    if "token" in user:
        headers["authorization"] = f"Bearer {user['token']}"
    else:
        context.load_cert_chain(user["client-certificate"], user["client-key"])
    with httpx.Client(base_url=cluster["server"], verify=context, headers=headers, timeout=30) as client:
        yield ApiServer(client)
