"""Which requests the operators of this process have made, as RBAC names them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import pytest

from tidemill.api.base import GROUP
from tidemill.kube.rights import LEASES, OPERATOR, Right
from tidemill.kube.transport import Transport

Request = tuple[str, str, str]  # group, resource with its subresource, verb
_PATH = re.compile(
    r"/(?:api|apis/(?P<group>[^/]+))/v[^/]+(?:/namespaces/[^/]+)?/(?P<plural>[a-z]+)"
    r"(?:/(?P<name>[^/]+)(?:/(?P<sub>[^/]+))?)?"
)
CREATED = 201
ELSEWHERE: set[Request] = {
    ("", "pods/log", "get"),  # there is no kubelet; tests/e2e reads logs of failed trainings
    ("", "events", "get"),  # after a fail-over only, see tests/unit/kube/test_events.py
    ("autoscaling", "horizontalpodautoscalers", "delete"),  # planned by tests/unit/serving/test_plan.py, e2e makes one
}
"""Not brought about here; neither are the kinds of the Prometheus operator, see tests/e2e/test_prometheus.py."""
_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


def named(method: str, path: str, query: Mapping[str, str] | None = None) -> Request | None:
    """A request as RBAC sees it; None for discovery."""
    found = _PATH.fullmatch(path)
    if found is None:
        return None
    verb = _VERBS.get(method) or ("get" if found["name"] else "watch" if "watch" in (query or {}) else "list")
    return found["group"] or "", found["plural"] + (f"/{found['sub']}" if found["sub"] else ""), verb


def record(made: set[Request], patch: pytest.MonkeyPatch) -> None:
    """From now on every request to an API server, lists and watches among them, is added to `made`."""
    read, stream = Transport._read, Transport.stream

    async def answered(self: Transport, method: str, path: str, response: Any, *rest: Any) -> Any:
        if (request := named(method, path)) is not None:
            made.add(request)
            if request[2] == "patch" and response.status == CREATED:  # apply of what is not there needs both
                made.add((request[0], request[1], "create"))
        return await read(self, method, path, response, *rest)

    def streamed(self: Transport, path: str, query: Mapping[str, str], *rest: Any) -> Any:
        if (request := named("GET", path, query)) is not None:
            made.add(request)
        return stream(self, path, query, *rest)

    patch.setattr(Transport, "_read", answered)
    patch.setattr(Transport, "stream", streamed)


def unused(made: set[Request]) -> set[Request]:
    """Rights that no request needed, but for those that this API server cannot bring about.

    `get` of a kind of ours is the engine's and the same for all of them.
    """
    rights: tuple[Right, ...] = (*OPERATOR, *LEASES)
    given = {(r.group, name, verb) for r in rights if r.is_called for name in r.resources for verb in r.verbs}
    return {
        (group, name, verb)
        for group, name, verb in given - made - ELSEWHERE
        if (group, verb) != (GROUP, "get") and group != "monitoring.coreos.com"
    }
