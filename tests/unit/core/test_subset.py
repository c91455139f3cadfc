from typing import Any

import pytest

from tidemill.core.subset import includes

LIVE = {
    "replicas": 2,
    "template": {
        "containers": [
            {"name": "server", "image": "a", "resources": {"limits": {"cpu": "1", "memory": "1Gi"}}, "stdin": False},
            {"name": "injected", "image": "b"},
        ],
        "args": ["--x", "1"],
        "tolerations": [],
    },
    "data": {"a": "1"},
}


@pytest.mark.parametrize(
    "wanted",
    [
        {"replicas": 2},
        {"template": {"containers": [{"name": "server", "image": "a"}]}},
        {
            "template": {
                "containers": [{"name": "server", "resources": {"limits": {"cpu": "1000m", "memory": "1024Mi"}}}]
            }
        },
        {"template": {"args": ["--x", "1"]}},
        {"absent": None, "alsoAbsent": {}, "andThis": []},
    ],
)
def test_what_is_there_is_covered(wanted: dict[str, Any]) -> None:
    assert includes(LIVE, wanted)


@pytest.mark.parametrize(
    "wanted",
    [
        {"replicas": 3},
        {"template": {"containers": [{"name": "server", "image": "b"}]}},
        {"template": {"containers": [{"name": "missing"}]}},
        {"template": {"containers": [{"name": "server", "resources": {"limits": {"cpu": "2"}}}]}},
        {"template": {"args": ["--x"]}},
        {"template": {"args": ["1", "--x"]}},
        {"data": {"a": "1", "b": "2"}},
        {"data": {"a": "2"}},
        {"template": {"containers": [{"name": "server", "stdin": 0.5}]}},
        {"new": "value"},
        {"data": {"a": "0_1"}},  # Python reads a number there, Kubernetes none
    ],
)
def test_what_differs_is_not(wanted: dict[str, Any]) -> None:
    assert not includes(LIVE, wanted)
