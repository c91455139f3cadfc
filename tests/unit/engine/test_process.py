"""Settings, logs, probes: what surrounds the loop."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from types import SimpleNamespace
from unittest.mock import AsyncMock

import pytest
from prometheus_client import REGISTRY
from tests.unit.engine.fakes import FakeClock

from tidemill.app import Operator, Slices
from tidemill.config import ConfigError, OperatorConfig, unknown_settings
from tidemill.core.plan import Key, Plan
from tidemill.core.pod import ClusterSettings
from tidemill.engine.health import Heartbeats
from tidemill.kube.access import Access
from tidemill_contracts.alerts import CONDITION_SERIES
from tidemill_contracts.logs import JsonFormatter


def test_settings_are_read_and_typed() -> None:
    config = OperatorConfig.from_env(
        {
            "TIDEMILL_TRAINER_IMAGE": "t",
            "TIDEMILL_WATCH_NAMESPACES": "a, b,",
            "TIDEMILL_WORKERS": "4",
            "TIDEMILL_LEADER_ELECTION": "false",
            "TIDEMILL_ARTIFACT_CLAIM_STORAGE_CLASS": "",
            "TIDEMILL_RESYNC_SECONDS": "30",
            "PATH": "ignored",
        }
    )
    assert (config.trainer_image, config.watch_namespaces, config.workers) == ("t", ("a", "b"), 4)
    assert (config.leader_election, config.artifact_claim_storage_class) == (False, None)
    assert config.resync_seconds == 30.0


def test_settings_of_all_pods() -> None:
    config = OperatorConfig.from_env(
        {
            "TIDEMILL_RUN_AS_USER": "FromNamespace",
            "TIDEMILL_CA_BUNDLE_CONFIG_MAP": "openshift-ca",
            "TIDEMILL_HTTP_PROXY": "",
            "TIDEMILL_HTTPS_PROXY": "http://10.1.2.3:3128/",
            "TIDEMILL_NO_PROXY": ".example.com, minio.team:9000, fd00::1",
        }
    )
    found = ClusterSettings.of(config)
    assert (found.user_from_namespace, found.ca_bundle) == (True, ("openshift-ca", "ca-bundle.crt"))
    assert dict(found.proxies)["HTTPS_PROXY"] == "http://10.1.2.3:3128/" and "HTTP_PROXY" not in dict(found.proxies)
    assert dict(found.proxies)["no_proxy"].endswith(",.cluster.local,.example.com,minio.team:9000,fd00::1")
    assert ClusterSettings.of(OperatorConfig.from_env({})) == ClusterSettings(), "an upgrade changes no pod"


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("", ()),
        ("metrics=enabled", (("metrics", "enabled"),)),
        ("example.com/a=b, open=", (("example.com/a", "b"), ("open", ""))),
    ],
)
def test_labels_of_namespaces_that_scrape(text: str, labels: tuple[tuple[str, str], ...]) -> None:
    assert OperatorConfig.from_env({"TIDEMILL_SCRAPER_NAMESPACES": text}).scraper_namespaces == labels


def test_what_pods_that_read_data_are_given() -> None:
    assert OperatorConfig.from_env({}).data_environment() == {}, "an unset one would replace all pods at an upgrade"
    given = {
        "TIDEMILL_ALLOWED_NETWORKS": "10.1.0.0/16,fd12::/64",
        "TIDEMILL_REFUSED_NETWORKS": "0.0.0.0/0",
        "TIDEMILL_EXPANDED_LIMIT": "2Gi",
    }
    assert OperatorConfig.from_env(given).data_environment() == given


@pytest.mark.parametrize(
    ("name", "value", "want"),
    [
        ("TIDEMILL_WORKERS", "many", "TIDEMILL_WORKERS='many' cannot be read"),
        ("TIDEMILL_POD_NAME", "", "TIDEMILL_POD_NAME must not be empty"),
        ("TIDEMILL_WORKERS", "0", "TIDEMILL_WORKERS must be at least 1"),
        *(
            (
                "TIDEMILL_SCRAPER_NAMESPACES",
                bad,
                "TIDEMILL_SCRAPER_NAMESPACES=.* must be comma-separated labels key=value",
            )
            for bad in ("monitoring", "=x", "a=b,c", "a=b/c", "-a=b", "a=b c")
        ),
        (
            "TIDEMILL_WEBHOOK_TARGETS",
            "alertmanager.monitoring.svc",
            "'alertmanager.monitoring.svc' is no host with a port",
        ),
        ("TIDEMILL_WEBHOOK_TARGETS", "a:1,http://a:1/", "'http://a:1/' is no host with a port"),
        ("TIDEMILL_ALLOWED_NETWORKS", "10.0.0.0/8,lake", "TIDEMILL_ALLOWED_NETWORKS: 'lake' does not appear to be"),
        ("TIDEMILL_REFUSED_NETWORKS", "10.0.0.1/8", "TIDEMILL_REFUSED_NETWORKS: 10.0.0.1/8 has host bits set"),
        ("TIDEMILL_EXPANDED_LIMIT", "8 GB", "TIDEMILL_EXPANDED_LIMIT must be a number of bytes"),
        ("TIDEMILL_RUN_AS_USER", "1000", "TIDEMILL_RUN_AS_USER='1000' is not allowed; allowed is FromNamespace"),
        ("TIDEMILL_CA_BUNDLE_CONFIG_MAP", "Trusted CAs", "is no name of a ConfigMap"),
        ("TIDEMILL_CA_BUNDLE_KEY", "../x", "is no key of a ConfigMap"),
        *(
            (name, bad, f"{name}=.* is no proxy; it is written like http://proxy.example.com:3128")
            for name in ("TIDEMILL_HTTP_PROXY", "TIDEMILL_HTTPS_PROXY")
            for bad in (
                "proxy",
                "proxy:3128",
                "https://proxy:3128",
                "socks5://proxy:1",
                "http://p",
                "http://p:1/x",
                "http://p:99999",
            )
        ),
        ("TIDEMILL_HTTPS_PROXY", "http://me:secret@p:1", "TIDEMILL_HTTPS_PROXY must hold no user and no password"),
        ("TIDEMILL_NO_PROXY", "minio,10.0.0.0/8", "TIDEMILL_NO_PROXY: '10.0.0.0/8' is no host"),
        ("TIDEMILL_NO_PROXY", "*.example.com", r"TIDEMILL_NO_PROXY: '\*.example.com' is no host"),
        *(
            ("TIDEMILL_DOCS_URL", bad, "TIDEMILL_DOCS_URL=.* is no address; it is written like https://")
            for bad in ("docs", "ftp://example.com", "https://", "https://a b", "https://a/{{ .Labels }}")
        ),
        ("TIDEMILL_LEADER_ELECTION", "maybe", "must be true or false"),
        ("TIDEMILL_IMAGE_PULL_POLICY", "Sometimes", "allowed are Always, IfNotPresent, Never"),
        ("TIDEMILL_ARTIFACT_CLAIM_ACCESS_MODES", "ReadOnlyMany", "allowed are ReadWriteOnce"),
        ("TIDEMILL_LOG_LEVEL", "loud", "allowed are DEBUG"),
        ("TIDEMILL_RENEW_DEADLINE_SECONDS", "20", "must be above"),
    ],
)
def test_unusable_settings_are_named(name: str, value: str, want: str) -> None:
    with pytest.raises(ConfigError, match=want):
        OperatorConfig.from_env({name: value})


def test_replicas_that_were_given_no_name_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    names = set()
    for host, pid in (("a", 1), ("a", 2), ("b", 1)):
        monkeypatch.setattr("os.uname", lambda host=host: SimpleNamespace(nodename=host))
        monkeypatch.setattr("os.getpid", lambda pid=pid: pid)
        names.add(OperatorConfig.from_env({}).pod_name)
    assert names == {"a-1", "a-2", "b-1"}
    assert OperatorConfig.from_env({"TIDEMILL_POD_NAME": "p"}).pod_name == "p"


def test_typos_are_found_and_service_links_are_not_taken_for_them() -> None:
    env = {"TIDEMILL_WORKER": "1", "TIDEMILL_OPERATOR_METRICS_SERVICE_HOST": "x", "TIDEMILL_HTTP_PORT": "1"}
    assert unknown_settings(env) == ["TIDEMILL_WORKER"]


def test_log_lines_are_json_with_the_objects_key() -> None:
    record = logging.makeLogRecord(
        {"name": "n", "levelname": "INFO", "msg": "did %s", "args": ("it",), "object": "K/ns/a"}
    )
    try:
        raise ValueError("boom")
    except ValueError:
        record.exc_info = sys.exc_info()
    line = json.loads(JsonFormatter().format(record))
    assert (line["level"], line["message"], line["object"]) == ("info", "did it", "K/ns/a")
    assert "ValueError: boom" in line["error"]


def test_liveness_names_the_watch_that_is_silent() -> None:
    clock = FakeClock()
    beats = Heartbeats(clock, stale_seconds=60)
    beats.expect(["/a", "/b"])
    clock.advance(8)
    assert beats.problems() == []
    clock.advance(50)
    beats.beat("/a")
    beats.beat("/unknown")
    beats._loop_seen = clock.monotonic()
    clock.advance(5)
    assert beats.problems() == ["watch on /b silent for 63 s"]
    beats.beat("/b")
    assert beats.problems() == []
    clock.advance(6)
    assert beats.problems() == ["event loop late by 11 s"]


def test_liveness_sees_a_leader_that_does_nothing() -> None:
    """Leading and never at work counts like work that nobody takes; having nothing to do does not."""
    clock, waited = FakeClock(), [0.0]
    beats = Heartbeats(clock, stale_seconds=60)

    def later(seconds: float) -> list[str]:
        clock.advance(seconds)
        beats._loop_seen = clock.monotonic()
        return beats.problems()

    assert later(1000) == [], "a standby replica has no passes"
    beats.lead()
    assert later(60) == []
    assert later(1) == ["no pass for 61 s although there is work"], "its lists do not come to an end"
    beats.work(lambda: waited[0])
    assert beats.problems() == []
    assert later(1000) == [], "nothing waits"
    waited[0] = 61
    assert beats.problems() == ["no pass for 61 s although there is work"]
    beats.passed()
    assert beats.problems() == [], "a long line is being worked on"


class Blocked:
    """A reconciler whose every pass waits until it is let go."""

    kind = "ModelMonitor"

    def __init__(self) -> None:
        self.let_go = asyncio.Semaphore(0)

    async def gather(self, key: Key) -> None:
        del key
        await self.let_go.acquire()

    def plan(self, snapshot: object) -> Plan:
        raise AssertionError(snapshot)


async def test_the_probes_of_an_operator_see_its_lists_and_its_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, reconciler = FakeClock(), Blocked()
    config = OperatorConfig(leader_election=False, workers=1)
    operator = Operator(config, Access("http://127.0.0.1:1"), clock, lambda _: Slices([reconciler], []))
    beats, (controller,), (informer,) = operator.heartbeats, operator.controllers, operator.informers.all
    monkeypatch.setattr(operator.resync, "once", AsyncMock())

    def problems_after(seconds: float) -> list[str]:
        clock.advance(seconds)
        beats._loop_seen = clock.monotonic()
        return beats.problems()

    assert beats.unready() == ["/apis/tidemill.io/v1alpha1/modelmonitors was not listed yet"]
    leading = asyncio.create_task(operator._lead())
    try:
        await asyncio.sleep(0.01)
        assert problems_after(1000) == ["no pass for 1000 s although there is work"], "its list does not come to an end"
        informer.listed.set()
        async with asyncio.timeout(5):
            await operator.leading.wait()
        assert beats.unready() == []
        leader = REGISTRY.get_sample_value("leader_election_master_status", {"name": config.lease_name})
        assert leader == 1, "without an election the only replica leads, and TidemillNoLeader is silent"
        assert problems_after(1000) == [], "nothing waits"
        for name in ("held", "next", "last"):
            controller.queue.add(Key("ModelMonitor", "ns", name))
        await asyncio.sleep(0.01)
        assert problems_after(1000) == ["no pass for 1000 s although there is work"]
        reconciler.let_go.release()
        await asyncio.sleep(0.01)
        assert (len(controller.queue), beats.problems()) == (1, []), "a pass has ended, and one key still waits"
    finally:
        leading.cancel()
        controller.abort()
        await asyncio.gather(leading, *controller._tasks, return_exceptions=True)


@pytest.mark.parametrize("is_lost", [True, False], ids=["the Lease is lost", "asked to stop"])
async def test_a_replica_that_leads_no_more_shows_no_conditions(is_lost: bool) -> None:
    config = OperatorConfig(leader_election=False, workers=1)
    operator = Operator(config, Access("http://127.0.0.1:1"), FakeClock(), lambda _: Slices([Blocked()], []))
    meta = {"namespace": "ns", "name": "m", "uid": "u", "resourceVersion": "1"}
    status = {"conditions": [{"type": "Ready", "status": "True", "reason": "Watching"}]}
    operator.cache.put({"kind": "ModelMonitor", "metadata": meta, "status": status})
    labels = {"kind": "ModelMonitor", "namespace": "ns", "name": "m", "type": "Ready", "status": "True"}

    def shown() -> float | None:
        return operator.health.registry.get_sample_value(CONDITION_SERIES, {**labels, "reason": "Watching"})

    async def lead() -> None:
        if is_lost:
            raise RuntimeError("the Lease is lost")
        await asyncio.Event().wait()

    assert shown() is None, "a standby replica"
    operator.leading.set()
    assert shown() == 1
    leading, stopping = asyncio.create_task(lead()), asyncio.create_task(asyncio.Event().wait())
    await asyncio.sleep(0)
    if is_lost:
        with pytest.raises(RuntimeError, match="the Lease is lost"):
            await operator._wind_down(leading, stopping)
    else:
        await operator._wind_down(leading, stopping)
    assert shown() is None
    await asyncio.gather(leading, stopping, return_exceptions=True)
