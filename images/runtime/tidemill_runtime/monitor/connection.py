"""One HTTP connection of the monitor: as strict as a server's, for a bounded time, and so many of each port.

Callers are not distinguished by address here: who holds connections open would otherwise keep out probes and servers.
"""

import asyncio
from typing import Any, Final

from tidemill_runtime.network.http_heads import StrictHeads

REQUEST_SECONDS: Final = 30.0  # within which a request is whole, as at a server
MAX_CONNECTIONS: Final = 256  # of one port


class Gate:
    """The connections of each port, oldest first. Used from one event loop."""

    def __init__(self, *, most: int = MAX_CONNECTIONS, request_seconds: float = REQUEST_SECONDS) -> None:
        """Set how many connections a port has, and how long a request may take to arrive."""
        self.request_seconds = request_seconds
        self._most = most
        self._ports: dict[Any, dict[MonitorConnection, None]] = {}

    def enter(self, port: Any, connection: "MonitorConnection") -> None:
        """Add a connection; where there are too many, end the oldest that is not being answered, or else the oldest."""
        present = self._ports.setdefault(port, {})
        present[connection] = None
        if len(present) > self._most:
            victim = next((one for one in present if not one.is_answering), next(iter(present)))
            del present[victim]
            victim.transport.abort()

    def leave(self, port: Any, connection: "MonitorConnection") -> None:
        """Forget a connection."""
        self._ports.get(port, {}).pop(connection, None)


class MonitorConnection(StrictHeads):
    """See the module. One a connection; made by uvicorn."""

    gate: Gate  # of the subclass that `of` makes
    _deadline: asyncio.TimerHandle | None = None

    @classmethod
    def of(cls, gate: Gate) -> type["MonitorConnection"]:
        """Return a class of connections behind one gate."""
        return cls.sharing(gate=gate)

    @property
    def is_answering(self) -> bool:
        """Whether a whole request waits for its answer."""
        return not self._is_open and self.cycle is not None and not self.cycle.response_complete

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Take a connection; its first request has as long as any."""
        super().connection_made(transport)
        self.gate.enter(self.server and self.server[1], self)
        self._watch()

    def data_received(self, data: bytes) -> None:
        """Parse; what is no whole request, blank lines too, has its time."""
        super().data_received(data)
        if not self.is_answering:
            self._watch()

    def on_message_complete(self) -> None:
        """Answer; from now on the time is the monitor's own."""
        self._unwatch()
        super().on_message_complete()

    def _watch(self) -> None:
        if self._deadline is None and not self.transport.is_closing():
            self._deadline = self.loop.call_later(self.gate.request_seconds, self._give_up)

    def _unwatch(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _give_up(self) -> None:
        self._deadline = None
        if self._is_open:
            self.refuse(408, f"the request did not arrive within {self.gate.request_seconds:g} s")
        elif not self.is_answering:
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Free what the connection held."""
        self.gate.leave(self.server and self.server[1], self)
        self._unwatch()
        super().connection_lost(exc)
        self._unset_keepalive_if_required()  # uvicorn keeps it when the connection broke
