"""A few JSON requests to the API server with nothing but the standard library.

For the cluster's own set-up, which must not depend on what it sets up being complete; no general client.
"""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit


class ApiError(Exception):
    """An answer of 400 or above."""

    def __init__(self, status: int, body: str) -> None:
        super().__init__(f"HTTP {status}: {body[:500]}")
        self.status = status


class Client:
    """Talks to the server of a kubeconfig that names certificate files (the kind that `pki` writes)."""

    def __init__(self, kubeconfig: Path) -> None:
        document = json.loads(kubeconfig.read_text())
        cluster, user = document["clusters"][0]["cluster"], document["users"][0]["user"]
        address = urlsplit(cluster["server"])
        self._host, self._port = str(address.hostname), int(address.port or 443)
        self._context = ssl.create_default_context(cafile=cluster["certificate-authority"])
        self._context.load_cert_chain(user["client-certificate"], user["client-key"])

    def request(self, method: str, path: str, body: Any = None, *, content_type: str = "application/json") -> Any:
        """One request; returns the decoded JSON (or the text where it is none). Raises ApiError and OSError."""
        connection = http.client.HTTPSConnection(self._host, self._port, context=self._context, timeout=30)
        try:
            payload = None if body is None else json.dumps(body).encode()
            connection.request(method, path, payload, {"Content-Type": content_type, "Accept": "application/json"})
            response = connection.getresponse()
            text = response.read().decode()
        except http.client.HTTPException as error:
            raise ConnectionError(str(error)) from error
        finally:
            connection.close()
        if response.status >= 400:
            raise ApiError(response.status, text)
        return json.loads(text) if text[:1] in "{[" else text

    def answers(self, path: str = "/readyz") -> bool:
        try:
            self.request("GET", path)
        except (OSError, ApiError):
            return False
        return True

    def apply(self, path: str, document: dict[str, Any]) -> Any:
        """Server-side apply of `document` in the collection `path`."""
        name = quote(document["metadata"]["name"])
        target = f"{path}/{name}?fieldManager=tidemill-localcluster&force=true"
        return self.request("PATCH", target, document, content_type="application/apply-patch+yaml")

    def watch(self, path: str, resource_version: str, seconds: int = 300) -> Iterator[dict[str, Any]]:
        """Events after `resource_version` until the server ends the watch. Raises ApiError and OSError."""
        connection = http.client.HTTPSConnection(self._host, self._port, context=self._context, timeout=seconds + 30)
        query = f"?watch=1&allowWatchBookmarks=true&timeoutSeconds={seconds}&resourceVersion={resource_version}"
        try:
            connection.request("GET", path + query)
            response = connection.getresponse()
            if response.status >= 400:
                raise ApiError(response.status, response.read().decode())
            while line := response.readline():
                yield json.loads(line)
        except http.client.HTTPException as error:
            raise ConnectionError(str(error)) from error
        finally:
            connection.close()
