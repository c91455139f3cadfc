"""Kinds under deletion: the API server is asked again where it forgot to try again itself.

That it forgets is a race in Kubernetes 1.34, too rare for a test on a real API server: here it is played.
"""

from __future__ import annotations

from typing import Any

import pytest
from hack import install
from hack.tools.kubectl import KubectlError

Obj = dict[str, Any]
NAME = "modelmonitors.tidemill.io"


class Forgetful:
    """Kubectl on a cluster whose API server cleans a kind up only when the object changes."""

    def __init__(self, reason: str, *, forgives: bool) -> None:
        self.asked: list[tuple[str, ...]] = []
        self._forgives = forgives
        terminating = {"type": "Terminating", "reason": reason, "message": "storage is (re)initializing"}
        self._kinds = [
            {"metadata": {"name": name}, "status": {"conditions": [terminating]}}
            for name in (NAME, "widgets.example.com")
        ]

    def list(self, kind: str) -> list[Obj]:
        assert kind == "customresourcedefinition"
        return self._kinds

    def run(self, *arguments: str) -> str:
        self.asked.append(arguments)
        self._kinds = self._kinds[1:]
        if not self._forgives:
            raise KubectlError("NotFound")
        return ""


@pytest.mark.parametrize("forgives", [True, False], ids=["annotated", "gone by then"])
def test_a_kind_whose_removal_failed_is_requested_again(monkeypatch: pytest.MonkeyPatch, forgives: bool) -> None:
    cluster = Forgetful("InstanceDeletionFailed", forgives=forgives)
    monkeypatch.setattr(install, "Kubectl", lambda: cluster)
    install.wait_for_kinds([NAME])
    ((verb, kind, name, note, overwrite),) = cluster.asked
    assert (verb, kind, name, overwrite) == ("annotate", "crd", NAME, "--overwrite")
    assert note.startswith("tidemill.io/removal-asked-again=")


def test_one_that_takes_long_is_left_alone_and_named_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Forgetful("InstanceDeletionInProgress", forgives=True)
    monkeypatch.setattr(install, "Kubectl", lambda: cluster)
    with pytest.raises(TimeoutError, match=r"modelmonitors\.tidemill\.io: storage is \(re\)initializing"):
        install.wait_for_kinds([NAME], seconds=0.1)
    assert cluster.asked == []
