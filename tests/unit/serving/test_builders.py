"""Children of a version and of the router: what Pod Security, schedulers, probes and servers need of them."""

import json
from dataclasses import replace
from typing import Any

import pytest
from tests.unit.serving.make import snapshot, version

from tidemill.core import pod
from tidemill.serving.builders import envoy, router, server
from tidemill.serving.snapshot import Settings, Snapshot
from tidemill_contracts.delivery import MAX_VARIABLE_BYTES
from tidemill_contracts.inference import SERVER_CONFIG_ENV, ServerConfig
from tidemill_contracts.schemes import secret_keys
from tidemill_contracts.storage import URI_LIMIT

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


def test_the_longest_configuration_of_a_server_fits_into_the_environment() -> None:
    """Servers get no file: what they are given is bounded by the schemas of ModelVersion and ModelDeployment."""
    widest = version(
        2**31,
        name="v" * 253,
        uri="s3://" + "\N{GRINNING FACE}" * (URI_LIMIT - 5),
        secret="s" * 253,
        formats=("joblib",),
    )
    settings = {
        "allowPickle": True,
        "grpc": False,
        "runtime": "Native",
        "workers": 64,
        "batching": {"enabled": True, "maxRows": 100_000, "maxDelayMilliseconds": 999.999},
        "maxBodyBytes": 1024**3,
        "accessLogRatio": 0.123456789,
    }
    found = snapshot({"server": settings}, name="d" * 63)
    text = server.server_config(found, widest).to_json()
    assert len(f"{SERVER_CONFIG_ENV}={text}".encode()) < MAX_VARIABLE_BYTES / 4


def test_servers_are_given_which_content_to_load() -> None:
    given = config_of(POD)
    assert (given.version, given.number, given.digest) == ("churn-1", "1", version(1).digest)
    assert (
        given.log is not None
        and given.log.url == "http://churn-monitor.team.svc:8080"
        and given.log.sample_ratio == 0.5
    )
    assert not given.allow_pickle and given.secret is None
    assert POD["containers"][0]["resources"] == {"requests": {"cpu": "2"}}


@pytest.mark.parametrize(
    ("allowed", "formats", "want"),
    [
        (True, ("joblib",), True),
        (False, ("joblib",), False),
        (False, ("joblib", "onnx"), False),
        (True, ("skops",), False),
    ],
)
def test_a_pickle_is_loaded_only_where_the_deployments_author_says_so(
    allowed: bool, formats: tuple[str, ...], want: bool
) -> None:
    """A version without one is given the same either way: a change of the field restarts none of its pods."""
    found = snapshot({"server": {"allowPickle": allowed}})
    assert config_of(server.pod_spec(found, version(1, formats=formats))).allow_pickle is want


def test_a_claim_is_mounted_read_only() -> None:
    (volume,) = [v for v in POD["volumes"] if v["name"] == "artifacts"]
    assert volume["persistentVolumeClaim"] == {"claimName": "models", "readOnly": True}
    mounts = POD["containers"][0]["volumeMounts"]
    assert {"name": "artifacts", "mountPath": "/mnt/pvc/models", "readOnly": True} in mounts


def test_a_claim_needs_no_secret_whatever_a_record_names() -> None:
    spec = server.pod_spec(SNAPSHOT, version(1, secret="any"))
    assert not any("secret" in volume for volume in spec["volumes"])


def test_an_object_store_needs_its_secret_and_no_claim() -> None:
    spec = server.pod_spec(SNAPSHOT, version(1, uri="s3://lake/churn/1", secret="lake"))
    assert [v["name"] for v in spec["volumes"]] == ["tmp", "credentials"]
    assert config_of(spec).secret == "lake"
    (secret,) = [v["secret"] for v in spec["volumes"] if "secret" in v]
    assert {item["key"] for item in secret.pop("items")} == set(secret_keys("s3"))
    assert secret == {"secretName": "lake", "optional": True}
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


def test_autoscaling_by_cpu_counts_every_worker() -> None:
    spec = {"server": {"workers": 4, "resources": {"limits": {"memory": "4Gi"}}}, "autoscaling": {"maxReplicas": 3}}
    assert server.resources(snapshot(spec))["requests"] == {"cpu": "400m"}


