"""What is kept of an object in the cache (client-go: SetTransform): what reconcilers read, and a bounded amount of it.

Why bounds: whoever may create objects decides how large they are (1.5 MB each, in small pieces twenty times that in
memory), and the operator knows all objects of all tenants. What is over the bound is truncated, marked, and read
live when the object itself is reconciled (`Deps.read`).
"""

from __future__ import annotations

import sys
from typing import Any

from tidemill.api.base import GROUP
from tidemill.kube import registry
from tidemill_contracts import signatures

Obj = dict[str, Any]

MAX_BYTES = 64 << 10
"""Bytes of memory, about, that one object may take in the cache; a pipeline of the samples takes 4 KiB."""
TRUNCATED = f"{GROUP}/cut"
"""Key beside apiVersion and kind of an object that was truncated: the size that it had. The API has no such field."""
_INTERNED_LENGTH = 64
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_IDENTITY = ("name", "namespace", "uid", "resourceVersion", "deletionTimestamp")
_WHOLE_META = (*_IDENTITY, "generation", "creationTimestamp")
_MESSAGE = 64
"""Characters that are kept of the message of a request or a mark, in an object that was truncated."""
_OWNERS = 8
"""Owner references that are kept of an object that was truncated; the one that controls it is among them."""


def strip(obj: Obj) -> Obj:
    """Drops what no reconciler reads: managedFields, kubectl's copy of the manifest, most of a pod's or Job's spec.

    Of containers it keeps name, image and resources. Strings are interned: objects share their keys and words.
    """
    meta = {k: v for k, v in obj["metadata"].items() if k not in ("managedFields", "selfLink")}
    annotations = meta.get("annotations")
    if annotations and _LAST_APPLIED in annotations:
        meta["annotations"] = {k: v for k, v in annotations.items() if k != _LAST_APPLIED}
    out = {**obj, "metadata": meta}
    spec = obj.get("spec") or {}
    if obj.get("kind") == "Pod":
        out["spec"] = _strip_pod(spec)
    elif obj.get("kind") == "Job" and "template" in spec:
        template = spec["template"]
        out["spec"] = {**spec, "template": {**template, "spec": _strip_pod(template.get("spec") or {})}}
    stripped: Obj = _shared(out)
    return stripped


def identity(obj: Obj) -> Obj:
    """An object that is not ours: its identity and resourceVersion only. Content is read live when it is needed."""
    meta = obj["metadata"]
    kept = {k: meta[k] for k in _IDENTITY if k in meta}
    return {"apiVersion": obj["apiVersion"], "kind": obj["kind"], "metadata": kept}


def transform(obj: Obj) -> Obj:
    """The object as it is cached: stripped, bounded, and without content where only the metadata is watched."""
    if registry.lookup(obj["apiVersion"], obj["kind"]).metadata_only:
        obj = {key: obj[key] for key in ("apiVersion", "kind", "metadata")}
    return truncated(strip(obj))


