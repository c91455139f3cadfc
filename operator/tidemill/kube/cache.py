"""What the watches have delivered, reduced by `transform`: the cheap reads of a reconcile.

Why: 32 workers reading lists from the API server would be slower than the work itself. Everything here may be a moment
old; a decision that would be wrong on old data needs a live GET (`KubeClient.get`). The engine puts every answer to its
own writes in here at once, so a reconciler always sees what it wrote itself.
Objects are shared, not copied: never change one.
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any, TypeVar

from tidemill.core.children import controller_of
from tidemill.core.plan import Key

Obj = dict[str, Any]
Objs = list[Obj]
T = TypeVar("T")
Slot = tuple[str, str]  # namespace ("" for cluster-scoped), name
NamesOf = Callable[[Obj], Iterable[str]]

_TOMBSTONES = 20_000


@dataclass(frozen=True, slots=True)
class _Derived:
    """What was made of a kind's objects in a namespace, and of which state of them."""

    revision: int
    by_name: dict[str, tuple[Obj, Any]]
    values: tuple[Any, ...]


class Cache:
    """Objects by kind, namespace and name, with an index by the uid of their controller."""

    def __init__(self) -> None:
        """An empty cache. Not thread-safe: one event loop uses it."""
        self._objects: dict[str, dict[Slot, Obj]] = defaultdict(dict)
        self._by_namespace: dict[tuple[str, str], set[str]] = defaultdict(set)
        self._by_owner: dict[tuple[str, str], set[Slot]] = defaultdict(set)
        self._gone: OrderedDict[str, int] = OrderedDict()  # uid: resourceVersion at which it was gone
        self._writers: OrderedDict[tuple[str, str], Key] = OrderedDict()
        self._revisions: dict[tuple[str, str], int] = {}  # by kind and namespace: raised by every change
        self._derived: dict[tuple[str, str], dict[Callable[[Obj], Any], _Derived]] = {}
        self._naming: dict[str, dict[NamesOf, dict[Slot, set[str]]]] = {}

    def get(self, kind: str, namespace: str | None, name: str) -> Obj | None:
        """The object as last seen, None when unknown."""
        return self._objects[kind].get((namespace or "", name))

    def has(self, kind: str, namespace: str) -> bool:
        """Whether any object of a kind and namespace is known, at the same cost however many there are."""
        return (kind, namespace) in self._by_namespace

    def list(
        self,
        kind: str,
        namespace: str | None = None,
        selector: dict[str, str] | None = None,
        owner_uid: str | None = None,
    ) -> Objs:
        """Objects of a kind, by namespace, equal labels and controller uid as given; ordered by namespace and name."""
        objects = self._objects[kind]
        slots: Iterable[Slot]
        if owner_uid is not None:
            slots = self._by_owner.get((kind, owner_uid), ())
        elif namespace is not None:
            slots = ((namespace, name) for name in self._by_namespace.get((kind, namespace), ()))
        else:
            slots = objects
        found = [objects[s] for s in sorted(slots) if namespace is None or s[0] == namespace]
        if selector:
            found = [o for o in found if _has_labels(o, selector)]
        return found

    def derived(self, kind: str, namespace: str, make: Callable[[Obj], T]) -> tuple[T, ...]:
        """`make(obj)` of every object of a kind and namespace, by name, made again only for those that have changed.

        For what many passes ask about the same many objects. `make` must be a pure function of the module level.
        """
        if not self.has(kind, namespace):
            return ()
        revision = self._revisions.get((kind, namespace), 0)
        by_function = self._derived.setdefault((kind, namespace), {})
        known = by_function.get(make)
        if known is None or known.revision != revision:
            old = known.by_name if known is not None else {}
            by_name: dict[str, tuple[Obj, Any]] = {}
            for obj in self.list(kind, namespace):
                name = obj["metadata"]["name"]
                before = old.get(name)
                by_name[name] = before if before is not None and before[0] is obj else (obj, make(obj))
            known = by_function[make] = _Derived(revision, by_name, tuple(value for _, value in by_name.values()))
        return known.values

    def naming(
        self, kind: str, namespace: str, name: str, names_of: NamesOf, selector: dict[str, str] | None = None
    ) -> Objs:
        """Objects of a kind and namespace that refer to `name`, by their own name; `names_of` finds what one refers to.

        An index, for what is asked at every event. `names_of` must be a pure function of the module level.
        """
        by_function = self._naming.setdefault(kind, {})
        index = by_function.get(names_of)
        if index is None:
            index = by_function[names_of] = {}
            for slot, obj in self._objects[kind].items():
                _refer(index, slot, names_of(obj))
        found = [self._objects[kind][namespace, own] for own in sorted(index.get((namespace, name), ()))]
        return [o for o in found if _has_labels(o, selector)] if selector else found

    def put(self, obj: Obj, writer: Key | None = None) -> bool:
        """Stores `obj` unless it is older than what is known or than its own removal; True when it was stored.

        `writer`: the reconciled object whose pass wrote it just now (see `writer_of`).
        """
        meta = obj["metadata"]
        kind, slot = obj["kind"], (meta.get("namespace") or "", meta["name"])
        old = self._objects[kind].get(slot)
        gone = self._gone.get(meta.get("uid"))
        if (gone is not None and version_of(obj) <= gone) or (old is not None and version_of(obj) < version_of(old)):
            return False
        if old is not None:
            self._unindex(kind, slot, old)
        self._objects[kind][slot] = obj
        self._note_change(kind, slot[0])
        self._by_namespace[kind, slot[0]].add(slot[1])
        owner = controller_of(obj).get("uid")
        if owner:
            self._by_owner[kind, owner].add(slot)
        for names_of, index in self._naming.get(kind, {}).items():
            _refer(index, slot, names_of(obj))
        if writer is not None:
            self._writers[_identity(obj)] = writer
            while len(self._writers) > _TOMBSTONES:
                self._writers.popitem(last=False)
        return True

    def writer_of(self, obj: Obj) -> Key | None:
        """Who of us wrote exactly this version of `obj`, else None; asked once, as a watch echoes a write once."""
        return self._writers.pop(_identity(obj), None)

    def remove(
        self, kind: str, namespace: str | None, name: str, uid: str | None = None, version: int | None = None
    ) -> bool:
        """Forgets an object (only the one with that uid, when given); True when it was known.

        `version`: the resourceVersion at which it was gone (None: the known one). Up to it, stores of that uid are
        refused; what is newer counts, since a watch with a selector reports a lost label as a deletion, too.
        """
        slot = (namespace or "", name)
        old = self._objects[kind].get(slot)
        if old is not None and uid and old["metadata"].get("uid") not in (uid, None):
            old = None
        if version is None:
            version = version_of(old) if old is not None else 0
        if uid:
            self._gone[uid] = max(version, self._gone.get(uid, 0))
            while len(self._gone) > _TOMBSTONES:
                self._gone.popitem(last=False)
        if old is None or version_of(old) > version:
            return False
        self._unindex(kind, slot, old)
        del self._objects[kind][slot]
        self._note_change(kind, slot[0])
        return True

    def learn(self, obj: Obj) -> bool:
        """Stores what a live list shows, when it is newer than what is known; True when it was newer."""
        meta = obj["metadata"]
        old = self.get(obj["kind"], meta.get("namespace"), meta["name"])
        return (old is None or version_of(old) < version_of(obj)) and self.put(obj)

    def prune(self, kind: str, seen: AbstractSet[Slot], list_version: int, namespace: str | None = None) -> Objs:
        """Forgets what a complete live list, taken at `list_version`, lacked; returns it.

        Objects newer than the list stay, and those of other namespaces when the list was of one.
        """
        pruned = [
            obj
            for slot, obj in self._objects[kind].items()
            if slot not in seen and version_of(obj) <= list_version and namespace in (None, slot[0])
        ]
        for obj in pruned:
            meta = obj["metadata"]
            self.remove(kind, meta.get("namespace"), meta["name"], meta.get("uid"), list_version)
        return pruned

    def count(self, kind: str) -> int:
        """How many objects of a kind are known."""
        return len(self._objects[kind])

    def kinds(self) -> Sequence[str]:
        """Kinds of which at least one object is known."""
        return sorted(k for k, v in self._objects.items() if v)

    def _note_change(self, kind: str, namespace: str) -> None:
        self._revisions[kind, namespace] = self._revisions.get((kind, namespace), 0) + 1
        if not self.has(kind, namespace):  # nothing is kept of namespaces that come and go
            self._derived.pop((kind, namespace), None)
            del self._revisions[kind, namespace]

    def _unindex(self, kind: str, slot: Slot, obj: Obj) -> None:
        for names_of, index in self._naming.get(kind, {}).items():
            for name in names_of(obj):
                referring = index.get((slot[0], name), set())
                referring.discard(slot[1])
                if not referring:
                    index.pop((slot[0], name), None)
        names = self._by_namespace[kind, slot[0]]
        names.discard(slot[1])
        if not names:
            del self._by_namespace[kind, slot[0]]
        owner = controller_of(obj).get("uid")
        if owner:
            slots = self._by_owner[kind, owner]
            slots.discard(slot)
            if not slots:
                del self._by_owner[kind, owner]


def _refer(index: dict[Slot, set[str]], slot: Slot, found: Iterable[str]) -> None:
    for name in found:
        index.setdefault((slot[0], name), set()).add(slot[1])


def slot_of(obj: Obj) -> Slot:
    """Where the cache keeps an object of its kind."""
    return obj["metadata"].get("namespace") or "", obj["metadata"]["name"]


def version_of(obj: Obj) -> int:
    """resourceVersion as a number: etcd revisions, which Kubernetes 1.35 made comparable by contract (KEP-5504)."""
    try:
        return int(obj["metadata"].get("resourceVersion") or 0)
    except ValueError:
        return 0


def _identity(obj: Obj) -> tuple[str, str]:
    meta = obj["metadata"]
    return meta.get("uid") or "", meta.get("resourceVersion") or ""


def _has_labels(obj: Obj, selector: dict[str, str]) -> bool:
    labels = obj["metadata"].get("labels") or {}
    return all(labels.get(k) == v for k, v in selector.items())
