"""Keys of clients: what of their Secrets reaches a server, and what a change of them replaces."""

from typing import Any

import pytest
from tests.support import podtemplates
from tests.unit.serving.make import snapshot, version

from tidemill.core.random_values import RANDOM
from tidemill.serving.builders import server
from tidemill_contracts.inference import SERVER_CONFIG_ENV, ServerConfig

CLIENTS = {"apiKeys": {"secretRef": {"name": "clients"}}}
LABELS = {"feedback": {"secretRef": {"name": "labels"}}}


def pod(access: dict[str, Any] | None) -> dict[str, Any]:
    found: dict[str, Any] = server.pod_spec(snapshot({"access": access} if access else {}), version(1))
    return found


def demanded(access: dict[str, Any] | None) -> tuple[bool, bool] | None:
    (container,) = pod(access)["containers"]
    (text,) = [e["value"] for e in container["env"] if e["name"] == SERVER_CONFIG_ENV]
    found = ServerConfig.from_json(text).access
    return (found.api_keys, found.feedback) if found else None


@pytest.mark.parametrize(
    ("access", "found", "mounted"),
    [
        (None, None, {}),
        (CLIENTS, (True, False), {"api-keys": "clients"}),
        (LABELS, (False, True), {"feedback-keys": "labels"}),
        ({**CLIENTS, **LABELS}, (True, True), {"api-keys": "clients", "feedback-keys": "labels"}),
    ],
)
def test_a_server_gets_the_one_entry_of_each_secret(
    access: dict[str, Any] | None, found: tuple[bool, bool] | None, mounted: dict[str, str]
) -> None:
    assert demanded(access) == found
    spec = pod(access)
    volumes = {v["name"]: v["secret"] for v in spec["volumes"] if v["name"] in ("api-keys", "feedback-keys")}
    assert volumes == {
        name: {"secretName": secret, "items": [{"key": "keys", "path": "keys"}], "optional": True}
        for name, secret in mounted.items()
    }
    mounts = {m["name"]: m for m in spec["containers"][0]["volumeMounts"] if m["name"] in volumes}
    assert mounts == {name: {"name": name, "mountPath": f"/mnt/access/{name}", "readOnly": True} for name in mounted}


def test_keys_are_the_users_change_of_the_pods_and_no_other_version() -> None:
    without, with_keys = snapshot(), snapshot({"access": CLIENTS})
    assert server.unit(without, version(1)).inputs != server.unit(with_keys, version(1)).inputs
    assert without.spec_digest == with_keys.spec_digest


@pytest.mark.parametrize("access", [CLIENTS, LABELS])
def test_names_of_clients_are_hashed_by_a_random_key_of_the_deployment(access: dict[str, Any]) -> None:
    (made,) = server.clients_secret(snapshot({"access": access}))
    assert (made["kind"], made["metadata"]["name"], made["type"]) == ("Secret", "churn-client-hashes", "Opaque")
    assert made["metadata"]["ownerReferences"][0]["kind"] == "ModelDeployment"
    assert made["stringData"] == {"key": RANDOM}
    (volume,) = [v for v in pod(access)["volumes"] if v["name"] == "clients"]
    assert volume["secret"] == {
        "secretName": "churn-client-hashes",
        "items": [{"key": "key", "path": "key"}],
        "optional": True,
    }
    (mount,) = [m for m in pod(access)["containers"][0]["volumeMounts"] if m["name"] == "clients"]
    assert mount == {"name": "clients", "mountPath": "/mnt/access/clients", "readOnly": True}


def test_without_clients_there_is_no_key_and_the_monitor_never_has_it() -> None:
    assert server.clients_secret(snapshot()) == []
    assert not [v for v in pod(None)["volumes"] if v["name"] == "clients"]
    assert "clients" not in {v["name"] for v in podtemplates.templates()["monitor, default"]["spec"]["volumes"]}
