"""Plays kubelet, Deployment controller, routers and clients for the tests of serving on a real API server.

Pods are made from the Deployments' templates (so Pod Security judges them) and become ready, or not, as a test says.
A router pod is a small HTTP server that follows the ConfigMap as a kubelet would show it (when the pod's annotation
changes) and writes statistics in the text that the real Envoy wrote (tests/unit/serving/envoy_stats.txt).
"""

from __future__ import annotations

import contextlib
import json
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx

Obj = dict[str, Any]
RECORDED = (Path(__file__).parents[1] / "unit" / "serving" / "envoy_stats.txt").read_text().splitlines()
TEMPLATE = "churn-2-bbbb"  # a cluster in the recording
MERGE = {"content-type": "application/merge-patch+json"}
REFRESHED = "tidemill.io/refreshed-at"
_IPS = iter(f"127.0.{a}.{b}" for a in range(7, 200) for b in range(1, 250))


@dataclass
class Behaviour:
    """How the servers of a version behave."""

    ready: bool = True
    exit: tuple[int, str] | None = None  # exit code and termination message
    waits: tuple[str, str] | None = None  # reason and message by which its container does not start
    error_ratio: float = 0.0
    refused_ratio: float = 0.0  # answered with 400
    milliseconds: float = 4.0


@dataclass
class Counters:
    """What one router counted for one cluster."""

    good: float = 0.0
    bad: float = 0.0
    refused: float = 0.0
    buckets: dict[float, float] = field(default_factory=dict)


