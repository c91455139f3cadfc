"""Digests of ConfigMaps that people own: read live once for each resourceVersion, then remembered.

Why: the cache holds only identity and resourceVersion of foreign ConfigMaps (their content may be a megabyte), and five
hundred pipelines of one code must not mean five hundred reads. Only digests are kept. Content decides, never the
resourceVersion: relabelling a ConfigMap changes no digest.
"""

from __future__ import annotations

import asyncio
import base64
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tidemill.core.plan import ObjectRef
from tidemill.errors import ApiError
from tidemill.kube.cache import Cache, version_of
from tidemill.kube.client import KubeClient
from tidemill_contracts.revisions import code_digest, value_revision

Obj = dict[str, Any]
_REMEMBERED = 4096
READS = 4
"""ConfigMaps that are read at the same time: a whole one may take megabytes."""
SHARED_FAILURES = 3
"""Failed reads of others that a pass waits for before it fails with one."""


@dataclass(frozen=True, slots=True)
class ConfigMapDigest:
    """What counts of a ConfigMap."""

    code: str
    """Digest of the whole, as code."""
    revisions: Mapping[str, str]
    """Digest by key, as data."""


@dataclass(frozen=True, slots=True)
class _Read:
    """What a read found, and of which resourceVersion; 0 for nothing."""

    digest: ConfigMapDigest | None
    version: int


class ConfigMapDigests:
    """Answers "what is in that ConfigMap" with digests. Used within one event loop."""

    def __init__(self, client: KubeClient, cache: Cache) -> None:
        """Reads nothing yet."""
        self._client = client
        self._cache = cache
        self._known: OrderedDict[tuple[str, str], ConfigMapDigest] = OrderedDict()
        self._places = asyncio.Semaphore(READS)
        self._reading: dict[tuple[str, str], asyncio.Task[_Read]] = {}

    async def get(self, namespace: str, name: str) -> ConfigMapDigest | None:
        """Digests of the ConfigMap's present content; None when it does not exist."""
        seen = self._cache.get("ConfigMap", namespace, name)
        if seen is not None:
            known = self._known.get(_version(seen))
            if known is not None:
                return known
        return await self._read_once(namespace, name)

    async def _read_once(self, namespace: str, name: str) -> ConfigMapDigest | None:
        """One read at a time for one ConfigMap: whoever comes while it goes on shares its answer, but not its failure.

        A pass fails by the read that it began itself, or when it saw those of others fail again and again. What others
        have read does not count where the watch has shown a newer state since: that event woke this very pass.
        """
        slot = (namespace, name)
        for _ in range(SHARED_FAILURES):
            task = self._reading.get(slot)
            if task is None:
                break
            try:
                found = await asyncio.shield(task)
            except ApiError:
                continue
            if not self._is_outdated(found, namespace, name):
                return found.digest
        task = self._reading.get(slot)
        if task is None:
            task = self._reading[slot] = asyncio.create_task(self._read(namespace, name))
            task.add_done_callback(lambda _: self._reading.pop(slot, None))
        return (await asyncio.shield(task)).digest

    def _is_outdated(self, found: _Read, namespace: str, name: str) -> bool:
        seen = self._cache.get("ConfigMap", namespace, name)
        return seen is not None and found.version < version_of(seen)

    async def _read(self, namespace: str, name: str) -> _Read:
        async with self._places:
            live = await self._client.get(ObjectRef("v1", "ConfigMap", namespace, name))
            return _Read(self._noted(live), 0 if live is None else version_of(live))

    def _noted(self, live: Obj | None) -> ConfigMapDigest | None:
        if live is None or live["metadata"].get("deletionTimestamp"):
            return None
        found = digests(live)
        self._known[_version(live)] = found
        while len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)
        return found


def digests(config_map: Obj) -> ConfigMapDigest:
    """Digests of a whole ConfigMap object; `binaryData` counts by its bytes."""
    files = {name: text.encode() for name, text in (config_map.get("data") or {}).items()}
    files |= {name: base64.b64decode(text) for name, text in (config_map.get("binaryData") or {}).items()}
    return ConfigMapDigest(code_digest(files), {name: value_revision(content) for name, content in files.items()})


def _version(obj: Obj) -> tuple[str, str]:
    return obj["metadata"]["uid"], obj["metadata"].get("resourceVersion", "")
