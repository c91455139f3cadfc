"""Compressed request bodies: gzip and deflate, undone within a bound.

A kilobyte can stand for a gigabyte, so nothing is inflated beyond what the server takes anyway. What is
broken, cut short or followed by something else is the client's error, never a guess.
"""

import zlib

from tidemill_contracts.counts import counted
from tidemill_runtime.model.errors import BadRequestError, TooLargeError, UnsupportedEncodingError

encodings = ("gzip", "deflate", "identity")
"""What a client may send, as messages name them; x-gzip is gzip."""

_GZIP = 16 + zlib.MAX_WBITS
_ZLIB = zlib.MAX_WBITS
_RAW = -zlib.MAX_WBITS  # deflate without the zlib form around it: what some clients take the word for
_DEFLATED = 8
_BITS = {"gzip": _GZIP, "x-gzip": _GZIP, "deflate": _ZLIB}


def inflate(body: bytes, encoding: str, limit: int) -> bytes:
    """Return what a body stands for; `encoding` is the header as it came, `limit` a number of bytes.

    Raises:
        UnsupportedEncodingError: an encoding that is not known, or several of them.
        BadRequestError: a broken stream, or bytes after its end.
        TooLargeError: more than `limit` bytes; no more than one of them beyond it is ever inflated.
    """
    name = encoding.strip().lower()
    if name in ("", "identity"):
        return body
    if "," in name:
        raise _unsupported(f"got several: {encoding!r}")
    bits = _BITS.get(name)
    if bits is None:
        raise _unsupported(f"got {encoding!r}")
    if bits == _ZLIB and not _is_zlib(body):
        bits = _RAW
    stream = zlib.decompressobj(bits)
    try:
        content = stream.decompress(body, limit + 1)
    except zlib.error as error:
        raise BadRequestError(f"the body is no {name}, as Content-Encoding says: {error}") from None
    if len(content) > limit:
        raise TooLargeError(f"the body is larger than {limit} bytes once inflated")
    if not stream.eof:
        raise BadRequestError(f"the body is cut short: its {name} stream does not end")
    if stream.unused_data:
        raise BadRequestError(
            f"the body goes on for {counted(len(stream.unused_data), 'byte')} after the end of its {name} stream"
        )
    return content


def _unsupported(what: str) -> UnsupportedEncodingError:
    return UnsupportedEncodingError(f"Content-Encoding: expected one of {', '.join(encodings)}, {what}", encodings)


def _is_zlib(body: bytes) -> bool:
    """Return whether a body begins as zlib does; raw deflate from no known encoder begins so."""
    return len(body) > 1 and body[0] & 15 == _DEFLATED and int.from_bytes(body[:2], "big") % 31 == 0
