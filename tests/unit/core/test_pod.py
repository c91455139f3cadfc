"""Every pod has the same floor, whatever its builder asks for, and nothing that nobody asked for."""

from dataclasses import dataclass, field, replace
from typing import Any

from tidemill.api.base import Toleration
from tidemill.core import pod
from tidemill_contracts.ports import PORTS


@dataclass(frozen=True)
class Pull:
    image_pull_policy: str = "IfNotPresent"
    image_pull_secrets: tuple[str, ...] = ()


@dataclass(frozen=True)
class Place:
    node_selector: dict[str, str] = field(default_factory=dict)
    tolerations: list[Toleration] = field(default_factory=list)
    service_account_name: str | None = None


PLAIN = pod.Container(name="main", image="i:1", resources={}, termination=pod.Termination(None), mounts=[])
POD = pod.Pod(container=PLAIN, volumes=[], pull=Pull())


def container(**changes: Any) -> dict[str, Any]:
    return replace(PLAIN, **changes).build(Pull())


def test_a_pod_that_asks_for_nothing_passes_restricted_and_holds_no_token() -> None:
    assert POD.spec() == {
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 65532,
            "runAsGroup": 65532,
            "fsGroup": 65532,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "containers": [
            {
                "name": "main",
                "image": "i:1",
                "imagePullPolicy": "IfNotPresent",
                "resources": {},
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "readOnlyRootFilesystem": True,
                    "capabilities": {"drop": ["ALL"]},
                },
                "volumeMounts": [],
            }
        ],
        "volumes": [],
    }


def test_env_is_sorted_so_that_equal_settings_make_equal_pods() -> None:
    found = container(environment={"B": "2", "A": "1"})
    assert found["env"] == [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]


def test_a_container_that_serves() -> None:
    probe = pod.http_probe("/ready", "admin", period=2, timeout=3, failures=4)
    assert probe == {
        "httpGet": {"path": "/ready", "port": "admin", "scheme": "HTTP"},
        "periodSeconds": 2,
        "timeoutSeconds": 3,
        "failureThreshold": 4,
    }
    probes = pod.Probes(startup={**probe, "a": 1}, readiness={**probe, "a": 2}, liveness={**probe, "a": 3})
    found = container(ports=PORTS["router"], probes=probes, stop_delay_seconds=7, command=["run"], args=["--fast"])
    assert [found[f"{kind}Probe"]["a"] for kind in ("startup", "readiness", "liveness")] == [1, 2, 3]
    assert found["lifecycle"] == {"preStop": {"sleep": {"seconds": 7}}}
    assert (found["command"], found["args"]) == (["run"], ["--fast"])
    assert {p["name"]: p["protocol"] for p in found["ports"]} == {"http": "TCP", "stats": "TCP"}


def test_last_words() -> None:
    from_file = container(termination=pod.Termination("File", "/tmp/last"))
    assert (from_file["terminationMessagePolicy"], from_file["terminationMessagePath"]) == ("File", "/tmp/last")
    from_logs = container(termination=pod.Termination("FallbackToLogsOnError"))
    assert (
        from_logs["terminationMessagePolicy"] == "FallbackToLogsOnError" and "terminationMessagePath" not in from_logs
    )


def test_the_operators_settings_for_images() -> None:
    spec = replace(POD, pull=Pull("Always", ("hub", "mirror"))).spec()
    assert spec["imagePullSecrets"] == [{"name": "hub"}, {"name": "mirror"}]
    assert spec["containers"][0]["imagePullPolicy"] == "Always"


def test_placement() -> None:
    assert replace(POD, placement=Place()).spec() == POD.spec()
    wanted = Place({"disk": "ssd"}, [Toleration(key="gpu", operator="Exists")], "trainer")
    spec = replace(POD, placement=wanted).spec()
    assert spec["nodeSelector"] == {"disk": "ssd"}
    assert spec["tolerations"] == [{"key": "gpu", "operator": "Exists"}]
    assert (spec["serviceAccountName"], spec["automountServiceAccountToken"]) == ("trainer", False)


def test_how_a_pod_ends_and_spreads() -> None:
    spec = replace(POD, restart_policy="Never", grace_seconds=9, spread=[{"maxSkew": 1}]).spec()
    assert (spec["restartPolicy"], spec["terminationGracePeriodSeconds"]) == ("Never", 9)
    assert spec["topologySpreadConstraints"] == [{"maxSkew": 1}]


def test_a_template_has_annotations_only_where_there_are_some() -> None:
    assert pod.template({}, {"a": "b"}) == {"metadata": {"labels": {"a": "b"}}, "spec": {}}
    assert pod.template({}, {}, pod.scraped(9, "/m"))["metadata"]["annotations"] == {
        "prometheus.io/scrape": "true",
        "prometheus.io/port": "9",
        "prometheus.io/path": "/m",
    }


def test_scratch_volumes_have_a_limit_when_one_is_given() -> None:
    assert pod.empty_dir("tmp", "1Gi") == {"name": "tmp", "emptyDir": {"sizeLimit": "1Gi"}}
    assert pod.empty_dir("tmp") == {"name": "tmp", "emptyDir": {}}