@pytest.mark.parametrize("seconds", [1, 30, 31, 600])
def test_pods_outlive_their_drain_and_the_longest_request(seconds: int) -> None:
    found = snapshot({"server": {"requestTimeoutSeconds": seconds}})
    pod, proxy = server.pod_spec(found, version(1)), router.pod_spec(found)

    assert config_of(pod).request_timeout_seconds == seconds
    assert pod["terminationGracePeriodSeconds"] > config_of(pod).drain_seconds + seconds + 5
    delay = drain_delay(proxy)
    assert (
        proxy["terminationGracePeriodSeconds"] > delay >= envoy.CONNECTION_SECONDS + (15 if seconds <= 30 else seconds)
    )


def drain_delay(proxy: dict[str, Any]) -> int:
    """Seconds that the kubelet waits before it ends the router."""
    (container,) = proxy["containers"]
    return int(container["lifecycle"]["preStop"]["sleep"]["seconds"])


def test_by_default_pods_get_the_usual_time_to_end() -> None:
    assert drain_delay(ROUTER) == 20
    assert POD["terminationGracePeriodSeconds"] == 50 and ROUTER["terminationGracePeriodSeconds"] == 35


@pytest.mark.parametrize(
    ("asked", "timeout", "idle"), [({}, "35s", "300s"), ({"requestTimeoutSeconds": 600}, "605s", "605s")]
)
def test_the_router_waits_longer_than_the_server(asked: dict[str, Any], timeout: str, idle: str) -> None:
    one = [envoy.Upstream("a", "a", "churn-1", 100)]
    files = router.config(snapshot({"server": asked}), one).files
    *_, route = json.loads(files["routes.json"])["resources"][0]["virtual_hosts"][0]["routes"]

    assert (route["route"]["timeout"], route["route"]["idle_timeout"]) == (timeout, idle)


def test_limits_reach_server_and_router() -> None:
    asked = {
        "workers": 4,
        "maxInFlight": 64,
        "maxBodyBytes": 2048,
        "accessLogRatio": 0.25,
        "batching": {"maxRows": 16},
    }
    found = snapshot({"server": asked})
    given = config_of(server.pod_spec(found, version(1)))
    _, refusal, _ = json.loads(router.config(found, []).routes)["resources"][0]["virtual_hosts"][0]["routes"]

    assert (given.workers, given.max_in_flight, given.max_body_bytes, given.access_log_ratio) == (4, 64, 2048, 0.25)
    assert given.batching is not None and (given.batching.enabled, given.batching.max_rows) == (True, 16)
    assert refusal["match"]["headers"][0]["range_match"]["start"] == "2049"
    assert refusal["direct_response"]["status"] == 413


def test_what_is_not_requested_is_the_servers_own_choice() -> None:
    given, default = config_of(POD), ServerConfig.model_fields
    assert given.batching is None
    for name in ("workers", "max_in_flight", "max_body_bytes", "request_timeout_seconds", "access_log_ratio"):
        assert getattr(given, name) == default[name].default, name


@pytest.mark.parametrize(
    ("checks", "expected"),
    [
        ([{"metric": "LatencyP99Milliseconds", "max": 35}], 0.035),
        ([{"metric": "LatencyP99Milliseconds", "max": 50}], None),  # every server has a bucket that ends there
        ([{"metric": "LatencyP99Milliseconds", "maxRatioToStable": 1.3}, {"metric": "ErrorRatio", "max": 0.01}], None),
        ([{"metric": "LatencyP99Milliseconds", "max": 0}], None),
    ],
)
def test_the_declared_latency_becomes_the_edge_of_a_bucket(
    checks: list[dict[str, Any]], expected: float | None
) -> None:
    asked = snapshot({"rollout": {"strategy": "Canary", "analysis": {"checks": checks}}})
    assert config_of(server.pod_spec(asked, version(1))).slo_seconds == expected


def test_batching_can_be_turned_off() -> None:
    given = config_of(server.pod_spec(snapshot({"server": {"batching": {"enabled": False}}}), version(1)))
    assert given.batching is not None and not given.batching.enabled


