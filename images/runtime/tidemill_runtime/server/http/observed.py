"""Inference over HTTP watched from outside, where traces or the access log are configured."""

from collections.abc import Coroutine
from typing import Any

from tidemill_runtime.model.errors import ServingError
from tidemill_runtime.server.dataplane.dataplane import DataPlane, monotonic
from tidemill_runtime.server.http.inference import Done, Headers, Inference, Protocol, Reply, Result
from tidemill_runtime.server.telemetry.observer import Finished, Observer


class ObservedInference(Inference):
    """Inference over HTTP that reports each request."""

    def __init__(self, plane: DataPlane, observer: Observer) -> None:
        super().__init__(plane)
        self._observer = observer
        self._routes: dict[Protocol, str] = {}
        for path, protocol in self.routes.items():
            self._routes.setdefault(protocol, path)

    def answer(
        self, protocol: Protocol, headers: Headers, body: bytes, done: Done | None = None, client: str | None = None
    ) -> Result:
        """Answer, and report."""
        started = monotonic()

        def reported(reply: Reply) -> None:
            self._report(protocol, headers, len(body), reply, started)
            if done is not None:
                done(reply)

        result = super().answer(protocol, headers, body, None if done is None else reported, client)
        if isinstance(result, Reply):
            self._report(protocol, headers, len(body), result, started)
        elif result is not None:
            return self._answer_later(result, protocol, headers, len(body), started)
        return result

    def refused(self, error: ServingError) -> Reply:
        """Refuse, and report."""
        reply = super().refused(error)
        self._observer.finished(
            Finished("POST", None, reply.status, 0.0, bytes_out=len(reply.body)),
        )
        return reply

    async def _answer_later(
        self, result: Coroutine[Any, Any, Reply], protocol: Protocol, headers: Headers, size: int, started: float
    ) -> Reply:
        reply = await result
        self._report(protocol, headers, size, reply, started)
        return reply

    def _report(self, protocol: Protocol, headers: Headers, size: int, reply: Reply, started: float) -> None:
        seconds = monotonic() - started
        route = self._routes[protocol]
        self._observer.finished(
            Finished("POST", route, reply.status, seconds, headers, size, len(reply.body), reply.rows, reply.request_id)
        )
