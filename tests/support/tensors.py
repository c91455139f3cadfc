"""V2 tensors as a client of another make would write and read them: plain Python and struct, nothing of the server's.

Values are what a client holds: bool, int, float, str; FP16 and FP32 values are floats that such a type holds exactly.
"""

from __future__ import annotations

import json
import math
import struct
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from hypothesis import strategies as st

CODES = {
    "BOOL": "?",
    "INT8": "b",
    "INT16": "h",
    "INT32": "i",
    "INT64": "q",
    "UINT8": "B",
    "UINT16": "H",
    "UINT32": "I",
    "UINT64": "Q",
    "FP16": "e",
    "FP32": "f",
    "FP64": "d",
}
DATATYPES = (*CODES, "BYTES")
WIDTHS = {"FP16": 16, "FP32": 32, "FP64": 64}
TEXT = st.text(st.characters(codec="utf-8"), max_size=12)


def values(datatype: str, *, finite: bool = False) -> st.SearchStrategy[Any]:
    """Return values of a datatype: extremes, -0.0, empty text and, unless `finite`, NaN and infinities among them."""
    if datatype == "BYTES":
        return TEXT
    if datatype == "BOOL":
        return st.booleans()
    if datatype in WIDTHS:
        width = WIDTHS[datatype]
        numbers = st.floats(width=width, allow_nan=not finite, allow_infinity=not finite)  # type: ignore[arg-type]
        return numbers | st.sampled_from([-0.0, 0.0, 1.0])
    low, high = limits(datatype)
    edges = [v for v in (low, high, 0, 2**53 + 1, -(2**53) - 1) if low <= v <= high]
    return st.integers(low, high) | st.sampled_from(edges)


@st.composite
def arrays(draw: st.DrawFn, datatype: str) -> tuple[list[Any], np.ndarray[Any, Any]]:
    """Return values of a datatype, row-major, and the array of one to three dimensions that a model gives for them."""
    shape = draw(st.lists(st.integers(0, 3), min_size=1, max_size=3))
    size = math.prod(shape)
    items = draw(st.lists(values(datatype), min_size=size, max_size=size))
    return items, np.array(items, dtype=object if datatype == "BYTES" else np.dtype(CODES[datatype])).reshape(shape)


def limits(datatype: str) -> tuple[int, int]:
    """Return the smallest and the largest value of an integer datatype."""
    bits = int(datatype.lstrip("UINT"))
    return (0, 2**bits - 1) if datatype.startswith("U") else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


def to_bytes(items: list[Any], datatype: str) -> bytes:
    """Return the binary form of a tensor's values."""
    if datatype == "BYTES":
        return b"".join(struct.pack("<I", len(item.encode())) + item.encode() for item in items)
    return struct.pack(f"<{len(items)}{CODES[datatype]}", *items)


def from_bytes(raw: bytes, datatype: str) -> list[Any]:
    """Return the values in a binary tensor."""
    if datatype != "BYTES":
        return list(struct.unpack(f"<{len(raw) // struct.calcsize(CODES[datatype])}{CODES[datatype]}", raw))
    items: list[Any] = []
    while raw:
        (size,) = struct.unpack_from("<I", raw)
        items.append(raw[4 : 4 + size].decode())
        raw = raw[4 + size :]
    return items


@dataclass
class Body:
    """A request in the making: JSON tensors and binary ones, in order."""

    document: dict[str, Any] = field(default_factory=dict)
    raw: list[bytes] = field(default_factory=list)

    def add(self, name: str, datatype: str, shape: list[int], items: list[Any], *, binary: bool) -> None:
        """Add a tensor; `items` are row-major."""
        entry: dict[str, Any] = {"name": name, "datatype": datatype, "shape": shape}
        if binary:
            self.raw.append(to_bytes(items, datatype))
            entry["parameters"] = {"binary_data_size": len(self.raw[-1])}
        else:
            entry["data"] = items
        self.document.setdefault("inputs", []).append(entry)

    def encoded(self) -> tuple[bytes, int | None]:
        """Return the body and the value of its length header, None without one."""
        head = json.dumps(self.document, ensure_ascii=False).encode()
        return (head + b"".join(self.raw), len(head)) if self.raw else (head, None)


def outputs(body: bytes, json_length: int | None) -> dict[str, tuple[str, list[int], list[Any]]]:
    """Return the outputs of an answer by name: datatype, shape, values; NaN and Infinity in JSON are an error."""
    head = body if json_length is None else body[:json_length]
    rest = b"" if json_length is None else body[json_length:]
    found = {}
    for entry in json.loads(head, parse_constant=_refuse)["outputs"]:
        items = entry.get("data")
        if items is None:
            size = entry["parameters"]["binary_data_size"]
            items, rest = from_bytes(rest[:size], entry["datatype"]), rest[size:]
        found[entry["name"]] = (entry["datatype"], entry["shape"], items)
    assert rest == b"", "binary data that no output accounts for"
    return found


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON")
