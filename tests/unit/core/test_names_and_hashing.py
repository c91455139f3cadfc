import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidemill.core import hashing, names
from tidemill_contracts import digests

OWNER = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", fullmatch=True)
LABEL = re.compile(r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$")


@pytest.mark.slow
@given(OWNER, st.lists(st.from_regex(r"[a-z0-9]{1,12}", fullmatch=True), max_size=2), st.sampled_from([52, 63]))
def test_child_names_are_labels_within_their_limit(owner: str, suffix: list[str], limit: int) -> None:
    name = names.child_name(owner, *suffix, limit=limit)
    assert len(name) <= limit
    assert LABEL.match(name)
    assert name == names.child_name(owner, *suffix, limit=limit)


def test_short_names_stay_as_they_are() -> None:
    assert names.child_name("churn", "router") == "churn-router"


def test_long_owners_that_share_their_beginning_get_different_children() -> None:
    one, two = "n" * 62 + "a", "n" * 62 + "b"
    first, second = names.child_name(one, "router"), names.child_name(two, "router")
    assert first != second
    assert first.endswith("-router")
    assert len(first) == len(second) == 63


def test_suffix_without_room_is_refused() -> None:
    with pytest.raises(ValueError, match="leaves no room"):
        names.child_name("owner", "s" * 60)


@pytest.mark.slow
@given(st.text(max_size=90))
def test_label_values_are_valid(value: str) -> None:
    assert re.fullmatch(r"([A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?", names.label_value(value))


def test_digest_ignores_order_and_sees_values() -> None:
    assert hashing.digest({"a": 1, "b": [True, None]}) == hashing.digest({"b": [True, None], "a": 1})
    assert hashing.digest({"a": 1}) != hashing.digest({"a": "1"})
    assert hashing.digest(b"") == "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert digests.canonical_json({"ö": "ü"}) == '{"ö":"ü"}'.encode()
    assert len(hashing.short("x", 12)) == 12


def test_nan_has_no_digest() -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        hashing.digest(math.nan)
