"""Which requests the operators of this process have made, as RBAC names them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import pytest

from tidemill.kube.client import KubeClient
from tidemill.kube.rights import LEASES, OPERATOR, Right

Request = tuple[str, str, str]  # group, resource with its subresource, verb
_PATH = re.compile(
    r"/(?:api|apis/(?P<group>[^/]+))/v[^/]+(?:/namespaces/[^/]+)?/(?P<plural>[a-z]+)"
    r"(?:/(?P<name>[^/]+)(?:/(?P<sub>[^/]+))?)?"
)
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
        if (request := named(method, path, query)) is not None:
            made.add(request)
        return await send(self, method, path, query, *rest)

    patch.setattr(KubeClient, "_send", recorded)


def unused(made: set[Request]) -> set[Request]:
    """Rights that no request needed. Watches are the framework's and held against the slices' own list elsewhere."""
    rights: tuple[Right, ...] = (*OPERATOR, *LEASES)
    given = {(r.group, name, verb) for r in rights if r.is_called for name in r.resources for verb in r.verbs}
    return {right for right in given - made if right[2] != "watch"}
