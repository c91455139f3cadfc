"""What listens where: every port of every pod that the operator makes, and who may reach it.

The one table of it: both planes, the pods' specs, Services, probes, scraping and NetworkPolicies follow it, and tests
hold the docs to it. A port is one audience, because a NetworkPolicy distinguishes callers by ports and by nothing else.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Caller = Literal["Everybody", "Router", "Servers", "BatchPredictions", "Namespace", "Scrapers", "Operator"]
"""Router, Servers: those of the same ModelDeployment. BatchPredictions: pods labelled so, and Namespace: all pods, of
the same namespace. Scrapers: what reads metrics. The kubelet's probes come from the node and are never refused."""

HTTP_PORT = 8080  # inference, on the server and on the router
GRPC_PORT = 8001  # inference over gRPC, on the server; the router takes it on HTTP_PORT
ADMIN_PORT = 8081  # health and metrics of server and monitor
ROUTER_STATS_PORT = 9901  # health and read-only statistics of the router
MONITOR_PORT = 8080  # what servers report
FEEDBACK_PORT = 8082  # labels, on the monitor
REPORT_PORT = 8083  # what the monitor has computed, for the operator


@dataclass(frozen=True, slots=True)
class Port:
    """One port of a pod."""

    name: str  # of the container's port, and of the Service's where there is one
    number: int
    what: str
    callers: tuple[Caller, ...]


PORTS: Mapping[str, tuple[Port, ...]] = {
    "router": (
        Port("http", HTTP_PORT, "predictions, explanations and feedback, over HTTP and gRPC", ("Everybody",)),
        Port("stats", ROUTER_STATS_PORT, "health and statistics", ("Operator", "Scrapers")),
    ),
    "server": (
        Port("http", HTTP_PORT, "predictions, explanations and feedback", ("Router",)),
        Port("grpc", GRPC_PORT, "predictions over gRPC; not open with `spec.server.grpc: false`", ("Router",)),
        Port("admin", ADMIN_PORT, "health, metrics, form and columns of the served model", ("Scrapers", "Operator")),
    ),
    "monitor": (
        Port(
            "http",
            MONITOR_PORT,
            "records and reference profiles, and feedback that servers pass on",
            ("Servers", "BatchPredictions"),
        ),
        Port("admin", ADMIN_PORT, "health and metrics", ("Scrapers",)),
        Port("feedback", FEEDBACK_PORT, "feedback of those who have labels", ("Namespace",)),
        Port("report", REPORT_PORT, "the report", ("Operator",)),
    ),
    "trainer": (),
    "probe": (),
    "records": (),
    "importer": (),
}
"""By component, which is the label `app.kubernetes.io/component` of its pods."""


def server_ports(*, grpc: bool) -> tuple[Port, ...]:
    """Ports of a server that answers gRPC, or does not."""
    return tuple(port for port in PORTS["server"] if grpc or port.number != GRPC_PORT)
