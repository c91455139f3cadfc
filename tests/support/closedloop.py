"""Clients that send one request after the other until the server is gone, and remember what was lost."""

import contextlib
import http.client
import json
import threading

from tests.support.serverprocess import ServerProcess

BODY = json.dumps({"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP64", "data": [0.5, -1, 0.25, 2]}]})
INFER = "/v2/models/demo/infer"


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
