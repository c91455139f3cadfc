"""One sequence of bytes for one model: the canonical form of a skops archive.

skops writes the time into every zip entry, names arrays after memory addresses and numbers objects by
them, and keeps sets in hash order and unused bytes of tree nodes as they were in memory; so two dumps
of one model differ. Here all of that is replaced by what depends on the content alone. The result is a
plain skops archive that `skops.io.load` reads.
"""

import io
import json
import zipfile
from typing import Any

import numpy as np
from numpy.typing import NDArray

_TIME = (1980, 1, 1, 0, 0, 0)  # the earliest that a zip entry can hold
_SCHEMA = "schema.json"


def canonical(archive: bytes) -> bytes:
    """Return the canonical form of a skops archive.

    Raises:
        ValueError: the archive is not one that skops writes.
    """
    with zipfile.ZipFile(io.BytesIO(archive)) as source:
        files = {name: source.read(name) for name in source.namelist()}
    schema = json.loads(files.pop(_SCHEMA))
    writer = _Writer(files)
    tree = writer.node(schema)
    content = dict(sorted(writer.renamed.items()))
    content[_SCHEMA] = json.dumps(tree, ensure_ascii=False, separators=(",", ":")).encode()
    output = io.BytesIO()
    with zipfile.ZipFile(output, "w", zipfile.ZIP_STORED) as target:
        for name, data in content.items():
            entry = zipfile.ZipInfo(name, _TIME)
            entry.create_system = 3  # otherwise the platform's
            entry.external_attr = 0o644 << 16
            target.writestr(entry, data)
    return output.getvalue()


class _Writer:
    """Renumbers object ids and files in the order in which the schema first names them."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self._files = files
        self._names: dict[str, str] = {}
        self._ids: dict[object, int] = {}
        self.renamed: dict[str, bytes] = {}

    def node(self, value: Any) -> Any:
        """Return a part of the schema in canonical form; the order of keys stays, loaders depend on it."""
        if isinstance(value, list):
            return [self.node(item) for item in value]
        if not isinstance(value, dict):
            return value
        if value.get("__loader__") == "SetNode":
            value = {**value, "content": sorted(value["content"], key=_without_ids)}
        result = {key: self.node(item) for key, item in value.items() if key not in ("__id__", "file")}
        if isinstance(value.get("file"), str) and "__loader__" in value:
            result["file"] = self._file(value["file"])
        if "__id__" in value:
            result["__id__"] = self._id(value)
        return result

    def _id(self, value: dict[str, Any]) -> int:
        # Whether two equal constants are one object depends on the interpreter, so constants are distinguished by
        # content; objects that can change keep their identity, a model may share them on purpose.
        key: object = value["__id__"]
        if value.get("__loader__") == "JsonNode":
            key = ("constant", value["__module__"], value["__class__"], value["content"])
        return self._ids.setdefault(key, len(self._ids) + 1)

    def _file(self, name: str) -> str:
        if name not in self._names:
            _, dot, suffix = name.rpartition(".")
            self._names[name] = f"{len(self._names):06d}{dot}{suffix}"
            data = self._files[name]
            self.renamed[self._names[name]] = _array(data) if suffix == "npy" else data
        return self._names[name]


def _without_ids(value: Any) -> str:
    if isinstance(value, list):
        return json.dumps([_without_ids(item) for item in value])
    if isinstance(value, dict):
        return json.dumps({key: _without_ids(item) for key, item in sorted(value.items()) if key != "__id__"})
    return json.dumps(value)


def _array(data: bytes) -> bytes:
    """Return an array file whose bytes without meaning are zero."""
    array = np.load(io.BytesIO(data), allow_pickle=False)
    if array.dtype.names is None:
        return data
    # Assignment field by field into zeros leaves the padding between fields zero.
    clean: NDArray[Any] = np.zeros(array.shape, dtype=array.dtype)
    for name in array.dtype.names:
        clean[name] = array[name]
    if {"left_child", "missing_go_to_left"} <= set(array.dtype.names):
        clean["missing_go_to_left"][clean["left_child"] == -1] = 0  # has no meaning in a leaf
    output = io.BytesIO()
    np.save(output, clean, allow_pickle=False)
    return output.getvalue()
