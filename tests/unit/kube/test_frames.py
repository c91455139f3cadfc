"""Lists and watches are cut at the right places, however the bytes arrive, and never held as a whole."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidemill.kube import frames
from tidemill.kube.frames import FrameError, ItemSplitter, LineSplitter

TEXTS = st.text(st.sampled_from('a"\\{}[],:\n\x85é😀'), max_size=6) | st.just('"items":[')
VALUES = st.recursive(
    TEXTS | st.integers() | st.booleans() | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)
ITEMS = st.lists(st.dictionaries(TEXTS, VALUES, max_size=3), max_size=4)
STEPS = st.integers(1, 40)


def cut(text: bytes, step: int) -> tuple[list[Any], Any]:
    splitter = ItemSplitter()
    items = [json.loads(i) for n in range(0, len(text), step) for i in splitter.feed(text[n : n + step])]
    return items, splitter.envelope()


@pytest.mark.slow
@settings(max_examples=60)
@given(ITEMS, STEPS, st.booleans(), st.booleans())
def test_every_list_is_cut_into_its_items(items: list[Any], step: int, metadata_first: bool, spaces: bool) -> None:
    """Typed lists have their metadata before the items, those of custom resources behind."""
    meta = {"metadata": {"resourceVersion": "7", "continue": "x"}}
    whole = {"kind": "L", **meta, "items": items} if metadata_first else {"items": items, "kind": "L", **meta}
    text = json.dumps(whole, ensure_ascii=False, separators=None if spaces else (",", ":"))
    assert cut(text.encode(), step) == (items, {**whole, "items": []})


@pytest.mark.parametrize("items", ["null", "[]", " [ ] "])
def test_a_list_of_nothing(items: str) -> None:
    assert cut(f'{{"metadata":{{"resourceVersion":"1"}},"items":{items}}}'.encode(), 5)[0] == []


@pytest.mark.parametrize("text", [b'{"items":[{"a":1}', b'{"items":[{"a":1}]', b"[]", b'{"items":[]}', b""])
def test_a_list_that_breaks_off_is_no_list(text: bytes) -> None:
    """Otherwise what had not arrived would count as deleted."""
    with pytest.raises(ValueError):
        cut(text, 3)


@pytest.mark.slow
@settings(max_examples=30)
@given(st.lists(VALUES, max_size=5), STEPS)
def test_every_watch_is_cut_into_its_lines(values: list[Any], step: int) -> None:
    text = b"".join(json.dumps(v, ensure_ascii=False).encode() + b"\n" for v in values)
    splitter = LineSplitter()
    found = [json.loads(line) for n in range(0, len(text), step) for line in splitter.feed(text[n : n + step])]
    assert found == values


@pytest.mark.parametrize("splitter", [LineSplitter(), ItemSplitter()])
def test_what_never_ends_is_given_up(splitter: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "MAX_FRAME_BYTES", 1000)
    with pytest.raises(FrameError):
        for _ in range(30):
            list(splitter.feed(b'{"items":[{"a":"' + b"x" * 50))


def test_an_item_is_handed_over_before_the_next_has_arrived() -> None:
    splitter = ItemSplitter()
    assert list(splitter.feed(b'{"items":[{"a":1},{"b"')) == [b'{"a":1}']
    assert list(splitter.feed(b":2}")) == [b'{"b":2}']


def test_an_item_is_not_kept_behind_its_end() -> None:
    """What is in memory is one item and a chunk, not the list."""
    splitter = ItemSplitter()
    item = b'{"a":"' + b"x" * 10_000 + b'"}'
    list(splitter.feed(b'{"items":[' + item))
    for _ in range(100):
        list(splitter.feed(b"," + item))
        assert len(splitter._rest) + len(splitter._around) < 2 * len(item)