def test_tracing_sets_the_standard_variables_and_nothing_else() -> None:
    found = snapshot({"server": {"tracing": {"endpoint": "http://otel:4318", "sampleRatio": 0.1}}})
    variables = {e["name"]: e["value"] for e in server.pod_spec(found, version(1))["containers"][0]["env"]}

    assert {name: value for name, value in variables.items() if name.startswith("OTEL_")} == {
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://otel:4318",
        "OTEL_RESOURCE_ATTRIBUTES": "k8s.namespace.name=team,service.namespace=team,service.version=churn-1",
        "OTEL_SERVICE_NAME": "churn",
        "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
        "OTEL_TRACES_SAMPLER_ARG": "0.1",
    }
    assert not [e for e in POD["containers"][0]["env"] if e["name"].startswith("OTEL_")]


def test_default_resources_grow_with_the_workers() -> None:
    assert server.resources(snapshot()) == pod.DEFAULT_RESOURCES
    assert server.resources(snapshot({"server": {"workers": 3}})) == {
        "requests": {"cpu": "300m", "memory": "512Mi"},
        "limits": {"memory": "1536Mi"},
    }


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
    managed = {"app.kubernetes.io/managed-by": "tidemill"}
    wanted = {**made["spec"]["selector"]["matchLabels"], **managed}
    assert server.service(SNAPSHOT, version(1))["spec"]["selector"] == wanted and wanted.items() <= labels.items()


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


def test_who_reads_the_routers_pod_and_config_map_learns_nothing_that_ends_it() -> None:
    """The kubelet waits; there is no request that drains, so none to be guarded and none to be repeated."""
    (container,) = ROUTER["containers"]
    assert set(container["lifecycle"]["preStop"]) == {"sleep"}
    bootstrap = json.loads(router.config(SNAPSHOT, []).bootstrap)
    assert router.config(renamed(uid="another"), []).bootstrap == router.config(SNAPSHOT, []).bootstrap
    (stats,) = [at for at in bootstrap["static_resources"]["listeners"] if at["name"] == "stats"]
    manager = stats["filter_chains"][0]["filters"][0]["typed_config"]
    (host,) = manager["route_config"]["virtual_hosts"]
    assert [r["match"] for r in host["routes"]] == [{"path": "/stats/prometheus"}, {"path": "/ready"}]
    assert [f["name"] for f in manager["http_filters"]] == ["router"], "nothing that could post to the admin socket"
    assert "pipe" in bootstrap["admin"]["address"]


def renamed(**metadata: str) -> Snapshot:
    body = {**SNAPSHOT.object, "metadata": {**SNAPSHOT.object["metadata"], **metadata}}
    return replace(SNAPSHOT, object=body)


def test_service_listens_on_80_and_tells_gateways_which_port_takes_http2() -> None:
    ports = router.service(SNAPSHOT)["spec"]["ports"]
    found = [(p["name"], p["port"], p["targetPort"], p["appProtocol"]) for p in ports]
    assert found == [("http", 80, "http", "http"), ("grpc", 8001, "http", "kubernetes.io/h2c")]


def test_the_headless_service_names_the_port_of_grpc() -> None:
    ports = {p["name"]: p for p in server.service(SNAPSHOT, version(1))["spec"]["ports"]}
    assert ports["grpc"]["appProtocol"] == "kubernetes.io/h2c"
    container = {p["name"]: p["containerPort"] for p in POD["containers"][0]["ports"]}
    assert {name: p["port"] for name, p in ports.items()} == container
    assert all(p["targetPort"] == name for name, p in ports.items())


