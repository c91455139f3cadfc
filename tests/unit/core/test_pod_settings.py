"""One `pod` section for every kind of pod: it reaches the pods it is for, no others, and never a selector."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from tests.support import builders_training as make
from tests.support import podtemplates
from tests.unit.monitoring import make as monitors
from tests.unit.serving import make as servers
from tests.unit.training.world import World

from tidemill.api.v1alpha1 import pod_names
from tidemill.api.v1alpha1.pod_settings import PodSettings
from tidemill.api.v1alpha1.training_pipeline import TrainingPipelineSpec
from tidemill.config import OperatorConfig
from tidemill.core import pod_settings
from tidemill.core.pod import ClusterSettings
from tidemill.monitoring.builders import workload
from tidemill.serving.builders import router, server
from tidemill.serving.snapshot import Settings
from tidemill.training.pipeline.policy.inputs import outcome_digest

Obj = dict[str, Any]
SAID: Obj = {
    "labels": {"team": "risk", "azure.workload.identity/use": "true"},
    "annotations": {"example.com/note": "x"},
    "nodeSelector": {"pool": "models"},
    "tolerations": [{"key": "models", "operator": "Exists"}],
    "topologySpreadConstraints": [
        {"maxSkew": 1, "topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": "DoNotSchedule"}
    ],
    "priorityClassName": "models",
    "serviceAccountName": "churn-identity",
    "env": [{"name": "OMP_NUM_THREADS", "value": "2"}],
}
JOBS = ("trainer", "probe", "records")
KINDS = ("server", "router", "monitor", *JOBS)
AUTOSCALING = {"minReplicas": 2, "maxReplicas": 3}


def children(kind: str, said: Obj | None) -> list[Obj]:
    """All children of an object whose pods of this kind have that section; the one with the pods is among them."""
    section = {} if said is None else {"pod": said}
    if kind in ("server", "router"):
        snapshot = servers.snapshot({kind: section, "autoscaling": AUTOSCALING})
        version, config = servers.version(1), router.config(snapshot, [])
        return [
            *server.build(snapshot, version),
            server.disruption_budget(snapshot, version),
            server.autoscaler(snapshot, version, 1),
            server.network_policy(snapshot),
            *router.build(snapshot, config),
        ]
    if kind == "monitor":
        return workload.build(monitors.snapshot({"deployment": "churn", **section}))
    return list(podtemplates.jobs(make.Pipeline().spec(**section)).values())


def templates(made: list[Obj]) -> dict[str, Obj]:
    """Pod templates by the component of their pods."""
    found = [c["spec"]["template"] for c in made if "template" in (c.get("spec") or {})]
    return {t["metadata"]["labels"]["app.kubernetes.io/component"]: t for t in found}


def selectors(value: Any) -> Iterator[Obj]:
    """Every set of labels below a child by which something selects pods."""
    if isinstance(value, dict):
        for key, child in value.items():
            if key in ("selector", "matchLabels", "podSelector") and isinstance(child, dict):
                yield child
            yield from selectors(child)
    elif isinstance(value, list):
        for child in value:
            yield from selectors(child)


@pytest.mark.parametrize("kind", KINDS)
def test_a_section_reaches_its_pods_and_no_others(kind: str) -> None:
    usual, said = templates(children(kind, None)), templates(children(kind, SAID))
    assert {name for name in usual if usual[name] != said[name]} == {kind} | (usual.keys() & set(JOBS))
    template = said[kind]
    assert SAID["labels"].items() <= template["metadata"]["labels"].items()
    assert template["metadata"]["annotations"]["example.com/note"] == "x"
    assert {"name": "OMP_NUM_THREADS", "value": "2"} in template["spec"]["containers"][0]["env"]
    for field in ("nodeSelector", "tolerations", "priorityClassName", "serviceAccountName"):
        assert template["spec"][field] == SAID[field]
    (spread,) = template["spec"]["topologySpreadConstraints"]
    counted = spread["labelSelector"]["matchLabels"]
    assert counted["app.kubernetes.io/component"] == kind
    assert counted.items() <= template["metadata"]["labels"].items(), "or it would count other pods"


@pytest.mark.parametrize("kind", KINDS)
def test_no_selector_knows_a_label_of_a_user(kind: str) -> None:
    """A Deployment's selector is for ever, and a Service would lose its pods with the next edit of the labels."""
    usual, said = children(kind, None), children(kind, SAID)
    found = [s for child in said for s in selectors(child)]
    assert found and not any("team" in s for s in found)
    ours = lambda made: [s for c in made for s in selectors({**c, "spec": without_pods(c.get("spec") or {})})]  # noqa: E731
    assert ours(said) == ours(usual)
    meta = [c["metadata"]["labels"] for c in said]
    assert not any("team" in labels for labels in meta), "and no child but the pods has it"


def without_pods(spec: Obj) -> Obj:
    return {key: value for key, value in spec.items() if key != "template"}


@pytest.mark.parametrize("kind", ["server", "router", "monitor"])
def test_labels_that_admission_lets_through_never_take_a_pod_from_its_selector(kind: str) -> None:
    forged = {"labels": {**SAID["labels"], "app.kubernetes.io/component": "other", "tidemill.io/deployment": "other"}}
    for child in children(kind, forged):
        if "template" in (child.get("spec") or {}):
            selected, labels = child["spec"]["selector"]["matchLabels"], child["spec"]["template"]["metadata"]["labels"]
            assert selected.items() <= labels.items()


