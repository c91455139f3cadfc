"""Clients that send one request after the other until the server is gone, and remember what was lost."""

import contextlib
import http.client
import json
import threading
import time

from tests.support.serverprocess import ServerProcess, get

BODY = json.dumps({"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP64", "data": [0.5, -1, 0.25, 2]}]})
INFER = "/v2/models/demo/infer"


def drain_under_load(server: ServerProcess) -> None:
    """End a ready server while eight clients ask it all the time, and hold that none of them loses a request."""
    clients = [Client(server) for _ in range(8)]
    for client in clients:
        client.start()
    time.sleep(0.5)
    before = sum(client.answered for client in clients)
    server.terminate()
    time.sleep(0.3)
    assert get(server.admin + "/readyz")[0] == 503
    assert get(server.admin + "/livez")[0] == 200
    assert server.wait() == 0
    for client in clients:
        client.join(10)
    assert [client.lost for client in clients] == [[]] * 8
    assert all(client.closed for client in clients)
    assert sum(client.answered for client in clients) > before > 0


class Client(threading.Thread):
    """Sends requests one after the other over kept connections until a connection is refused."""

    def __init__(self, server: ServerProcess) -> None:
        super().__init__(daemon=True)
        self._server = server
        self.answered = 0
        self.closed = 0
        self.lost: list[str] = []

    def run(self) -> None:
        while not self.lost:
            connection = http.client.HTTPConnection("127.0.0.1", self._server.port, timeout=10)
            try:
                connection.connect()
            except ConnectionRefusedError:
                return
            except OSError as error:
                self.lost.append(f"connect: {error!r}")
                return
            with contextlib.closing(connection):
                self._use(connection)

    def _use(self, connection: http.client.HTTPConnection) -> None:
        while True:
            try:
                connection.request("POST", INFER, BODY)
                reply = connection.getresponse()
                reply.read()
            except (OSError, http.client.HTTPException) as error:
                self.lost.append(repr(error))
                return
            if reply.status != 200:
                self.lost.append(f"status {reply.status}")
                return
            self.answered += 1
            if reply.will_close:
                self.closed += 1
                return