def test_grpc_goes_by_the_same_weights_to_clusters_of_its_own() -> None:
    upstreams = [envoy.Upstream("a", "a.x.svc", "churn-1", 90), envoy.Upstream("b", "b.x.svc", "churn-2", 10)]
    endless, calls, _, http = envoy.routes(upstreams)["resources"][0]["virtual_hosts"][0]["routes"]
    split = lambda route: [(c["name"], c["weight"]) for c in route["route"]["weighted_clusters"]["clusters"]]  # noqa: E731
    assert split(calls) == split(endless) == [("a_grpc", 90), ("b_grpc", 10)]
    assert split(http) == [("a", 90), ("b", 10)]
    assert calls["match"] == {"prefix": "/", "grpc": {}} and "grpc" not in http["match"]
    assert (calls["route"]["timeout"], endless["route"]["timeout"]) == ("35s", "0s")
    ports = {
        c["name"]: c["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]["address"]["socket_address"]
        for c in envoy.clusters(upstreams)["resources"]
    }
    assert {name: address["port_value"] for name, address in ports.items()} == {
        "a": 8080,
        "b": 8080,
        "a_grpc": 8001,
        "b_grpc": 8001,
    }


def test_grpc_that_is_not_spoken_of_is_on_and_changes_no_pod_and_no_route() -> None:
    """Objects from before the field keep their pods."""
    said = snapshot({"server": {"grpc": True}})
    one = [envoy.Upstream("a", "a", "churn-1", 100)]
    assert server.pod_spec(snapshot(), version(1)) == server.pod_spec(said, version(1))
    assert "grpc" not in server.server_config(said, version(1)).to_json()
    assert server.unit(snapshot(), version(1)).inputs == server.unit(said, version(1)).inputs
    assert snapshot().spec_digest == said.spec_digest
    assert router.config(snapshot(), one) == router.config(said, one)
    assert router.config(said, one).clusters == envoy.dump(envoy.clusters(one))


def test_without_grpc_servers_have_no_port_for_it_and_the_router_says_so() -> None:
    found = snapshot({"server": {"grpc": False}})
    pod = server.pod_spec(found, version(1))
    assert config_of(pod).grpc is False
    assert [p["name"] for p in pod["containers"][0]["ports"]] == ["http", "admin"]
    assert [p["port"] for p in server.service(found, version(1))["spec"]["ports"]] == [8080, 8081]
    allowed = [p["port"] for rule in server.network_policy(found)["spec"]["ingress"] for p in rule["ports"]]
    assert allowed == [8080, 8081]
    for upstreams in ([envoy.Upstream("a", "a", "churn-1", 100)], []):
        files = router.config(found, upstreams)
        assert "_grpc" not in files.clusters
        refusal, _, _ = json.loads(files.routes)["resources"][0]["virtual_hosts"][0]["routes"]
        assert refusal["match"] == {"prefix": "/", "grpc": {}}
        assert refusal["direct_response"]["status"] == 404, "which gRPC calls UNIMPLEMENTED"
        assert "spec.server.grpc" in refusal["direct_response"]["body"]["inline_string"]
    assert router.service(found) == router.service(snapshot()), "calls reach the router, which refuses them"


def test_routes_without_a_version_answer_503_as_json() -> None:
    *_, route = envoy.routes([])["resources"][0]["virtual_hosts"][0]["routes"]
    assert route["direct_response"]["status"] == 503
    assert json.loads(route["direct_response"]["body"]["inline_string"])["error"]


def test_the_version_of_a_file_is_its_content() -> None:
    one, two = envoy.Upstream("a", "a", "churn-1", 100), envoy.Upstream("a", "a", "churn-1", 99)
    assert envoy.version_of(envoy.routes([one])) == envoy.version_of(envoy.routes([one]))
    assert envoy.version_of(envoy.routes([one])) != envoy.version_of(envoy.routes([two]))
    assert envoy.version_of(envoy.clusters([one])) == envoy.version_of(envoy.clusters([two]))


def test_a_server_is_given_where_artifacts_may_come_from() -> None:
    given = {"TIDEMILL_ALLOWED_NETWORKS": "10.1.0.0/16"}
    found = replace(snapshot(), settings=Settings("server:1", "router:1", data_environment=given))
    (container,) = server.pod_spec(found, version(1))["containers"]
    assert {"name": "TIDEMILL_ALLOWED_NETWORKS", "value": "10.1.0.0/16"} in container["env"]
    (before,) = server.pod_spec(snapshot(), version(1))["containers"]
    assert [e for e in container["env"] if e["name"] != "TIDEMILL_ALLOWED_NETWORKS"] == before["env"]
