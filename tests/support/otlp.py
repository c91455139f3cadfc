"""A collector of traces that speaks OTLP over HTTP, and remembers the spans that came."""

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span


class Collector:
    """What came; `resources` holds the attributes of each span's resource."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.resources: list[dict[str, Any]] = []
        self.status = 200
        self.url = ""

    def take(self, path: str, body: bytes) -> int:
        """Take a request; return the status to answer."""
        assert path == "/v1/traces"
        if self.status == 200:
            for group in ExportTraceServiceRequest.FromString(body).resource_spans:
                for scope in group.scope_spans:
                    self.spans += scope.spans
                    self.resources += [values(group.resource.attributes)] * len(scope.spans)
        return self.status


def values(attributes: Any) -> dict[str, Any]:
    """Return attributes as a dictionary."""

    def value(item: KeyValue) -> Any:
        kind = item.value.WhichOneof("value")
        return getattr(item.value, kind) if kind else None

    return {item.key: value(item) for item in attributes}


@contextmanager
def running() -> Iterator[Collector]:
    """Give a collector that listens at `url`."""
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            body = gzip.decompress(body) if self.headers.get("content-encoding") == "gzip" else body
            self.send_response(collector.take(self.path, body))
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    collector.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield collector
    finally:
        server.shutdown()
        server.server_close()
