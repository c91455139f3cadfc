"""What happens when the connection to the API server is broken in the ways that look like nothing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.integration.test_engine_loop import child, make, until
from tests.support import toy
from tests.support.invariants import kstatus
from tests.support.operators import InProcess, Installation, wait
from tests.support.wire import Wire, proxy

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


@pytest.mark.parametrize("how", ["in the stream", "as the answer"])
@pytest.mark.parametrize("code", [410, 500])
def test_a_watch_that_fails_is_opened_again(
    installation: Installation, wire: Wire, namespace: str, how: str, code: int
) -> None:
    """410 starts over with a list, which shows what was deleted meanwhile; anything else goes on where it was."""
    operator = InProcess(installation, toy.load, wire.access, leader_election=False, resync_seconds=3600).start()
    try:
        assert kstatus(make(installation, namespace)) == "Current"
        said = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": "Expired"}
        wire.watch_error, wire.refused = (said, None) if how == "in the stream" else (None, said)
        wire.cut += 1
        wait(lambda: wire.failed_watches >= 2, 15, "both watches were told")
        installation.kubectl("delete", "configmap", "m-toy", "-n", namespace)
        wire.watch_error = wire.refused = None
        wait(lambda: child(installation, namespace), 20, "the child is back")
        make(installation, namespace, "other")
        until(installation, namespace, lambda o: kstatus(o) == "Current", "other", 40)
        assert operator.ended is None
    finally:
        operator.stop()


def test_a_list_that_takes_long_makes_no_idle_leader(installation: Installation, wire: Wire, namespace: str) -> None:
    """Not ready before every kind was listed, and working right after."""
    wire.slow_lists = True
    operator = InProcess(installation, toy.load, wire.access, leader_election=False, resync_seconds=3600)
    operator.launch()
    try:
        wait(lambda: operator.operator.health.port and wire.lists_held >= 2, 15, "both lists are on their way")
        code, text = operator.health("/readyz")
        assert (code, "/api/v1/configmaps was not listed yet" in text) == (503, True)
        wire.slow_lists = False
        make(installation, namespace)
        until(installation, namespace, lambda o: kstatus(o) == "Current")
        assert operator.health("/readyz")[0] == 200
    finally:
        operator.stop()
