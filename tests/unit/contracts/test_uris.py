"""What stands between `://` and the path of a URI, read by the contracts and by the kinds' schemas."""

import re

import pytest

from tidemill.api.v1alpha1.model_version import ModelVersionSpec
from tidemill.api.v1alpha1.training_template import DataSource
from tidemill_contracts.schemes import uri_pattern
from tidemill_contracts.storage import parse_uri

GOOD = (
    "pvc://data/x.csv",
    "pvc://data.v2-1",
    "configmap://name/key",
    "builtin://breast-cancer",
    "s3://my_bucket.v2/a/b",
    "gs://b/x",
    "az://$web/x",
    "http://lake:8080/x?y=../z",
    "https://[::1]:443/x",
    "https://example.org?id=1",
    "https://example.org./a@b",
)
BAD = (
    "pvc://../secret/lake/s.csv",
    "pvc://./data/x.csv",
    "pvc://Data/x",
    "pvc://a..b/x",
    "pvc://a%2e/x",
    "pvc://-a/x",
    "pvc://data\n/x",
    "configmap://../a",
    "builtin://../iris",
    "s3://../x",
    "gs://a b/x",
    "az:///x",
    "http://127.0.0.1%00.example.com/x",
    "http://a:b:c/",
    "http://u:pw@127.0.0.1/",
    "http://[bad/",
    "http://a\\b/",
)
MEANINGLESS = ("http://[::ffff:127.1]/x", "http://h:0/x", "http://h:70000/x", "https://[1:2]/x")


@pytest.mark.parametrize("text", [uri for uri in GOOD if ".." not in uri])
def test_an_authority_that_its_scheme_takes(text: str) -> None:
    assert parse_uri(text).authority
    assert re.search(uri_pattern("data"), text)
    DataSource.model_validate({"name": "x", "uri": text})


@pytest.mark.parametrize("text", [*BAD, *MEANINGLESS])
def test_an_authority_that_is_none(text: str) -> None:
    with pytest.raises(ValueError, match=r"^unsupported .*URI") as caught:
        parse_uri(text)
    assert "pw" not in str(caught.value)


@pytest.mark.parametrize("text", BAD)
def test_a_schema_refuses_it_at_apply(text: str) -> None:
    for model in (DataSource, ModelVersionSpec):
        pattern = next(m.pattern for m in model.model_fields["uri"].metadata if hasattr(m, "pattern") and m.pattern)
        assert re.search(pattern, text) is None
