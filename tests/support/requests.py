"""Which requests the operators of this process have made, as RBAC names them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import pytest

from tidemill.core.labels import GROUP
from tidemill.kube.client import KubeClient
from tidemill.kube.rights import LEASES, OPERATOR, Right

Request = tuple[str, str, str]  # group, resource with its subresource, verb
_PATH = re.compile(
    r"/(?:api|apis/(?P<group>[^/]+))/v[^/]+(?:/namespaces/[^/]+)?/(?P<plural>[a-z]+)"
    r"(?:/(?P<name>[^/]+)(?:/(?P<sub>[^/]+))?)?"
)
CREATED = 201
ELSEWHERE: set[Request] = {
    ("", "pods/log", "get"),  # there is no kubelet; tests/e2e reads logs of failed trainings
    ("events.k8s.io", "events", "get"),  # after a fail-over only, see tests/unit/kube/test_events.py
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
    """From now on every request of a KubeClient is added to `made`."""
    send = KubeClient._send

    async def recorded(self: KubeClient, method: str, path: str, query: Mapping[str, str] | None, *rest: Any) -> Any:
        request = named(method, path, query)
        answer = await send(self, method, path, query, *rest)
        if request is not None:
            made.add(request)
            if request[2] == "patch" and answer[0] == CREATED:  # server-side apply of what is not there needs both
                made.add((request[0], request[1], "create"))
        return answer

    patch.setattr(KubeClient, "_send", recorded)


def unused(made: set[Request]) -> set[Request]:
    """Rights that no request needed, but for those that this API server cannot bring about.

    Watches are the framework's and held against the slices' own list elsewhere; `get` of a kind of ours is the engine's
    and the same for all of them.
    """
    rights: tuple[Right, ...] = (*OPERATOR, *LEASES)
    given = {(r.group, name, verb) for r in rights if r.is_called for name in r.resources for verb in r.verbs}
    return {
        (group, name, verb)
        for group, name, verb in given - made - ELSEWHERE
        if verb != "watch" and (group, verb) != (GROUP, "get") and group != "monitoring.coreos.com"
    }
