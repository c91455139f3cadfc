"""Every pod has the same floor, whatever its builder asks for, and nothing that nobody asked for."""

from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidemill.api.base import Toleration
from tidemill.api.v1alpha1.pod_settings import PodSettings
from tidemill.config import OperatorConfig
from tidemill.core import pod
from tidemill_contracts.ports import PORTS

Json = dict[str, Any]


@dataclass(frozen=True)
class Place:
    node_selector: dict[str, str] = field(default_factory=dict)
    tolerations: list[Toleration] = field(default_factory=list)
    service_account_name: str | None = None
    pod: PodSettings | None = None


PLAIN = pod.Container(name="main", image="i:1", resources={}, termination=pod.Termination(None), mounts=[])
OURS = {"tidemill.io/deployment": "churn", "tidemill.io/version": "churn-1"}
POD = pod.Pod(
    container=PLAIN,
    volumes=[],
    cluster=pod.ClusterSettings(),
    labels=OURS,
    selector={"tidemill.io/deployment": "churn"},
)


def container(**changes: Any) -> Json:
    return replace(PLAIN, **changes).build(pod.ClusterSettings(), {}, [])


def wanted(**fields: Any) -> pod.Pod:
    """The pod of a user who says this, in the API's names."""
    return replace(POD, settings=PodSettings.model_validate(fields))


def administered(**fields: Any) -> pod.Pod:
    """The pod of an operator with these settings."""
    return replace(POD, cluster=pod.ClusterSettings.of(OperatorConfig(**fields)))


def env(found: pod.Pod) -> dict[str, str]:
    """What its container is given."""
    return {e["name"]: e["value"] for e in found.spec()["containers"][0].get("env", [])}


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
    spec = administered(image_pull_policy="Always", image_pull_secrets=("hub", "mirror")).spec()
    assert spec["imagePullSecrets"] == [{"name": "hub"}, {"name": "mirror"}]
    assert spec["containers"][0]["imagePullPolicy"] == "Always"


def test_placement() -> None:
    """Fields of a pipeline that were there before its section."""
    assert replace(POD, settings=pod.settings_of(Place())).spec() == POD.spec()
    place = Place({"disk": "ssd of 2021"}, [Toleration(key="gpu", operator="Exists")], "trainer")
    spec = replace(POD, settings=pod.settings_of(place)).spec()
    assert spec["nodeSelector"] == {"disk": "ssd of 2021"}, "read as it is stored, also what the section refuses"
    assert spec["tolerations"] == [{"key": "gpu", "operator": "Exists"}]
    assert (spec["serviceAccountName"], spec["automountServiceAccountToken"]) == ("trainer", False)
    section = PodSettings(service_account_name="other")
    assert pod.settings_of(replace(place, pod=section)) == section


def test_how_a_pod_ends_and_spreads() -> None:
    spec = replace(POD, restart_policy="Never", grace_seconds=9, spread=[{"maxSkew": 1}]).spec()
    assert (spec["restartPolicy"], spec["terminationGracePeriodSeconds"]) == ("Never", 9)
    counted = {"labelSelector": {"matchLabels": {"tidemill.io/deployment": "churn"}}}
    assert spec["topologySpreadConstraints"] == [{"maxSkew": 1, **counted}]


def test_a_template_has_annotations_only_where_there_are_some() -> None:
    assert POD.template() == {"metadata": {"labels": OURS}, "spec": POD.spec()}
    assert replace(POD, annotations=pod.scraped(9, "/m")).template()["metadata"]["annotations"] == {
        "prometheus.io/scrape": "true",
        "prometheus.io/port": "9",
        "prometheus.io/path": "/m",
    }


def test_scratch_volumes_have_a_limit_when_one_is_given() -> None:
    assert pod.empty_dir("tmp", "1Gi") == {"name": "tmp", "emptyDir": {"sizeLimit": "1Gi"}}
    assert pod.empty_dir("tmp") == {"name": "tmp", "emptyDir": {}}


# -- what the user says ------------------------------------------------------------------------------------------------

AFFINITY: Json = {
    "nodeAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": {
            "nodeSelectorTerms": [{"matchExpressions": [{"key": "pool", "operator": "In", "values": ["models"]}]}]
        }
    },
    "podAntiAffinity": {
        "preferredDuringSchedulingIgnoredDuringExecution": [
            {
                "weight": 50,
                "podAffinityTerm": {
                    "labelSelector": {"matchLabels": {"app": "db"}},
                    "topologyKey": "kubernetes.io/hostname",
                },
            }
        ]
    },
}


def test_every_field_reaches_the_pod_as_kubernetes_spells_it() -> None:
    spread = {"maxSkew": 2, "topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": "DoNotSchedule"}
    found = wanted(
        labels={"team": "risk"},
        annotations={"example.com/note": "any text"},
        nodeSelector={"disk": "ssd"},
        tolerations=[{"key": "gpu", "operator": "Exists"}],
        affinity=AFFINITY,
        topologySpreadConstraints=[{**spread, "minDomains": 3}],
        priorityClassName="models",
        serviceAccountName="churn",
        env=[{"name": "OMP_NUM_THREADS", "value": "2"}],
    )
    meta, spec = found.template()["metadata"], found.spec()
    assert meta == {"labels": {**OURS, "team": "risk"}, "annotations": {"example.com/note": "any text"}}
    assert spec["nodeSelector"] == {"disk": "ssd"}
    assert spec["tolerations"] == [{"key": "gpu", "operator": "Exists"}]
    assert spec["affinity"] == AFFINITY, "and nothing that nobody said"
    counted = {"labelSelector": {"matchLabels": {"tidemill.io/deployment": "churn"}}}
    assert spec["topologySpreadConstraints"] == [{**spread, "minDomains": 3, **counted}]
    assert (spec["priorityClassName"], spec["serviceAccountName"]) == ("models", "churn")
    assert spec["automountServiceAccountToken"] is False, "an identity, and no token of the API server"
    assert env(found) == {"OMP_NUM_THREADS": "2"}
    said = set(PodSettings.model_json_schema(by_alias=True)["properties"])
    assert said == {"labels", "annotations", "env"} | (spec.keys() - POD.spec().keys()), "so the test is complete"


