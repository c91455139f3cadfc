"""API objects that a cluster has from the start: DNS, storage, and what the cluster's own processes may do.

Pure documents, so that a unit test can hold them against one another; `cluster` applies them.
"""

from __future__ import annotations

from typing import Any

from hack.localcluster.local.settings import NODE_NAME, Settings

Document = dict[str, Any]

VOLUME_COUNT = 64
TINY_COUNT = 4
TINY_BYTES = 16 * 1024 * 1024
STORAGE_CLASS = "standard"
TINY_STORAGE_CLASS = "tiny"
VOLUME_LABEL = "tidemill.io/local-volume"


def documents(settings: Settings) -> list[tuple[str, Document]]:
    """(collection path, object) in the order of creation."""
    return [*_permissions(), *_dns(settings), *_storage_classes(), *volumes(settings)]


def role(name: str, user: str, rules: list[Document] | None, existing: str | None = None) -> list[tuple[str, Document]]:
    """A ClusterRole (unless `existing` names one that is there) and its binding to `user`."""
    group = "/apis/rbac.authorization.k8s.io/v1"
    found: list[tuple[str, Document]] = []
    if rules is not None:
        found.append(
            (f"{group}/clusterroles", {**_object("rbac.authorization.k8s.io/v1", "ClusterRole", name), "rules": rules})
        )
    binding = {
        **_object("rbac.authorization.k8s.io/v1", "ClusterRoleBinding", name),
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": existing or name},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}],
    }
    return [*found, (f"{group}/clusterrolebindings", binding)]


def _object(
    version: str, kind: str, name: str, namespace: str | None = None, labels: dict[str, str] | None = None
) -> Document:
    metadata: Document = {"name": name}
    if namespace:
        metadata["namespace"] = namespace
    if labels:
        metadata["labels"] = labels
    return {"apiVersion": version, "kind": kind, "metadata": metadata}


def _permissions() -> list[tuple[str, Document]]:
    read = ["get", "list", "watch"]
    coredns = [
        {"apiGroups": [""], "resources": ["services", "pods", "namespaces", "endpoints"], "verbs": read},
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": read},
    ]
    recycler = [{"apiGroups": [""], "resources": ["persistentvolumes"], "verbs": [*read, "patch", "update"]}]
    return [
        *role("tidemill:kubelet-api", "kube-apiserver-kubelet-client", None, "system:kubelet-api-admin"),
        *role("tidemill:coredns", "system:coredns", coredns),
        *role("tidemill:volume-recycler", "tidemill:volume-recycler", recycler),
    ]


def _dns(settings: Settings) -> list[tuple[str, Document]]:
    ports = [{"name": "dns", "port": 53, "protocol": "UDP"}, {"name": "dns-tcp", "port": 53, "protocol": "TCP"}]
    targets = {"dns": settings.dns_port, "dns-tcp": settings.dns_port}
    labels = {"k8s-app": "kube-dns", "kubernetes.io/name": "CoreDNS"}
    return host_service(settings, "kube-dns", labels, ports, targets, settings.dns_address)


def host_service(
    settings: Settings,
    name: str,
    labels: dict[str, str],
    ports: list[Document],
    targets: dict[str, int],
    address: str | None = None,
) -> list[tuple[str, Document]]:
    """A Service in kube-system without selector, and the slice that leads to a process of the host.

    `targets` maps a port's name to the port on the bridge's address; `address` fixes the cluster IP.
    """
    service = _object("v1", "Service", name, "kube-system", labels)
    service["spec"] = {"ports": ports} | ({"clusterIP": address} if address else {})
    managed = {"kubernetes.io/service-name": name, "endpointslice.kubernetes.io/managed-by": "tidemill-localcluster"}
    slice_ = _object("discovery.k8s.io/v1", "EndpointSlice", f"{name}-host", "kube-system", managed)
    slice_["addressType"] = "IPv4"
    slice_["endpoints"] = [{"addresses": [settings.address], "conditions": {"ready": True}}]
    slice_["ports"] = [{**port, "port": targets[port["name"]]} for port in ports]
    return [
        ("/api/v1/namespaces/kube-system/services", service),
        ("/apis/discovery.k8s.io/v1/namespaces/kube-system/endpointslices", slice_),
    ]


def _storage_classes() -> list[tuple[str, Document]]:
    found = []
    for name, default in ((STORAGE_CLASS, "true"), (TINY_STORAGE_CLASS, "false")):
        document = _object("storage.k8s.io/v1", "StorageClass", name)
        document["metadata"]["annotations"] = {"storageclass.kubernetes.io/is-default-class": default}
        document["provisioner"] = "kubernetes.io/no-provisioner"
        document["volumeBindingMode"] = "WaitForFirstConsumer"
        found.append(("/apis/storage.k8s.io/v1/storageclasses", document))
    return found


def volumes(settings: Settings) -> list[tuple[str, Document]]:
    """Every PersistentVolume; their folders are `volumes/NAME` of the state folder."""
    names = [(f"local-{number:02}", STORAGE_CLASS, "20Gi") for number in range(VOLUME_COUNT)]
    # Real little file systems, for those who want to see what a full volume does.
    names += [(f"tiny-{number}", TINY_STORAGE_CLASS, f"{TINY_BYTES // 2**20}Mi") for number in range(TINY_COUNT)]
    found = []
    for name, storage_class, capacity in names:
        document = _object("v1", "PersistentVolume", name)
        document["metadata"]["labels"] = {VOLUME_LABEL: "true"}
        document["spec"] = {
            "capacity": {"storage": capacity},
            # One node: every mode is true.
            "accessModes": ["ReadWriteOnce", "ReadOnlyMany", "ReadWriteMany"],
            # Retain, because the controller knows no deleter for local volumes; our recycler empties released ones.
            "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": storage_class,
            "local": {"path": str(settings.folder / "volumes" / name)},
            "nodeAffinity": {
                "required": {
                    "nodeSelectorTerms": [
                        {
                            "matchExpressions": [
                                {"key": "kubernetes.io/hostname", "operator": "In", "values": [NODE_NAME]}
                            ]
                        }
                    ]
                }
            },
        }
        found.append(("/api/v1/persistentvolumes", document))
    return found
