"""The token of servers: when its Secret is made, and which pods mount it."""

from typing import Any

import pytest
from tests.support import podtemplates
from tests.unit.serving import make as servers

from tidemill.core import ingest
from tidemill.serving import plan
from tidemill.serving.builders import server

Obj = dict[str, Any]


def live(*, mounts: bool = True, updated: int = 2, seen: int = 1, component: str = "server") -> Obj:
    """A Deployment of two pods as the cluster has it."""
    return {
        "metadata": {"name": component, "generation": 1, "labels": {"app.kubernetes.io/component": component}},
        "spec": {"template": {"spec": {"volumes": [ingest.volume("churn")] if mounts else [{"name": "tmp"}]}}},
        "status": {"observedGeneration": seen, "replicas": 2, "updatedReplicas": updated},
    }


@pytest.mark.parametrize(
    ("deployments", "is_made"),
    [
        ([], True),
        ([live()], True),
        ([live(), live(mounts=False, component="router")], True),
        ([live(mounts=False)], False),
        ([live(updated=1)], False),
        ([live(seen=0)], False),
    ],
    ids=["a new one", "all know it", "routers need none", "an old one", "an old pod is left", "not seen yet"],
)
def test_the_secret_is_made_when_all_servers_know_it(deployments: list[Obj], is_made: bool) -> None:
    named = {str(number): deployment for number, deployment in enumerate(deployments)}
    made = server.ingest_secret(servers.snapshot(deployments=named))
    assert [m["kind"] for m in made] == (["Secret"] if is_made else [])


def test_the_secret_belongs_to_the_deployment_and_comes_before_the_pods() -> None:
    snapshot = servers.snapshot({}, {"stable": servers.stable(1)}, **servers.TWO)
    applied = plan.plan(snapshot).apply
    secret = applied[0]
    assert (secret["kind"], secret["metadata"]["name"], secret["type"]) == ("Secret", "churn-ingest", "Opaque")
    (owner,) = secret["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["uid"]) == ("ModelDeployment", servers.UID)
    assert set(secret["stringData"]) == {"token"}
    assert "Deployment" in [m["kind"] for m in applied]


@pytest.mark.parametrize("name", ["server, default", "monitor, default"])
def test_servers_and_monitors_mount_it_read_only_and_start_without_it(name: str) -> None:
    spec = podtemplates.templates()[name]["spec"]
    (volume,) = [v for v in spec["volumes"] if v["name"] == "ingest"]
    assert volume["secret"] == {
        "secretName": "churn-ingest",
        "items": [{"key": "token", "path": "token"}],
        "optional": True,
    }
    (mount,) = [m for m in spec["containers"][0]["volumeMounts"] if m["name"] == "ingest"]
    assert mount == {"name": "ingest", "mountPath": "/mnt/ingest", "readOnly": True}
