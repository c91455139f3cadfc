"""Addresses and ports of a local cluster, and what is refused with which words."""

import ipaddress
from dataclasses import replace
from pathlib import Path

import pytest
from hack.localcluster.local import settings as local_settings
from hack.localcluster.progress import LocalClusterError


def test_addresses_follow_from_the_networks(tmp_path: Path) -> None:
    settings = local_settings.decide(tmp_path, address="127.0.0.1")
    assert settings.service_address == "10.96.0.1"
    assert settings.dns_address == "10.96.0.10"
    assert settings.server == f"https://127.0.0.1:{settings.api_port}"
    assert len({settings.api_port, settings.etcd_port, settings.etcd_peer_port}) == 3


def test_settings_survive_a_save(tmp_path: Path) -> None:
    settings = local_settings.decide(tmp_path, address="127.0.0.1")
    settings.save()
    assert local_settings.load(tmp_path) == settings


def test_another_layout_is_not_continued(tmp_path: Path) -> None:
    replace(local_settings.decide(tmp_path, address="127.0.0.1"), layout="0").save()
    assert local_settings.load(tmp_path) is None


@pytest.mark.parametrize("content", ["", "{", "[]", '{"layout": "1"}'])
def test_a_broken_file_is_no_cluster(tmp_path: Path, content: str) -> None:
    (tmp_path / "cluster.json").write_text(content)
    assert local_settings.load(tmp_path) is None


@pytest.mark.parametrize("value", ["10.0.0.0/33", "pods", "10.0.0.1/24", "10.0.0.0/28"])
def test_a_wrong_network_is_named_with_its_variable(
    tmp_path: Path, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIDEMILL_POD_SUBNET", value)
    with pytest.raises(LocalClusterError, match=r"TIDEMILL_POD_SUBNET.*such as 10\.244\.0\.0/24"):
        local_settings.decide(tmp_path, address="127.0.0.1")


def test_a_network_that_hides_another_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = ipaddress.IPv4Network("10.244.0.0/16")
    monkeypatch.setattr(local_settings, "host_routes", lambda: [("vpn0", taken)])
    with pytest.raises(LocalClusterError, match=r"overlaps 10\.244\.0\.0/16 which this machine reaches over vpn0"):
        local_settings.decide(Path("/s"))


def test_a_folder_too_long_for_sockets_is_refused_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_settings, "host_routes", list)
    with pytest.raises(LocalClusterError, match="export TIDEMILL_STATE="):
        local_settings.decide(Path("/" + "x" * 80))