def test_a_runs_pod_is_that_of_its_pipeline_and_no_reason_to_train_again() -> None:
    pipeline = make.Pipeline().spec(pod=SAID)
    world = World(pipeline.obj(), make.ConfigMap().obj())
    world.settle()
    recorded = world.get("TrainingRun", world.names("TrainingRun")[0])["spec"]["pod"]
    assert PodSettings.model_validate(recorded) == PodSettings.model_validate(SAID)
    before, after = (TrainingPipelineSpec.model_validate(p.obj()["spec"]) for p in (make.Pipeline(), pipeline))
    assert outcome_digest(before) == outcome_digest(after)
    world.train()
    world.change("TrainingPipeline", "churn", lambda o: o["spec"].update(pod={"labels": {"team": "other"}}))
    world.settle()
    assert len(world.names("TrainingRun")) == 1


def test_an_administrators_settings_reach_all_pods_that_connect_somewhere() -> None:
    config = OperatorConfig(
        run_as_user="FromNamespace", ca_bundle_config_map="trusted", https_proxy="http://proxy.example.com:3128"
    )
    cluster = ClusterSettings.of(config)
    snapshot = replace(servers.snapshot(), settings=Settings("server:1", "router:1", cluster))
    monitor = monitors.snapshot({"deployment": "churn"})
    monitor = replace(monitor, settings=replace(monitor.settings, cluster=cluster))
    found = templates(
        [
            server.deployment(snapshot, servers.version(1)),
            router.deployment(snapshot, router.config(snapshot, [])),
            workload.deployment(monitor),
            *podtemplates.jobs(make.Pipeline(), config).values(),
        ]
    )
    assert found.keys() == set(KINDS)
    for kind, template in found.items():
        assert "runAsUser" not in template["spec"]["securityContext"]
        names = {e["name"] for e in template["spec"]["containers"][0].get("env", [])}
        assert (kind != "router") == ({"HTTPS_PROXY", "SSL_CERT_FILE"} <= names), kind
        assert (kind != "router") == any(v["name"] == "ca-bundle" for v in template["spec"]["volumes"]), kind


STORED: Obj = {
    "labels": {"team": "risk", "sub.tidemill.io/x": "y"},
    "annotations": {"sub.tidemill.io/x": "y", "example.com/note": "x"},
    "env": [
        {"name": name, "value": "theirs"}
        for name in ("OMP_NUM_THREADS", "SSL_CERT_FILE", "https_proxy", "AWS_PROFILE", "GLIBC_TUNABLES", "AWS_REGION")
    ]
    + [{"name": "TEXT", "value": "two\nlines\tand a column"}, {"name": "NOTE", "value": "no\x00text"}],
}
"""An object from before these names were refused."""


@pytest.mark.parametrize("kind", KINDS)
def test_names_that_were_stored_before_they_were_refused_do_not_reach_the_pods(kind: str) -> None:
    template = templates(children(kind, STORED))[kind]
    assert "team" in template["metadata"]["labels"] and "sub.tidemill.io/x" not in template["metadata"]["labels"]
    assert "sub.tidemill.io/x" not in template["metadata"]["annotations"]
    has = {e["name"]: e["value"] for e in template["spec"]["containers"][0]["env"]}
    assert [name for name, value in has.items() if value == "theirs"] == ["AWS_REGION", "OMP_NUM_THREADS"]
    assert "NOTE" not in has and has["TEXT"] == "two\nlines\tand a column"


@pytest.mark.parametrize(
    ("name", "is_refused"),
    [
        ("CLOUDSDK_CONFIG", True),
        ("FTP_PROXY", True),
        ("ssl_cert_file", True),
        ("STORAGE_EMULATOR_HOST_GRPC", True),
        ("METADATA_SERVER_DETECTION", True),
        ("no_gce_check", True),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", True),
        ("OTEL_PROPAGATORS", True),
        ("GRPC_XDS_BOOTSTRAP", True),
        ("BOTO_CONFIG", True),
        ("SERVICE_ACCOUNT", True),
        ("PROMETHEUS_MULTIPROC_DIR", True),
        ("MALLOC_TRACE", True),
        ("OTEL_RESOURCE_ATTRIBUTES", False),
        ("GRPC_VERBOSITY", False),
        ("OPENBLAS_NUM_THREADS", False),
        ("MALLOC_ARENA_MAX", False),
        ("TZ", False),
        ("PROXY", False),
        ("AWS_REGION", False),
    ],
)
def test_names_by_which_libraries_of_our_images_are_led_elsewhere(name: str, is_refused: bool) -> None:
    assert pod_names.is_refused_variable(name) == is_refused


def test_the_variables_of_all_pods_are_the_administrators() -> None:
    """Also those that no table of names knows yet."""
    variables = ClusterSettings.of(
        OperatorConfig(ca_bundle_config_map="ca", http_proxy="http://proxy:3128")
    ).environment()
    assert {name for name in variables if not pod_names.is_refused_variable(name)} == set()


def test_a_condition_names_what_the_pods_do_not_get() -> None:
    said = PodSettings.model_validate(STORED)
    (found,) = pod_settings.conditions({"spec.server.pod": said, "spec.router.pod": None})
    assert (found.type, found.status, found.reason) == ("PodSettingsApplied", "False", "NamesRefused")
    for name in (
        "labels sub.tidemill.io/x",
        "annotations sub.tidemill.io/x",
        "env AWS_PROFILE",
        "env https_proxy",
        "env NOTE",
    ):
        assert f"spec.server.pod.{name}" in found.message
    assert "AWS_REGION" not in found.message and "spec.router" not in found.message
    assert pod_settings.conditions({"spec.pod": PodSettings.model_validate(SAID), "spec.router.pod": None}) == []
