"""Metrics of the API client, under the names that client-go gives them, so that stock dashboards work."""

from __future__ import annotations

from prometheus_client import Counter

REQUESTS = Counter(
    "rest_client_requests_total",
    "Number of requests to the API server, by status code (or `error` if there was no response), method and host.",
    ["code", "method", "host"],
)
