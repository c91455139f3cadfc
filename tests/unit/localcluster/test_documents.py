"""The cluster's own objects and configuration files fit together."""

import json
from dataclasses import replace
from pathlib import Path

from hack.localcluster.local import metrics, node, objects, volumes
from hack.localcluster.local.settings import LAYOUT, Settings

SETTINGS = Settings(Path("/s"), LAYOUT, "10.244.0.0/24", "10.96.0.0/16", "10.244.0.1", 6443, 2379, 2380, 10250, 1053)


def test_dns_service_and_slice_lead_to_coredns() -> None:
    found = {document["kind"]: document for _, document in objects.documents(SETTINGS)}
    assert found["Service"]["spec"]["clusterIP"] == "10.96.0.10"
    assert "selector" not in found["Service"]["spec"]
    assert found["EndpointSlice"]["endpoints"][0]["addresses"] == ["10.244.0.1"]
    assert {port["port"] for port in found["EndpointSlice"]["ports"]} == {1053}
    names = {port["name"] for port in found["EndpointSlice"]["ports"]}
    assert names == {port["name"] for port in found["Service"]["spec"]["ports"]}
    assert ".:1053 {" in node._corefile(SETTINGS)


def test_every_plugin_of_the_corefile_is_linked_in() -> None:
    main = (Path(__file__).parents[3] / "hack" / "kube" / "main.go").read_text()
    top_level = [line.split()[0] for line in node._corefile(SETTINGS).splitlines() if line.startswith("    ")]
    plugins = {word for word in top_level if word.isalpha()} - {"kubeconfig", "pods", "fallthrough", "ttl"}
    assert plugins >= {"bind", "kubernetes", "forward"}
    for plugin in plugins:
        assert f'coredns/plugin/{plugin}"' in main
        assert f'"{plugin}"' in main.split("directives = ")[1]


def test_one_storage_class_is_the_default_and_volumes_have_every_mode() -> None:
    documents = [document for _, document in objects.documents(SETTINGS)]
    classes = [document for document in documents if document["kind"] == "StorageClass"]
    key = "storageclass.kubernetes.io/is-default-class"
    assert [item["metadata"]["name"] for item in classes if item["metadata"]["annotations"][key] == "true"] == [
        objects.STORAGE_CLASS
    ]
    found = [document for _, document in objects.volumes(SETTINGS)]
    assert len({item["metadata"]["name"] for item in found}) == objects.VOLUME_COUNT + objects.TINY_COUNT
    assert all({"ReadWriteOnce", "ReadWriteMany"} <= set(item["spec"]["accessModes"]) for item in found)
    assert all(item["spec"]["local"]["path"].startswith("/s/volumes/") for item in found)


def test_containerd_keeps_every_path_in_the_state_folder() -> None:
    text = node._containerd(SETTINGS)
    assert "netns_mounts_under_state_dir = true" in text
    for line in text.splitlines():
        key, _, value = line.partition(" = ")
        if value.startswith('"/') and key != "bin_dir":
            assert value.startswith('"/s/'), line


def test_the_kubelet_asks_the_api_server_who_may_call_it() -> None:
    configuration = json.loads(json.dumps(node._kubelet(SETTINGS)))
    assert configuration["authentication"]["anonymous"]["enabled"] is False
    assert configuration["authorization"]["mode"] == "Webhook"
    assert configuration["address"] == "10.244.0.1"


class RecordingClient:
    """Stands in for the API client: remembers requests."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str, object]] = []

    def request(self, method: str, path: str, body: object = None, *, content_type: str = "") -> None:
        self.requests.append((method, path, body))


def released(path: Path, phase: str = "Released") -> dict[str, object]:
    labels = {objects.VOLUME_LABEL: "true"}
    return {
        "metadata": {"name": "local-00", "labels": labels, "resourceVersion": "7"},
        "spec": {"local": {"path": str(path)}},
        "status": {"phase": phase},
    }


def test_a_released_volume_is_emptied_and_made_available(tmp_path: Path, monkeypatch: object) -> None:
    folder = tmp_path / "local-00"
    (folder / "deep" / "er").mkdir(parents=True)
    (folder / "deep" / "er" / "file").write_text("x")
    (folder / "link").symlink_to("/etc")
    client = RecordingClient()
    assert volumes.recycle(client, released(folder), tmp_path)  # type: ignore[arg-type]
    assert list(folder.iterdir()) == []
    assert Path("/etc/passwd").exists()
    patch = {"metadata": {"resourceVersion": "7"}, "spec": {"claimRef": None}}
    assert client.requests == [("PATCH", "/api/v1/persistentvolumes/local-00", patch)]


def test_bound_volumes_and_foreign_folders_are_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "local-00"
    folder.mkdir()
    (folder / "file").write_text("x")
    client = RecordingClient()
    assert not volumes.recycle(client, released(folder, "Bound"), tmp_path)  # type: ignore[arg-type]
    assert not volumes.recycle(client, released(folder), tmp_path / "elsewhere")  # type: ignore[arg-type]
    assert (folder / "file").exists()
    assert client.requests == []


def test_metrics_are_served_over_a_service_that_the_certificate_names(tmp_path: Path) -> None:
    (tmp_path / "pki").mkdir()
    (tmp_path / "pki" / "ca.crt").write_text("CA")
    settings = replace(SETTINGS, folder=tmp_path)
    found = {document["kind"]: document for _, document in metrics.documents(settings)}
    service = found["APIService"]["spec"]["service"]
    assert f"{service['name']}.{service['namespace']}.svc" in metrics.HOSTS
    assert found["Service"]["metadata"]["name"] == service["name"]
    assert found["Service"]["spec"]["ports"][0]["port"] == service["port"]
    assert found["EndpointSlice"]["ports"][0]["port"] == metrics.PORT
    assert f"--secure-port={metrics.PORT}" in metrics.process(settings).command
