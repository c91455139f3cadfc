"""Request bodies as bytes that the API server reads the same as JSON and as YAML.

Why: it reads the body of a server-side apply as YAML, where JSON's way of writing an emoji (two escaped surrogates) is
an error and a raw line separator is folded to a space. A log line or a column name may hold either.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

# Line breaks of YAML, and what YAML does not let stand unescaped although JSON does.
_ESCAPED = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


def encode(body: Mapping[str, Any] | Sequence[Any]) -> bytes:
    """Compact UTF-8 JSON that is YAML too; a lone surrogate, which no encoding has, becomes U+FFFD.

    Raises ValueError for NaN and infinity, TypeError for what JSON does not know.
    """
    text = json.dumps(body, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
    text = _ESCAPED.sub(lambda found: f"\\u{ord(found.group()):04x}", text)
    return _LONE_SURROGATE.sub("\ufffd", text).encode()
