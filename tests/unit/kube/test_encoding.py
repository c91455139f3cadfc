"""Bodies of requests mean the same to a JSON and to a YAML reader: the API server uses both."""

import json

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tidemill.kube.encoding import encode

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=20), inner, max_size=3),
    max_leaves=6,
)


@pytest.mark.slow
@given(st.dictionaries(st.text(max_size=20), VALUES, max_size=4))
def test_json_and_yaml_readers_agree(body: dict[str, object]) -> None:
    raw = encode(body)

    assert json.loads(raw) == body
    assert yaml.safe_load(raw) == body


@pytest.mark.parametrize(
    "text", ["größe", "青", "a 😀 b", "line\u2028end", "\x1b[31mred\x1b[0m", "\x85", "\ufeffbom", "\\ud83d"]
)
def test_texts_that_logs_and_columns_hold(text: str) -> None:
    assert yaml.safe_load(encode({"log": text})) == {"log": text}


def test_a_lone_surrogate_becomes_the_replacement_character() -> None:
    assert json.loads(encode({"log": "a\ud800b"})) == {"log": "a\ufffdb"}


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_numbers_that_json_lacks_are_refused(number: float) -> None:
    with pytest.raises(ValueError, match="Out of range"):
        encode({"metric": number})
