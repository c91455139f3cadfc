"""Every status that these tests build is held against docs/conditions-monitoring.md."""

from __future__ import annotations

import pytest
from tests.support.documented import explained

from tidemill.monitoring import status

_BUILD = explained("ModelMonitor", status.build)


@pytest.fixture(autouse=True)
def _every_reason_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status, "build", _BUILD)
