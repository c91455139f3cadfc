"""Children of a version and of the router: what Pod Security, schedulers, probes and servers need of them."""

import json
from typing import Any

import pytest
from tests.unit.serving.make import snapshot, version

from tidemill.serving.builders import envoy, router, server
from tidemill_contracts.inference import SERVER_CONFIG_ENV, ServerConfig

SNAPSHOT = snapshot({"logging": {"sampleRatio": 0.5}, "server": {"resources": {"requests": {"cpu": "2"}}}})
POD = server.pod_spec(SNAPSHOT, version(1))
ROUTER = router.pod_spec(SNAPSHOT)


@pytest.mark.parametrize("spec", [POD, ROUTER], ids=["server", "router"])
def test_pods_pass_pod_security_restricted(spec: dict[str, Any]) -> None:
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert spec["automountServiceAccountToken"] is False
    for container in spec["containers"]:
        rights = container["securityContext"]
        assert rights["allowPrivilegeEscalation"] is False and rights["readOnlyRootFilesystem"] is True
        assert rights["capabilities"] == {"drop": ["ALL"]}
    assert not any("hostPath" in volume for volume in spec["volumes"])


@pytest.mark.parametrize("spec", [POD, ROUTER], ids=["server", "router"])
def test_pods_have_probes_memory_limits_and_a_place_to_write(spec: dict[str, Any]) -> None:
    (container,) = spec["containers"]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[probe]["periodSeconds"] >= 1
    assert {"name": "tmp", "mountPath": "/tmp"} in container["volumeMounts"]
    assert spec["topologySpreadConstraints"][0]["whenUnsatisfiable"] == "ScheduleAnyway"


def config_of(spec: dict[str, Any]) -> ServerConfig:
    (text,) = [e["value"] for e in spec["containers"][0]["env"] if e["name"] == SERVER_CONFIG_ENV]
    return ServerConfig.model_validate_json(text)


def test_servers_are_told_which_content_to_load() -> None:
    told = config_of(POD)
    assert (told.version, told.number, told.digest) == ("churn-1", "1", version(1).digest)
    assert (
        told.log is not None and told.log.url == "http://churn-monitor.team.svc:8080" and told.log.sample_ratio == 0.5
    )
    assert not told.allow_pickle and told.secret is None
    assert POD["containers"][0]["resources"] == {"requests": {"cpu": "2"}}


def test_a_pickle_is_loaded_only_when_the_version_was_allowed_to_be_one() -> None:
    assert config_of(server.pod_spec(SNAPSHOT, version(1, formats=("joblib",)))).allow_pickle


def test_a_claim_is_mounted_read_only() -> None:
    (volume,) = [v for v in POD["volumes"] if v["name"] == "artifacts"]
    assert volume["persistentVolumeClaim"] == {"claimName": "models", "readOnly": True}
    mounts = POD["containers"][0]["volumeMounts"]
    assert {"name": "artifacts", "mountPath": "/mnt/pvc/models", "readOnly": True} in mounts


def test_an_object_store_needs_its_secret_and_no_claim() -> None:
    spec = server.pod_spec(SNAPSHOT, version(1, uri="s3://lake/churn/1", secret="lake"))
    assert [v["name"] for v in spec["volumes"]] == ["tmp", "credentials"]
    assert config_of(spec).secret == "lake"
    mounts = spec["containers"][0]["volumeMounts"]
    assert {"name": "credentials", "mountPath": "/mnt/secret/lake", "readOnly": True} in mounts


@pytest.mark.parametrize(
    ("asked", "cpu"),
    [({"requests": {"memory": "1Gi"}}, "100m"), ({"limits": {"cpu": "2"}}, None), ({"requests": {"cpu": "3"}}, "3")],
)
def test_autoscaling_by_cpu_needs_a_cpu_request(asked: dict[str, Any], cpu: str | None) -> None:
    spec = {"server": {"resources": asked}}
    scaled = snapshot({**spec, "autoscaling": {"maxReplicas": 3}})
    assert server.resources(scaled).get("requests", {}).get("cpu") == cpu
    assert server.resources(snapshot(spec)) == asked


def test_a_pod_outlives_its_drain() -> None:
    assert POD["terminationGracePeriodSeconds"] > server.DRAIN_SECONDS + 30
    assert ROUTER["terminationGracePeriodSeconds"] > envoy.DRAIN_SECONDS


def test_another_digest_is_another_pod_template_and_another_name() -> None:
    one = server.deployment(SNAPSHOT, version(1))
    two = server.deployment(SNAPSHOT, version(1, digest="sha256:" + "ab" * 32))
    assert one["metadata"]["name"] != two["metadata"]["name"]
    assert one["spec"]["template"] != two["spec"]["template"]
    assert one["spec"]["selector"] != two["spec"]["selector"]


def test_selector_is_part_of_the_pod_labels_and_says_nothing_of_the_part_played() -> None:
    made = server.deployment(SNAPSHOT, version(1))
    labels = made["spec"]["template"]["metadata"]["labels"]
    assert made["spec"]["selector"]["matchLabels"].items() <= labels.items()
    assert "tidemill.io/track" not in labels
    assert server.service(SNAPSHOT, version(1))["spec"]["selector"] == made["spec"]["selector"]["matchLabels"]


def test_a_rolling_update_never_has_fewer_pods() -> None:
    for made in (server.deployment(SNAPSHOT, version(1)), router.deployment(SNAPSHOT, router.config(SNAPSHOT, []))):
        assert made["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}


def test_the_headless_service_shows_ready_pods_only() -> None:
    spec = server.service(SNAPSHOT, version(1))["spec"]
    assert spec["clusterIP"] == "None" and spec["publishNotReadyAddresses"] is False


def test_weights_change_no_pod_of_the_router() -> None:
    one = router.config(SNAPSHOT, [envoy.Upstream("a", "a", "churn-1", 100)])
    two = router.config(SNAPSHOT, [envoy.Upstream("a", "a", "churn-1", 90), envoy.Upstream("b", "b", "churn-2", 10)])
    assert router.deployment(SNAPSHOT, one) == router.deployment(SNAPSHOT, two)
    assert one.digest != two.digest and one.routes_version != two.routes_version


def test_the_router_is_drained_with_a_token_of_its_own() -> None:
    hook = ROUTER["containers"][0]["lifecycle"]["preStop"]["httpGet"]
    token = hook["httpHeaders"][0]["value"]
    assert hook["path"] == "/drain" and len(token) == 24
    bootstrap = router.config(SNAPSHOT, []).bootstrap
    assert token in bootstrap


def test_service_listens_on_80() -> None:
    (port,) = router.service(SNAPSHOT)["spec"]["ports"]
    assert (port["port"], port["targetPort"]) == (80, "http")


def test_routes_without_a_version_answer_503_as_json() -> None:
    (route,) = envoy.routes([])["resources"][0]["virtual_hosts"][0]["routes"]
    assert route["direct_response"]["status"] == 503
    assert json.loads(route["direct_response"]["body"]["inline_string"])["error"]


def test_the_version_of_a_file_is_its_content() -> None:
    one, two = envoy.Upstream("a", "a", "churn-1", 100), envoy.Upstream("a", "a", "churn-1", 99)
    assert envoy.version_of(envoy.routes([one])) == envoy.version_of(envoy.routes([one]))
    assert envoy.version_of(envoy.routes([one])) != envoy.version_of(envoy.routes([two]))
    assert envoy.version_of(envoy.clusters([one])) == envoy.version_of(envoy.clusters([two]))
