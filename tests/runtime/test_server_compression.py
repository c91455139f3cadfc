"""Compressed bodies: every form that clients send, and bombs, stumps and tails that they should not."""

from __future__ import annotations

import gzip
import tracemalloc
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidemill_runtime.model.errors import BadRequestError, ServingError, TooLargeError, UnsupportedEncodingError
from tidemill_runtime.server.protocol.content_encoding import encodings, inflate

LIMIT = 10_000


def raw_deflate(content: bytes) -> bytes:
    """Return deflate without the zlib form around it."""
    stream = zlib.compressobj(wbits=-15)
    return stream.compress(content) + stream.flush()


FORMS = {"gzip": gzip.compress, "x-gzip": gzip.compress, "deflate": zlib.compress}


@given(content=st.binary(max_size=LIMIT))
def test_every_form_comes_back(content: bytes) -> None:
    for name, compress in FORMS.items():
        assert inflate(compress(content), name, LIMIT) == content
    for level in range(10):
        assert inflate(zlib.compress(content, level), "deflate", LIMIT) == content
    assert inflate(raw_deflate(content), "deflate", LIMIT) == content


@pytest.mark.parametrize("name", ["", "identity", " GZIP ", "Deflate"])
def test_names_are_of_any_case(name: str) -> None:
    compress = FORMS.get(name.strip().lower(), bytes)
    assert inflate(compress(b"{}"), name, LIMIT) == b"{}"


@pytest.mark.parametrize("name", ["br", "zstd", "gzip, deflate", "gzip,gzip", "ü", "gzip;q=1"])
def test_other_encodings_are_refused_by_name(name: str) -> None:
    with pytest.raises(UnsupportedEncodingError) as refused:
        inflate(b"", name, LIMIT)
    assert (refused.value.status, refused.value.fields()) == (415, [("accept-encoding", "gzip, deflate, identity")])
    assert refused.value.message.startswith("Content-Encoding: expected one of gzip, deflate, identity, got ")
    assert name in refused.value.message
    assert encodings == ("gzip", "deflate", "identity")


@pytest.mark.parametrize("name", FORMS)
def test_the_bound_is_exact(name: str) -> None:
    assert len(inflate(FORMS[name](b"x" * LIMIT), name, LIMIT)) == LIMIT
    with pytest.raises(TooLargeError) as refused:
        inflate(FORMS[name](b"x" * (LIMIT + 1)), name, LIMIT)
    assert refused.value.status == 413
    assert str(LIMIT) in refused.value.message


def test_a_bomb_is_not_inflated() -> None:
    bomb = gzip.compress(bytes(100_000_000))
    tracemalloc.start()
    with pytest.raises(TooLargeError):
        inflate(bomb, "gzip", LIMIT)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000  # of 100: the body itself is held a second time


BROKEN = {
    "nothing, as gzip": ("gzip", b"", "cut short"),
    "nothing, as deflate": ("deflate", b"", "cut short"),
    "JSON, as gzip": ("gzip", b'{"inputs": []}', "the body is no gzip, as Content-Encoding says"),
    "JSON, as deflate": ("deflate", b'{"inputs": []}', "the body is no deflate, as Content-Encoding says"),
    "zlib, as gzip": ("gzip", zlib.compress(b"{}"), "the body is no gzip"),
    "gzip, as deflate": ("deflate", gzip.compress(b"{}"), "the body is no deflate"),
    "cut gzip": ("gzip", gzip.compress(b"{}" * 99)[:-1], "cut short: its gzip stream does not end"),
    "cut zlib": ("deflate", zlib.compress(b"{}" * 99)[:-1], "cut short: its deflate stream does not end"),
    "cut raw deflate": ("deflate", raw_deflate(b"{}" * 99)[:-1], "cut short"),
    "wrong checksum": ("gzip", gzip.compress(b"{}")[:-5] + b"\0" * 5, "the body is no gzip"),
    "a tail": ("gzip", gzip.compress(b"{}") + b"tail", "goes on for 4 bytes after the end of its gzip stream"),
    "a second member": ("gzip", gzip.compress(b"{}") * 2, "after the end of its gzip stream"),
    "a tail of zlib": ("deflate", zlib.compress(b"{}") + b"\0", "goes on for 1 byte "),
}


@pytest.mark.parametrize(("name", "body", "sentence"), BROKEN.values(), ids=BROKEN.keys())
def test_broken_streams_are_the_clients_error(name: str, body: bytes, sentence: str) -> None:
    with pytest.raises(BadRequestError) as refused:
        inflate(body, name, LIMIT)
    assert sentence in refused.value.message


@given(body=st.binary(max_size=200), name=st.sampled_from(sorted(FORMS)), cut=st.integers(0, 60))
def test_no_bytes_are_a_fault(body: bytes, name: str, cut: int) -> None:
    for damaged in (body, FORMS[name](body)[:cut] + body):
        try:
            assert len(inflate(damaged, name, LIMIT)) <= LIMIT
        except ServingError as error:
            assert error.status in (400, 413)
