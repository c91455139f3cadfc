"""Requests that nobody would send on purpose: valid ones, damaged in ways that find what a parser forgot."""

import copy
import gzip
import json
import random
import struct
from typing import Any

_TOKENS = [
    b"NaN",
    b"Infinity",
    b"-Infinity",
    b"null",
    b"true",
    b"1e999",
    b"-1e999",
    b"1" * 400,
    b"-0.0",
    b"9223372036854775808",
    b"18446744073709551616",
    b"-1",
    b"0",
    b"[]",
    b"{}",
    b'""',
    b"[" * 500,
    b'{"a":' * 500,
    b"\\ud800",
    b"\\u0000",
    b"\xff\xfe",
    b"\xed\xa0\x80",
    b"\0",
    b'"BYTES"',
    b'"FP16"',
    b'"BF16"',
    b'"INT8"',
    b'"UINT64"',
    b'"shape":[-1]',
    b'"shape":[0]',
    b'"shape":[4611686018427387904,4]',
    b'"binary_data_size":16',
    b'"binary_data_size":-1',
    b'"binary_data":true',
    b",",
    b":",
]
_VALUES: list[Any] = [
    None,
    True,
    0,
    -1,
    2**31,
    2**53 + 1,
    2**63,
    2**64,
    -(10**30),
    1.5,
    -0.0,
    1e308,
    5e-324,
    "",
    "a",
    "ä\0\u2028",
    "BYTES",
    "FP16",
    "BOOL",
    "UINT8",
    "x" * 10_000,
    [],
    {},
    [[]],
    [None],
    [1, 2],
    [[1], [2]],
    {"name": "label"},
    {"binary_data": True},
    {"binary_data_size": 8},
    {"content_type": "pd"},
]
_HEADERS = [
    b"content-length: 5",
    b"content-length: 18446744073709551617",
    b"content-length: -1",
    b"content-length: +5",
    b"transfer-encoding: chunked",
    b"transfer-encoding: gzip, chunked",
    b"transfer-encoding: identity",
    b"expect: 100-continue",
    b"expect: 200-ok",
    b"content-encoding: gzip",
    b"content-encoding: deflate",
    b"content-encoding: br",
    b"content-encoding: gzip, gzip",
    b"inference-header-content-length: 10",
    b"inference-header-content-length: 0",
    b"inference-header-content-length: -1",
    b"inference-header-content-length: 99999999999999999999",
    b"inference-header-content-length: ten",
    b"connection: upgrade\r\nupgrade: websocket",
    b"connection: close",
    b"x-tidemill-prediction-id: " + b"x" * 300,
    b"x-tidemill-prediction-id: \x80\xff",
    b"traceparent: 00-zz-zz-01",
    b": empty",
    b"a" * 70_000,
    b"host",
    b"host: a\r\nhost: b",
    b"content-type: text/plain",
    b"\0: \0",
    b" folded: x",
]
_PATHS = [
    b"/",
    b"*",
    b"//",
    b"/v2/models/%2e%2e/infer",
    b"/v2/models/demo/versions/9/infer",
    b"/v2/models/demo/infer?x=%zz",
    b"/v2/models/demo/infer//",
    b"/v2/models/\xff/infer",
    b"http://[::1/v2",
    b"/v1/models/demo%3Apredict",
    b"/v2/models/" + b"a" * 70_000,
    b"/docs",
    b"/v2/models/demo",
    b"/v2/health/ready",
]
_METHODS = [b"GET", b"PUT", b"DELETE", b"HEAD", b"OPTIONS", b"PATCH", b"CONNECT", b"PRI", b"post", b"\x16\x03\x01"]


