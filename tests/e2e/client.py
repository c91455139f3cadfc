"""A client inside the cluster, driven through `kubectl exec`: single requests byte for byte, or a steady stream.

It goes the way that every client goes (DNS, Service, router, server), and shows what `kubectl get --raw` hides: the
status, headers and body of a refusal, and which version answered when.
"""

import base64
import json
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from hack.images.inputs import image_name
from hack.tools.kubectl import Kubectl, wait_for
from tests.e2e import incluster

IDLE = ["python", "-c", "import signal; signal.signal(signal.SIGTERM, lambda *_: exit(0)); signal.pause()"]

# Reads {"host", "requests": [{"method", "path", "body" (base64), "repeat", "chunked"}]}, prints one JSON line for each.
# Sends and reads at the same time: a server that refuses a body early does not wait for its end.
ASK = """
import asyncio, base64, http.client, io, json, sys

async def send(writer, body, chunked):
    try:
        for at in range(0, len(body), 65536):
            part = body[at : at + 65536]
            writer.write(b"%x\\r\\n%b\\r\\n" % (len(part), part) if chunked else part)
            await writer.drain()
        writer.write(b"0\\r\\n\\r\\n" if chunked else b"")
        await writer.drain()
    except ConnectionError:
        pass

async def ask(host, request):
    body = base64.b64decode(request["body"]) * request["repeat"]
    reader, writer = await asyncio.open_connection(host, 80)
    length = "transfer-encoding: chunked" if request["chunked"] else f"content-length: {len(body)}"
    head = [f"{request['method']} {request['path']} HTTP/1.1", f"host: {host}", "connection: close", length, "", ""]
    writer.write("\\r\\n".join(head).encode())
    sending = asyncio.create_task(send(writer, body, request["chunked"]))
    answer = b""
    try:
        while part := await asyncio.wait_for(reader.read(65536), 60):
            answer += part
    except ConnectionError:
        pass
    sending.cancel()
    writer.close()
    socket = type("Socket", (), {"makefile": lambda self, mode: io.BytesIO(answer)})()
    reply = http.client.HTTPResponse(socket)
    reply.begin()
    return {"status": reply.status, "headers": dict(reply.getheaders()), "body": reply.read().decode()}

async def main():
    asked = json.load(sys.stdin)
    for request in asked["requests"]:
        print(json.dumps(await ask(asked["host"], request)), flush=True)

asyncio.run(main())
"""

# Reads {"url", "body", "rate"} as one line, asks until its input ends, prints one JSON line for each answer.
STREAM = """
import asyncio, json, sys, time
import aiohttp

async def ask(session, asked):
    try:
        async with session.post(asked["url"], json=asked["body"]) as reply:
            text = await reply.text()
            line = {"status": reply.status, "version": reply.headers.get("x-tidemill-version"), "error": ""}
            line["error"] = "" if reply.status == 200 else text[:300]
    except Exception as error:
        line = {"status": 0, "version": None, "error": f"{type(error).__name__} {error}"[:300]}
    print(json.dumps(line), flush=True)

async def main():
    asked = json.loads(sys.stdin.readline())
    ended = asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    pending, next_at = set(), time.monotonic()
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)) as session:
        while not ended.done():
            task = asyncio.create_task(ask(session, asked))
            pending.add(task)
            task.add_done_callback(pending.discard)
            next_at = max(next_at + 1 / asked["rate"], time.monotonic() - 1)
            await asyncio.sleep(max(0, next_at - time.monotonic()))
        await asyncio.gather(*pending)

asyncio.run(main())
"""


@dataclass(frozen=True)
class Request:
    """One request; `body` is sent `repeat` times, so that a huge one costs nothing on the way to the pod."""

    path: str
    body: bytes = b""
    method: str = "POST"
    repeat: int = 1
    chunked: bool = False


@dataclass(frozen=True)
class Reply:
    """One reply."""

    status: int
    headers: dict[str, str]
    body: str

    @property
    def json(self) -> Any:
        """The body, decoded."""
        return json.loads(self.body)


@dataclass
class Stream:
    """What a steady stream has seen: (time on the test's monotonic clock, status, version, error)."""

    answers: list[tuple[float, int, str | None, str]] = field(default_factory=list)

    def failed(self) -> list[str]:
        """Return what went wrong."""
        return [f"{status} {error}" for _, status, _, error in list(self.answers) if status != 200]

    def last_of(self, version: str) -> float:
        """Return when a version answered last; 0 when it never did."""
        return max((at for at, _, by, _ in list(self.answers) if by == version), default=0.0)

    def since(self, moment: float) -> list[str | None]:
        """Return which version gave each answer after a moment."""
        return [by for at, _, by, _ in list(self.answers) if at > moment]


@dataclass(frozen=True)
class Client:
    """A pod that asks deployments of its namespace."""

    kubectl: Kubectl
    name: str = "client"

    def start(self) -> "Client":
        """Create the pod and wait until it is there; it has the server's image, which has an HTTP client."""
        container = incluster.container("client", IDLE, image=image_name("server"))
        self.kubectl.apply(incluster.pod(self.name, container))
        self.kubectl.run("wait", "--for=condition=Ready", f"pod/{self.name}", "--timeout=90s")
        return self

    def ask(self, deployment: str, requests: list[Request]) -> list[Reply]:
        """Send requests one after the other and return the replies."""
        written = [{**vars(r), "body": base64.b64encode(r.body).decode()} for r in requests]
        asked = json.dumps({"host": self.host(deployment), "requests": written})
        text = self.kubectl.run("exec", "-i", self.name, "--", "python", "-c", ASK, stdin=asked)
        return [Reply(**json.loads(line)) for line in text.splitlines()]

    def post(self, deployment: str, path: str, body: Any) -> Reply:
        """Post one JSON body."""
        return self.ask(deployment, [Request(path, json.dumps(body).encode())])[0]

    @contextmanager
    def streaming(self, deployment: str, body: Any, rate: float = 20) -> Iterator[Stream]:
        """Ask for V1 predictions at a steady rate until the end of the block; every answer is waited for."""
        url = f"http://{self.host(deployment)}/v1/models/{deployment}:predict"
        command = self.kubectl.command("exec", "-i", self.name, "--", "python", "-c", STREAM)
        stream = Stream()
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            lines = process.stdout

            def read() -> None:
                for line in lines:
                    answer = json.loads(line)
                    stream.answers.append((time.monotonic(), answer["status"], answer["version"], answer["error"]))

            reader = threading.Thread(target=read, daemon=True)
            reader.start()
            try:
                process.stdin.write(json.dumps({"url": url, "body": body, "rate": rate}) + "\n")
                process.stdin.flush()
                wait_for("the stream's first answer", lambda: stream.answers, 30)
                yield stream
            finally:
                process.stdin.close()
                reader.join(45)
                process.terminate()
                reader.join(5)

    def host(self, deployment: str) -> str:
        """Return the address that the deployment's status names."""
        return f"{deployment}.{self.kubectl.namespace}.svc"