class FakeRouter:
    """One router pod: the stats listener of an Envoy whose traffic is made up."""

    def __init__(self, cluster: Cluster, address: str) -> None:
        self.cluster, self.address = cluster, address
        self.refreshed: str | None = None
        self.files: dict[str, Obj] = {}
        self.counters: dict[str, Counters] = {}
        self.answers = True
        self._last = time.monotonic()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                code, body = (200, outer.text().encode()) if outer.answers else (503, b"")
                self.send_response(code)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer((address, 9901), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def weights(self) -> dict[str, tuple[str, int]]:
        """Cluster name → (version, weight), as the file in force has it."""
        if not self.files:
            return {}
        route = self.files["routes.json"]["resources"][0]["virtual_hosts"][0]["routes"][-1].get("route")
        found = route["weighted_clusters"]["clusters"] if route else []
        return {c["name"]: (c["response_headers_to_add"][0]["header"]["value"], c["weight"]) for c in found}

    def flow(self) -> None:
        """Counts the traffic since the last call."""
        now = time.monotonic()
        requests, self._last = self.cluster.rate * (now - self._last), now
        for name, (version, weight) in self.weights().items():
            how = self.cluster.behaviour(version)
            mine = self.counters.setdefault(name, Counters())
            share = requests * weight / 100
            mine.bad += share * how.error_ratio
            mine.refused += share * how.refused_ratio
            mine.good += share * (1 - how.error_ratio - how.refused_ratio)
            for bound in bounds():
                if bound >= how.milliseconds:
                    mine.buckets[bound] = mine.buckets.get(bound, 0) + share

    def text(self) -> str:
        self.flow()
        if not self.files:
            return ""
        lines = [
            f'envoy_http_rds_version_text{{text_value="{self.files["routes.json"]["version_info"]}"}} 0',
            f'envoy_cluster_manager_cds_version_text{{text_value="{self.files["clusters.json"]["version_info"]}"}} 0',
        ]
        for cluster in self.files["clusters.json"]["resources"]:
            lines += self._cluster_lines(cluster["name"])
        return "\n".join(lines)

    def _cluster_lines(self, name: str) -> list[str]:
        mine = self.counters.get(name, Counters())
        out = []
        for line in (text for text in RECORDED if f'"{TEMPLATE}"' in text):
            head = line.rpartition(" ")[0].replace(TEMPLATE, name)
            if 'envoy_response_code_class="5"' in head:
                good = head.replace('="5"', '="2"')
                refused = head.replace('="5"', '="4"')
                code = f'envoy_cluster_upstream_rq{{envoy_response_code="400",envoy_cluster_name="{name}"}}'
                out += [f"{head} {int(mine.bad)}", f"{good} {int(mine.good)}"]
                out += [f"{refused} {int(mine.refused)}", f"{code} {int(mine.refused)}"]
            elif "_rq_time_bucket" in head:
                bound = float(re.search(r'le="([^"]+)"', head)[1])  # type: ignore[index]
                out.append(f"{head} {int(mine.buckets.get(bound, 0))}")
            elif "membership_healthy" in head:
                out.append(f"{head} {self.cluster.members(name)}")
        return out


def bounds() -> list[float]:
    """Upper bounds of the recorded latency histogram in milliseconds."""
    found = re.findall(rf'rq_time_bucket{{envoy_cluster_name="{TEMPLATE}",le="([^"]+)"}}', "\n".join(RECORDED))
    return [float(b) for b in found]


class Cluster:
    """Runs on a thread for one namespace until it is stopped."""

    def __init__(self, http: httpx.Client, namespace: str) -> None:
        self.http, self.namespace = http, namespace
        self.rate = 0.0
        self.unready_images: set[str] = set()
        """Pods of these do not become ready."""
        self.behaviours: dict[str, Behaviour] = {}
        self.of_pods: dict[str, Behaviour] = {}
        """By the name of a pod, instead of how its version behaves."""
        self.routers: dict[str, FakeRouter] = {}
        self.weight_log: list[tuple[float, dict[str, int]]] = []
        self.error: BaseException | None = None
        self.start_monitor: Callable[[Obj], str] | None = None
        """Runs a monitor for a pod and returns its address; without it a monitor's pod has nothing inside."""
        self._addresses: dict[str, str] = {}
        self.unanswered: list[dict[str, int]] = []
        """The weights by which a router sent requests to a cluster without any member: they got 503."""
        self._members: dict[str, int] = {}
        self._ready_labels: list[Obj] = []
        self._since: dict[str, tuple[bool, str]] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Cluster:
        account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}
        self.http.post(f"/api/v1/namespaces/{self.namespace}/serviceaccounts", json=account)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(10)
        for router in self.routers.values():
            router.stop()
        if self.error is not None:
            raise self.error

    def behaviour(self, version: str) -> Behaviour:
        """How a version's servers behave; may be changed at any time."""
        return self.behaviours.setdefault(version, Behaviour())

    def members(self, name: str) -> int:
        """Ready pods that the Service of that name selects: what its DNS answer has."""
        return self._members.get(name, 0)

    def weights(self) -> dict[str, int]:
        """Version → weight, as the first router pod has it in force."""
        router = next(iter(self.routers.values()), None)
        return dict(router.weights().values()) if router else {}

    def _run(self) -> None:
        try:
            while not self._stop.wait(0.05):
                self._round()
        except BaseException as error:
            self.error = error

    def _list(self, path: str) -> list[Obj]:
        found: list[Obj] = self.http.get(path).raise_for_status().json()["items"]
        return found

    def _round(self) -> None:
        base = f"/apis/apps/v1/namespaces/{self.namespace}/deployments"
        # Those that the operator makes, and their pods: others may live in the namespace.
        found = self._list(f"{base}?labelSelector=app.kubernetes.io/managed-by%3Dtidemill")
        deployments = {d["metadata"]["name"]: d for d in found}
        pods = self._list(f"/api/v1/namespaces/{self.namespace}/pods?labelSelector=test/deployment")
        for pod in pods:
            owner = pod["metadata"]["labels"]["test/deployment"]
            if owner not in deployments:
                self._remove(pod)
        self._ready_labels = []
        for name, deployment in deployments.items():
            mine = [p for p in pods if p["metadata"]["labels"]["test/deployment"] == name]
            self._drive(f"{base}/{name}", deployment, mine)
        self._look_up()
        weights = self.weights()
        if not self.weight_log or self.weight_log[-1][1] != weights:
            self.weight_log.append((time.monotonic(), weights))

    def _look_up(self) -> None:
        """What the cluster's DNS says of each headless Service, and whether a router has a cluster without members."""
        services = self._list(
            f"/api/v1/namespaces/{self.namespace}/services?labelSelector=app.kubernetes.io/managed-by%3Dtidemill"
        )
        selectors = {s["metadata"]["name"]: s["spec"].get("selector") or {} for s in services}
        self._members = {
            name: sum(selector.items() <= labels.items() for labels in self._ready_labels)
            for name, selector in selectors.items()
        }
        for router in self.routers.values():
            used = {name: weight for name, (_, weight) in router.weights().items() if weight > 0}
            if any(self.members(name) == 0 for name in used):
                self.unanswered.append(used)

    def _drive(self, path: str, deployment: Obj, pods: list[Obj]) -> None:
        template = deployment["spec"]["template"]
        mark = str(abs(hash(json.dumps(template, sort_keys=True))))
        wanted = deployment["spec"]["replicas"]
        for pod in pods:
            if pod["metadata"]["labels"]["test/template"] != mark:
                self._remove(pod)
        current = [p for p in pods if p["metadata"]["labels"]["test/template"] == mark]
        for pod in current[wanted:]:
            self._remove(pod)
        missing = wanted - len(current)
        owner = self._replica_set(deployment, template, mark) if missing > 0 else {}
        refused = ""
        for _ in range(missing):
            refused = refused or self._create(deployment, template, mark, owner)
        are_ready = [pod for pod in current[:wanted] if self._update(pod)]
        self._ready_labels += [pod["metadata"]["labels"] for pod in are_ready]
        ready = len(are_ready)
        self._report(path, deployment, len(current[:wanted]), ready, refused)

    def _replica_set(self, deployment: Obj, template: Obj, mark: str) -> Obj:
        """The reference to the ReplicaSet of a template, which is made when it is missing."""
        meta = deployment["metadata"]
        name, path = f"{meta['name']}-{mark[:10]}", f"/apis/apps/v1/namespaces/{self.namespace}/replicasets"
        spec = {"replicas": 0, "selector": deployment["spec"]["selector"], "template": template}
        owners = [_controller("Deployment", meta)]
        body = {"metadata": {"name": name, "ownerReferences": owners}, "spec": spec}
        answer = self.http.post(path, json=body)
        if answer.status_code == 409:
            answer = self.http.get(f"{path}/{name}")
            if answer.json()["metadata"]["ownerReferences"][0]["uid"] != meta["uid"]:
                # Of an earlier Deployment: in a cluster the garbage collector has removed it.
                self.http.request("DELETE", f"{path}/{name}", json={"propagationPolicy": "Background"})
                answer = self.http.post(path, json=body)
        return _controller("ReplicaSet", answer.raise_for_status().json()["metadata"])

    def _create(self, deployment: Obj, template: Obj, mark: str, owner: Obj) -> str:
        """Makes a pod; returns what the API server said when it refused it, as a quota or a LimitRange makes it."""
        name = deployment["metadata"]["name"]
        meta = template["metadata"]
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "generateName": f"{name}-",
                "labels": {**meta["labels"], "test/deployment": name, "test/template": mark},
                "annotations": meta.get("annotations") or {},
                "ownerReferences": [owner],
            },
            "spec": template["spec"],
        }
        answer = self.http.post(f"/api/v1/namespaces/{self.namespace}/pods", json=pod)
        if answer.status_code == 403:
            return str(answer.json()["message"])
        assert answer.is_success, answer.text
        return ""

    def _remove(self, pod: Obj) -> None:
        name = pod["metadata"]["name"]
        self.http.request("DELETE", f"/api/v1/namespaces/{self.namespace}/pods/{name}", json={"gracePeriodSeconds": 0})
        router = self.routers.pop(name, None)
        if router is not None:
            router.stop()

    def _update(self, pod: Obj) -> bool:
        """Brings one pod's status up to date; returns whether it is ready."""
        name, component = pod["metadata"]["name"], pod["metadata"]["labels"]["app.kubernetes.io/component"]
        how = Behaviour()
        if component == "router":
            self._refresh(pod)
        elif component == "server":
            how = self.of_pods.get(name) or self.behaviour(pod["metadata"]["labels"]["tidemill.io/version"])
        elif component == "monitor" and self.start_monitor is not None and name not in self._addresses:
            self._addresses[name] = self.start_monitor(pod)
        if pod["spec"]["containers"][0]["image"] in self.unready_images:
            how = replace(how, ready=False)
        address = self.routers[name].address if name in self.routers else self._addresses.get(name, "127.0.0.1")
        status = _pod_status(component, how, address)
        if not _covers(pod.get("status") or {}, status):
            self._patch(f"/api/v1/namespaces/{self.namespace}/pods/{name}/status", {"status": status})
        return how.ready and how.exit is None and how.waits is None

    def _refresh(self, pod: Obj) -> None:
        """What the kubelet does: a new pod, or a changed annotation, gets the ConfigMap as it is now."""
        name = pod["metadata"]["name"]
        router = self.routers.get(name)
        if router is None:
            router = self.routers[name] = FakeRouter(self, next(_IPS))
        refreshed = (pod["metadata"].get("annotations") or {}).get(REFRESHED, "")
        if refreshed == router.refreshed:
            return
        volume = next(v for v in pod["spec"]["volumes"] if "configMap" in v)
        path = f"/api/v1/namespaces/{self.namespace}/configmaps/{volume['configMap']['name']}"
        data = self.http.get(path).raise_for_status().json()["data"]
        router.flow()
        router.files = {k: json.loads(v) for k, v in data.items()}
        router.refreshed = refreshed

    def _report(self, path: str, deployment: Obj, pods: int, ready: int, refused: str) -> None:
        name = deployment["metadata"]["name"]
        is_available = ready > 0
        since = self._since.get(name)
        if since is None or since[0] != is_available:
            since = self._since[name] = (is_available, datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"))
        status = {
            "observedGeneration": deployment["metadata"]["generation"],
            "replicas": pods,
            "updatedReplicas": pods,
            "readyReplicas": ready,
            "availableReplicas": ready,
            "conditions": [
                {
                    "type": "Available",
                    "status": str(is_available),
                    "reason": "Test",
                    "lastTransitionTime": since[1],
                    "lastUpdateTime": since[1],
                },
                *_replica_failure(refused, since[1]),
            ],
        }
        old = deployment.get("status") or {}
        if any(old.get(k, 0 if isinstance(v, int) else None) != v for k, v in status.items() if k != "conditions") or (
            (old.get("conditions") or [{}])[0].get("status") != str(is_available)
            or (len(old.get("conditions") or ()) > 1) != bool(refused)
        ):
            self._patch(f"{path}/status", {"status": status})

    def _patch(self, path: str, body: Obj) -> None:
        answer = self.http.patch(path, headers=MERGE, content=json.dumps(body))
        assert answer.is_success or answer.status_code in (404, 409), answer.text


def _replica_failure(refused: str, since: str) -> list[Obj]:
    """The condition that a Deployment's controller copies from the ReplicaSet."""
    condition = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": refused}
    return [{**condition, "lastTransitionTime": since, "lastUpdateTime": since}] if refused else []


def _controller(kind: str, meta: Obj) -> Obj:
    return {"apiVersion": "apps/v1", "kind": kind, "name": meta["name"], "uid": meta["uid"], "controller": True}


def _pod_status(component: str, how: Behaviour, address: str) -> Obj:
    ready = how.ready and how.exit is None and how.waits is None
    container: Obj = {"name": component, "ready": ready, "restartCount": 0, "image": "x", "imageID": "x"}
    if how.exit is not None:
        code, message = how.exit
        container["state"] = {"waiting": {"reason": "CrashLoopBackOff"}}
        container["lastState"] = {"terminated": {"exitCode": code, "message": message, "reason": "Error"}}
    elif how.waits is not None:
        container["state"] = {"waiting": dict(zip(("reason", "message"), how.waits, strict=True))}
    else:
        container["state"] = {"running": {}}
    return {
        "phase": "Pending" if how.waits is not None else "Running",
        "podIP": address,
        "podIPs": [{"ip": address}],
        "conditions": [{"type": "Ready", "status": str(ready)}],
        "containerStatuses": [container],
    }


def _covers(live: Obj, wanted: Obj) -> bool:
    """Whether the live status says the same of readiness, address and failure."""
    if live.get("podIP") != wanted["podIP"]:
        return False
    old, new = (live.get("containerStatuses") or [{}])[0], wanted["containerStatuses"][0]
    with contextlib.suppress(KeyError):
        return bool(
            old["ready"] == new["ready"]
            and bool(old.get("lastState", {}).get("terminated")) == bool(new.get("lastState", {}).get("terminated"))
            and old.get("state", {}).get("waiting") == new.get("state", {}).get("waiting")
        )
    return False