def bodies(columns: dict[str, tuple[str, list[Any]]]) -> list[tuple[bytes, dict[str, str]]]:
    """Return valid bodies with their headers, in every form the server takes; `columns` are datatype and values."""
    tensors = [{"name": n, "shape": [len(v)], "datatype": d, "data": v} for n, (d, v) in columns.items()]
    records = [dict(zip(columns, row, strict=True)) for row in zip(*(v for _, v in columns.values()), strict=True)]
    v2 = json.dumps({"id": "f", "inputs": tensors, "outputs": [], "parameters": {"a": 1}}).encode()
    raw, parts = [], []
    for name, (datatype, values) in columns.items():
        content = _raw(datatype, values)
        raw.append(content)
        size = {"binary_data_size": len(content)}
        parts.append({"name": name, "shape": [len(values)], "datatype": datatype, "parameters": size})
    head = json.dumps({"inputs": parts, "parameters": {"binary_data_output": True}}).encode()
    return [
        (v2, {}),
        (gzip.compress(v2), {"content-encoding": "gzip"}),
        (head + b"".join(raw), {"inference-header-content-length": str(len(head))}),
        (json.dumps({"instances": records}).encode(), {}),
        (json.dumps({"instances": [list(r.values()) for r in records]}).encode(), {}),
        (json.dumps({"inputs": {n: v for n, (_, v) in columns.items()}}).encode(), {}),
    ]


def _raw(datatype: str, values: list[Any]) -> bytes:
    if datatype == "BYTES":
        return b"".join(struct.pack("<I", len(v.encode())) + v.encode() for v in values)
    return struct.pack(f"<{len(values)}{ {'INT64': 'q', 'FP64': 'd', 'BOOL': '?'}[datatype] }", *values)


def damaged(data: bytes, rng: random.Random) -> bytes:
    """Return bytes with one to four places changed, doubled, cut out, or replaced by something a parser dislikes."""
    out = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(out) + 1)
        length = rng.choice((1, 1, 2, 8, 64))
        kind = rng.randrange(6)
        if kind == 0 and at < len(out):
            out[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del out[at : at + length]
        elif kind == 2:
            out[at:at] = out[at : at + length] * rng.choice((1, 3, 200))
        elif kind == 3:
            out[at:at] = rng.choice(_TOKENS)
        elif kind == 4:
            out[at : at + length] = rng.choice(_TOKENS)
        else:
            out[at:at] = rng.randbytes(length)
    return bytes(out)


def twisted(body: bytes, rng: random.Random) -> bytes:
    """Return a JSON body, still JSON, with one to three of its values exchanged for others or left out."""
    document = json.loads(body)
    for _ in range(rng.randint(1, 3)):
        holder, keys = document, []
        while isinstance(holder, (dict, list)) and holder:
            key: Any = rng.choice(list(holder)) if isinstance(holder, dict) else rng.randrange(len(holder))
            keys.append((holder, key))
            holder = holder[key]
        if not keys:
            break
        place, key = rng.choice(keys)
        if rng.random() < 0.2:
            del place[key]
        else:
            place[key] = copy.deepcopy(rng.choice(_VALUES))
    return json.dumps(document).encode()


def message(path: str, body: bytes, headers: dict[str, str], rng: random.Random) -> bytes:
    """Return a request whose very form may be damaged: line, headers, lengths, or any byte of it."""
    head = [b"POST " + path.encode() + b" HTTP/1.1", b"host: x", b"content-length: %d" % len(body)]
    head += [f"{name}: {value}".encode() for name, value in headers.items()]
    kind = rng.randrange(5)
    if kind == 0:
        head[0] = head[0].replace(path.encode(), rng.choice(_PATHS))
    elif kind == 1:
        head[0] = head[0].replace(b"POST", rng.choice(_METHODS))
    elif kind == 2:
        head.insert(rng.randint(1, len(head)), rng.choice(_HEADERS))
    elif kind == 3:
        head[2] = rng.choice(_HEADERS)
    whole = b"\r\n".join(head) + b"\r\n\r\n" + body
    return damaged(whole, rng) if kind == 4 else whole