def truncated(obj: Obj, most: int = MAX_BYTES) -> Obj:
    """A stripped object as it is, when it is small; else a smaller one of the same shape, marked with `TRUNCATED`.

    Small values stay: what is large is shortened (strings, lists, mappings), each to its fair share.
    """
    heavy = size_of(obj)
    if heavy <= most:
        return obj
    obj = _read_by_others(obj)
    meta = obj["metadata"]
    kept = {k: meta[k] for k in _WHOLE_META if k in meta}
    references = sorted(meta.get("ownerReferences") or (), key=lambda r: not r.get("controller"))[:_OWNERS]
    words = {k: _shortened(meta[k], most // 8) for k in ("labels", "annotations") if meta.get(k)}
    rest = {k: v for k, v in obj.items() if k not in ("apiVersion", "kind", "metadata")}
    head = {"apiVersion": obj["apiVersion"], "kind": obj["kind"], TRUNCATED: heavy}
    return {
        **head,
        "metadata": {**kept, **words, "ownerReferences": [_shortened(r, most // 64) for r in references]},
        **_shortened(rest, most // 2),
    }


def _read_by_others(obj: Obj) -> Obj:
    """A large object without what only its own pass reads, which reads it live: the rest must survive."""
    kind, spec, status = obj.get("kind"), obj.get("spec") or {}, obj.get("status") or {}
    if kind == "ModelMonitor":
        newest = {(a.get("type"), a.get("target")): a for a in status.get("actions") or ()}
        requested = [_shorten_message({k: v for k, v in a.items() if k != "evidence"}) for a in newest.values()]
        return {**obj, "status": {**_without(status, "window", "performance"), "actions": requested}}
    if kind == "ModelDeployment":
        failed = [{k: f[k] for k in ("version", "digest") if k in f} for f in status.get("failedVersions") or ()]
        candidate = _without(
            status.get("candidate") or {}, "baseline", "baselineCounters", "comparison", "lastAnalysis", "attemptReason"
        )
        return {**obj, "status": {**status, "candidate": candidate, "failedVersions": failed}}
    if kind == "TrainingRun":
        data = [{k: d[k] for k in ("name", "revision") if k in d} for d in spec.get("data") or ()]
        champion = _without(spec.get("champion") or {}, "metrics")
        result = {k: v for k, v in (status.get("result") or {}).items() if k == "data"}
        reported = {**status, "failure": _without(status.get("failure") or {}, "log"), "result": result}
        brief = {**_without(spec, "parameters", "keep", "gates"), "data": data, "champion": champion}
        return {**obj, "spec": brief, "status": reported}
    if kind == "ModelVersion":
        marks = {name: _shorten_message(mark) for name, mark in (status.get("takenBack") or {}).items()}
        lineage = _without(spec.get("lineage") or {}, "parameters")
        brief = {**_without(spec, "signature"), **_signature_digest(spec), "lineage": lineage}
        return {**obj, "spec": brief, "status": {**status, "takenBack": marks}}
    return obj


def _signature_digest(spec: Obj) -> Obj:
    """What others compare of a signature that is left out; nothing where none is there, or is none."""
    try:
        return {"signatureDigest": signatures.digest(signatures.recorded(spec["signature"]))}
    except (KeyError, TypeError, AttributeError, ValueError):
        return {}


def _without(part: Obj, *names: str) -> Obj:
    return {k: v for k, v in part.items() if k not in names}


def _shorten_message(entry: Obj) -> Obj:
    return {**entry, "message": str(entry.get("message", ""))[:_MESSAGE]}


def is_truncated(obj: Obj) -> bool:
    """Whether `truncated` has shortened this object."""
    return TRUNCATED in obj


def size_of(value: Any) -> int:
    """About how many bytes of memory a JSON value takes."""
    total, todo = 0, [value]
    while todo:
        one = todo.pop()
        if type(one) is str:
            total += 52 + len(one)
        elif type(one) is dict:
            total += 64 + 104 * len(one)
            todo += one.values()
            total += sum(map(len, one))
        elif type(one) is list:
            total += 64 + 8 * len(one)
            todo += one
        else:
            total += 28
    return total


def _shortened(value: Any, most: int) -> Any:
    """`value` in at most about `most` bytes: the smallest parts first, so that they all survive a large one."""
    if size_of(value) <= most:
        return value
    if type(value) is str:
        return value[: max(most - 52, 0) // 4]  # a character takes four bytes at most
    if type(value) is dict:
        out: Obj = {}
        by_weight = sorted((size_of(v), k) for k, v in value.items())
        left, parts = most - 64, len(by_weight)
        for heavy, name in by_weight:
            share = left // parts
            parts -= 1
            cost = 104 + len(name)
            if share < cost + 64:
                continue
            out[name] = _shortened(value[name], share - cost)
            left -= cost + min(heavy, share - cost)
        return out
    if type(value) is list:
        kept: list[Any] = []
        left = most - 64
        for index, one in enumerate(value):
            share = max(left // (len(value) - index), min(left, 512))
            if share < 64:
                break
            kept.append(_shortened(one, share - 8))
            left -= 8 + min(size_of(one), share - 8)
        return kept
    return value


def _strip_pod(spec: Obj) -> Obj:
    kept = ("name", "image", "resources")
    containers = [{k: c[k] for k in kept if k in c} for c in spec.get("containers") or ()]
    return {"nodeName": spec.get("nodeName"), "containers": containers}


def _shared(value: Any) -> Any:
    if type(value) is dict:
        return {sys.intern(k): _shared(v) for k, v in value.items()}
    if type(value) is list:
        return [_shared(v) for v in value]
    if type(value) is str and len(value) <= _INTERNED_LENGTH:
        return sys.intern(value)
    return value