def test_a_section_that_says_nothing_changes_nothing() -> None:
    assert wanted().template() == POD.template()


def test_spreading_is_the_users_when_they_say_so_and_can_be_switched_off() -> None:
    usual = replace(POD, spread=[{"maxSkew": 1}])
    assert len(usual.spec()["topologySpreadConstraints"]) == 1
    off = replace(usual, settings=PodSettings(topology_spread_constraints=[]))
    assert "topologySpreadConstraints" not in off.spec()


LABELS = st.dictionaries(st.sampled_from([*OURS, "team", "app.kubernetes.io/name"]), st.just("forged"))


@given(labels=LABELS, annotations=LABELS, names=st.sets(st.sampled_from(["HOME", "TIDEMILL_X", "A"])))
def test_what_is_ours_wins_whatever_was_stored(labels: Json, annotations: Json, names: set[str]) -> None:
    """Admission refuses these; an object that came past it still gets pods that are selected and configured right."""
    said = PodSettings(
        labels=labels, annotations=annotations, env=[{"name": name, "value": "forged"} for name in sorted(names)]
    )
    own = replace(PLAIN, environment={"HOME": "/tmp", "TIDEMILL_X": "1"})
    found = replace(POD, settings=said, container=own, annotations=dict(OURS))
    meta = found.template()["metadata"]
    assert OURS.items() <= meta["labels"].items() and OURS.items() <= meta["annotations"].items()
    assert {"HOME": "/tmp", "TIDEMILL_X": "1"}.items() <= env(found).items()
    listed = [e["name"] for e in found.spec()["containers"][0]["env"]]
    assert listed == sorted(set(listed)), "each once, in one order"


def test_whether_prometheus_looks_is_the_users_to_say() -> None:
    said = PodSettings(annotations={"prometheus.io/scrape": "false"})
    found = replace(POD, settings=said, annotations=pod.scraped(9)).template()["metadata"]["annotations"]
    assert found == {"prometheus.io/scrape": "false", "prometheus.io/port": "9", "prometheus.io/path": "/metrics"}


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        ("plain", "plain"),
        ("$price", "$price"),
        ("5 $", "5 $"),
        ("$(HOME)", "$$(HOME)"),
        ("$$", "$$$$"),
        ("$a $(B)", "$$a $$(B)"),
    ],
)
def test_values_are_taken_literally(value: str, stored: str) -> None:
    """The kubelet replaces $(NAME) and $$, in documents of ours as well: parameters of a pipeline may hold both."""
    assert env(wanted(env=[{"name": "A", "value": value}])) == {"A": stored}
    assert container(environment={"A": value})["env"] == [{"name": "A", "value": stored}]


# -- what an administrator says ----------------------------------------------------------------------------------------


def test_users_and_groups_of_the_namespace() -> None:
    security = administered(run_as_user="FromNamespace").spec()["securityContext"]
    assert security == {
        "runAsNonRoot": True,
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def test_certificate_authorities_of_a_config_map() -> None:
    found = administered(ca_bundle_config_map="trusted", ca_bundle_key="root.pem")
    spec = found.spec()
    items = [{"key": "root.pem", "path": "ca-bundle.pem"}]
    assert spec["volumes"] == [{"name": "ca-bundle", "configMap": {"name": "trusted", "items": items}}]
    (mount,) = spec["containers"][0]["volumeMounts"]
    assert mount == {"name": "ca-bundle", "mountPath": "/etc/tidemill/ca", "readOnly": True}
    assert {env(found)[name] for name in pod.CA_VARIABLES} == {"/etc/tidemill/ca/ca-bundle.pem"}
    own = replace(found, settings=PodSettings(env=[{"name": "AWS_CA_BUNDLE", "value": "/mine"}]))
    assert env(own) == env(found), "whom pods trust is the administrator's to say, where an older object says it, too"


def test_a_proxy_is_for_what_is_outside_of_the_cluster() -> None:
    proxy = "http://proxy.example.com:3128"
    found = env(administered(https_proxy=proxy, no_proxy=("minio.team", ".svc")))
    assert found.keys() == {"HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy"}
    assert found["HTTPS_PROXY"] == found["https_proxy"] == proxy
    assert found["no_proxy"] == found["NO_PROXY"] == "localhost,127.0.0.1,::1,.svc,.cluster.local,minio.team"
    assert env(administered(no_proxy=("minio.team",))) == {}, "no exceptions without a rule"


def test_a_pod_that_opens_no_connections_outside_is_left_as_it_is() -> None:
    found = administered(https_proxy="http://p:1", ca_bundle_config_map="trusted", image_pull_policy="Always")
    inside = replace(found, connects_outside=False)
    assert inside.spec() == administered(image_pull_policy="Always").spec()
