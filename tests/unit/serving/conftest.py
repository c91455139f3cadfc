"""Every status that these tests build is held against docs/conditions-serving.md."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.support.documented import explained

from tidemill.serving import status


@pytest.fixture(autouse=True, scope="package")
def _every_reason_is_explained() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(status, "build", explained("ModelDeployment", status.build))
        yield
