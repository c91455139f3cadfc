"""What happens when the connection to the API server is broken in the ways that look like nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from tests.integration.test_engine_loop import make
from tests.support import toy
from tests.support.invariants import kstatus
from tests.support.operators import InProcess, Installation, wait
from tests.support.wire import Wire, proxy

from tidemill.errors import TidemillError
from tidemill.kube import access

pytestmark = pytest.mark.integration


@pytest.fixture
def wire(installation: Installation) -> Iterator[Wire]:
    """A breakable way to the API server, as the operator's ServiceAccount."""
    with proxy(access.load(installation.operator_kubeconfig)) as found:
        yield found


def test_silently_dead_watch_fails_liveness_and_only_then(
    installation: Installation, wire: Wire, namespace: str
) -> None:
    settings = {"leader_election": False, "resync_seconds": 3600, "watch_stale_seconds": 4.0}
    operator = InProcess(installation, toy.load, wire.access, **settings).start()
    try:
        assert kstatus(make(installation, namespace)) == "Current"
        assert operator.health()[0] == 200
        wire.silent = True
        dead = "watch on /apis/tidemill.io/v1alpha1/modelmonitors silent for"
        # The watch of the children, last heard a moment earlier, may be named alone at first.
        code, _ = wait(lambda: dead in (r := operator.health())[1] and r, 15, "liveness names the watch")
        assert code == 500
        wire.silent = False
        make(installation, namespace, "other")
        wait(lambda: "modelmonitors" not in operator.health()[1], 15, "the watch that delivers is well again")
    finally:
        operator.stop()


def test_watch_error_ends_the_process(installation: Installation, wire: Wire) -> None:
    """kopf gives such a watch up for good: without this end the operator would be deaf for ever."""
    operator = InProcess(installation, toy.load, wire.access, leader_election=False).start()
    wire.watch_error = {
        "kind": "Status",
        "apiVersion": "v1",
        "status": "Failure",
        "code": 500,
        "reason": "InternalError",
    }
    wait(lambda: operator.ended is not None, 40, "the operator has ended")
    operator.stop()
    assert "Error in the watch-stream" in str(operator.ended) or isinstance(operator.ended, TidemillError)


def test_expired_watch_is_listed_again(installation: Installation, wire: Wire, namespace: str) -> None:
    """410 Gone is no error: the framework lists again and goes on."""
    operator = InProcess(installation, toy.load, wire.access, leader_election=False, resync_seconds=3600).start()
    try:
        wire.watch_error = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 410, "reason": "Expired"}
        time.sleep(1.5)  # every watch gets it
        wire.watch_error = None
        assert kstatus(make(installation, namespace)) == "Current"
        assert operator.ended is None
    finally:
        operator.stop()
