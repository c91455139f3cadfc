"""Where URIs may lead: addresses by any spelling, redirects, names that change their mind; HTTP and object stores."""

from __future__ import annotations

import http.server
import io
import socket
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import Message
from pathlib import Path
from typing import Any

import pytest
from tests.runtime.conftest import write_secret

from tidemill_contracts.storage import parse_uri
from tidemill_contracts.training import DataInput
from tidemill_runtime.datasets import sources, web
from tidemill_runtime.datasets.errors import DataError
from tidemill_runtime.network import addresses, proxy
from tidemill_runtime.network.addresses import RefusedError
from tidemill_runtime.storage import base, folders, objects
from tidemill_runtime.storage.base import StorageError

STORE = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_REGION": "eu-central-1"}


class Server:
    """A server on one loopback address: paths with an answer, and what was asked."""

    def __init__(self, address: str) -> None:
        self.asked: list[str] = []
        self.redirects: dict[str, str] = {}
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked.append(self.path)
                target = outer.redirects.get(self.path)
                self.send_response(307 if target else 200)
                if target:
                    self.send_header("Location", target)
                body = b"" if target else b"a,b\n1,2\n"
                self.send_header("Content-Length", str(len(body)))
                self.send_header("Last-Modified", "Wed, 21 Oct 2015 07:28:00 GMT")
                self.send_header("ETag", '"e"')
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            do_HEAD = do_GET  # noqa: N815

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self.http = http.server.ThreadingHTTPServer((address, 0), Handler)
        self.http.daemon_threads = True
        self.port = self.http.server_address[1]
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def url(self, path: str = "/data.csv", host: str | None = None) -> str:
        return f"http://{host or self.http.server_address[0]}:{self.port}{path}"


@contextmanager
def running(address: str) -> Iterator[Server]:
    server = Server(address)
    try:
        yield server
    finally:
        server.http.shutdown()
        server.http.server_close()


@pytest.fixture
def lake() -> Iterator[Server]:
    """What an administrator allows in these tests."""
    with running("127.0.0.1") as server:
        yield server


@pytest.fixture
def forbidden() -> Iterator[Server]:
    """What nobody allows: the pod's own neighbour."""
    with running("127.0.0.2") as server:
        yield server


@pytest.fixture(autouse=True)
def one_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIDEMILL_ALLOWED_NETWORKS", "127.0.0.1/32")
    monkeypatch.delenv("TIDEMILL_REFUSED_NETWORKS", raising=False)


@pytest.fixture
def default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TIDEMILL_ALLOWED_NETWORKS")


def resolve(uri: str, secret: str | None = None) -> str:
    return sources.resolve(DataInput(name="table", uri=uri, secret=secret))


REFUSED = [
    "127.0.0.1",
    "127.255.0.3",
    "2130706433",  # 127.0.0.1 as one number,
    "0x7f000001",  # in hexadecimal,
    "017700000001",  # in octal,
    "0177.0.0.1",  # in parts,
    "127.1",  # and short
    "localhost",
    "0.0.0.0",
    "0",
    "169.254.169.254",
    "0xa9fea9fe",
    "169.254.170.2",
    "100.100.100.200",
    "168.63.129.16",
    "224.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "0:0:0:0:0:0:0:1",
    "::ffff:127.0.0.1",
    "::ffff:a9fe:a9fe",
    "::127.0.0.1",
    "64:ff9b::169.254.169.254",
    "64:ff9b:1::169.254.169.254",
    "::ffff:0:127.0.0.1",
    "2002:7f00:1::",
    "fe80::1",
    "fd00:ec2::254",
    "ff02::1",
]


@pytest.mark.usefixtures("default")
@pytest.mark.parametrize("host", REFUSED)
def test_no_spelling_of_a_refused_address_is_dialled(host: str) -> None:
    with pytest.raises(RefusedError, match="TIDEMILL_ALLOWED_NETWORKS"):
        addresses.addresses(host, 80)
    with pytest.raises(StorageError) as caught:
        resolve(f"http://{f'[{host}]' if ':' in host else host}:1/x.csv")
    assert (caught.value.reason, caught.value.retriable) == ("AddressRefused", False)


@pytest.mark.usefixtures("default")
@pytest.mark.parametrize(
    "host", ["10.0.0.1", "172.16.3.4", "192.168.1.1", "100.64.0.1", "8.8.8.8", "fd12::1", "2001:db8::1"]
)
def test_stores_inside_the_cluster_and_outside_are_reachable(host: str) -> None:
    assert addresses.addresses(host, 443)[0][1][0] == host


def test_an_administrator_says_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIDEMILL_REFUSED_NETWORKS", "0.0.0.0/0, ::/0")
    monkeypatch.setenv("TIDEMILL_ALLOWED_NETWORKS", "10.1.0.0/16,fd12::/64")
    assert addresses.addresses("10.1.2.3", 1) and addresses.addresses("fd12::5", 1)
    for host in ("10.2.0.1", "8.8.8.8", "fd13::1", "::ffff:8.8.8.8"):
        with pytest.raises(RefusedError):
            addresses.addresses(host, 1)
    monkeypatch.setenv("TIDEMILL_ALLOWED_NETWORKS", "everything")
    with pytest.raises(ValueError, match="TIDEMILL_ALLOWED_NETWORKS: 'everything'"):
        addresses.addresses("10.1.2.3", 1)


class Names:
    """A name server whose answers change: each call takes the next, the last one stays."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *answers: str) -> None:
        self.answers = list(answers)
        self.asked = 0
        real = socket.getaddrinfo

        def getaddrinfo(host: str, port: int, *rest: Any, **more: Any) -> Any:
            if host != "store.example":
                return real(host, port, *rest, **more)
            self.asked += 1
            answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
            return real(answer, port, *rest, **more)

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


def test_the_address_that_was_checked_is_the_one_that_is_dialled(
    lake: Server, forbidden: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = Names(monkeypatch, "127.0.0.1", "127.0.0.2")
    assert resolve(lake.url(host="store.example")).startswith("sha256:")
    assert names.asked == 1, "a second look might have found another address"
    with pytest.raises(StorageError) as caught:
        resolve(forbidden.url(host="store.example"))
    assert caught.value.reason == "AddressRefused" and forbidden.asked == []


def test_a_redirect_is_checked_like_the_uri_itself(lake: Server, forbidden: Server) -> None:
    lake.redirects = {"/far": lake.url(), "/near": forbidden.url(), "/name": forbidden.url(host="2130706434")}
    assert resolve(lake.url("/far")) == resolve(lake.url())
    for path in ("/near", "/name"):
        with pytest.raises(StorageError) as caught:
            resolve(lake.url(path))
        assert (caught.value.reason, caught.value.retriable) == ("AddressRefused", False)
    assert forbidden.asked == []


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1/x", "gopher://127.0.0.1/x", "data:,x"])
def test_a_redirect_to_another_scheme_is_not_followed(lake: Server, target: str) -> None:
    lake.redirects = {"/x": target}
    with pytest.raises(StorageError) as caught:
        resolve(lake.url("/x"))
    assert (caught.value.reason, caught.value.retriable) == ("AddressRefused", False)
    assert lake.asked == ["/x"]


@pytest.mark.parametrize(
    "target", ["http://user:pw@127.0.0.1/", "http://a:b:c/", "http://[bad/", "http://[::ffff:127.1]/"]
)
def test_a_redirect_to_what_is_no_address_is_refused_without_its_password(lake: Server, target: str) -> None:
    lake.redirects = {"/x": target}
    with pytest.raises(StorageError) as caught:
        resolve(lake.url("/x"))
    assert (caught.value.reason, caught.value.retriable) == ("AddressRefused", False)
    assert "pw" not in str(caught.value) and lake.asked == ["/x"]


@pytest.mark.parametrize(
    "uri",
    [
        "http://[::ffff:127.1]/x",
        "http://127.0.0.1%00.example.com/x",
        "http://user:pw@127.0.0.1/x",
        "pvc://../secret/lake/s.csv",
        "file:///etc/passwd",
    ],
)
def test_a_uri_that_leads_nowhere_is_a_fault_of_the_data(mounts: Path, uri: str) -> None:
    (mounts / "secret" / "lake").mkdir(parents=True)
    (mounts / "secret" / "lake" / "s.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DataError) as caught:
        resolve(uri)
    assert caught.value.reason == "InvalidUri"
    assert "pw" not in str(caught.value)


def test_what_is_encrypted_stays_so() -> None:
    headers = Message()
    headers["Location"] = "http://store.example/x"
    request = urllib.request.Request("https://store.example/x")
    with pytest.raises(StorageError, match="redirects to another scheme") as caught:
        web._Redirects().http_error_302(request, io.BytesIO(), 302, "Found", headers)
    assert caught.value.reason == "AddressRefused"


def test_a_store_on_a_refused_address_is_refused_at_once(mounts: Path, forbidden: Server) -> None:
    write_secret(mounts, "lake", {**STORE, "AWS_ENDPOINT_URL": forbidden.url("")})
    with pytest.raises(StorageError) as caught:
        resolve("s3://bucket/data.csv", "lake")
    assert (caught.value.reason, caught.value.retriable) == ("AddressRefused", False)
    assert forbidden.asked == []


def test_a_store_that_redirects_leads_nowhere_else(mounts: Path, lake: Server, forbidden: Server) -> None:
    write_secret(mounts, "lake", {**STORE, "AWS_ENDPOINT_URL": lake.url("")})
    assert base.read(folders.open_folder("s3://bucket", "lake"), "data.csv") == b"a,b\n1,2\n"
    lake.redirects = {"/bucket/data.csv": forbidden.url("/latest/meta-data")}
    with pytest.raises(StorageError, match="redirects to another one without TLS") as caught:
        base.read(folders.open_folder("s3://bucket", "lake"), "data.csv")
    assert (caught.value.reason, caught.value.retriable) == ("AddressRefused", False)
    assert forbidden.asked == []


def test_a_stores_name_that_changes_its_mind_leads_nowhere_else(
    mounts: Path, forbidden: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    Names(monkeypatch, "127.0.0.1", "127.0.0.2")
    write_secret(mounts, "lake", {**STORE, "AWS_ENDPOINT_URL": forbidden.url("", host="store.example")})
    folder = folders.open_folder("s3://bucket", "lake")  # the first look is of a good address
    with pytest.raises(StorageError) as caught:
        base.read(folder, "data.csv")
    assert caught.value.reason == "AddressRefused" and forbidden.asked == []


def test_a_store_outside_is_reached_by_the_administrators_proxy(
    mounts: Path, lake: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", lake.url(""))
    monkeypatch.setenv("NO_PROXY", "localhost,.svc")
    write_secret(mounts, "lake", {**STORE, "AWS_ENDPOINT_URL": "http://store.example"})
    assert base.read(folders.open_folder("s3://bucket", "lake"), "data.csv") == b"a,b\n1,2\n"
    assert set(lake.asked) == {"http://store.example/bucket/data.csv"}


def test_a_store_that_needs_no_proxy_is_dialled_at_a_checked_address(
    mounts: Path, lake: Server, forbidden: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,127.0.0.2")
    write_secret(mounts, "lake", {**STORE, "AWS_ENDPOINT_URL": lake.url("")})
    assert base.read(folders.open_folder("s3://bucket", "lake"), "data.csv") == b"a,b\n1,2\n"
    lake.redirects = {"/bucket/data.csv": forbidden.url("/latest/meta-data")}
    with pytest.raises(StorageError, match="redirects to another one without TLS"):
        base.read(folders.open_folder("s3://bucket", "lake"), "data.csv")
    assert forbidden.asked == []


def test_a_store_behind_the_proxy_leads_to_no_exception_of_it(
    mounts: Path, lake: Server, forbidden: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The library would dial an exception by itself, and nobody would have looked at its address."""
    monkeypatch.setenv("HTTP_PROXY", lake.url(""))
    monkeypatch.setenv("NO_PROXY", "127.0.0.2")
    write_secret(mounts, "lake", {**STORE, "AWS_ENDPOINT_URL": "http://store.example"})
    lake.redirects = {"http://store.example/bucket/data.csv": forbidden.url("/latest/meta-data")}
    base.read(folders.open_folder("s3://bucket", "lake"), "data.csv")
    assert forbidden.url("/latest/meta-data") in lake.asked and forbidden.asked == []


@pytest.mark.parametrize(
    ("uri", "secret", "exception"),
    [
        ("s3://bucket", {**STORE}, "s3.eu-central-1.amazonaws.com"),
        ("gs://bucket", {}, ".googleapis.com"),
        ("az://container", {"AZURE_STORAGE_ACCOUNT_NAME": "acme"}, "acme.blob.core.windows.net"),
    ],
)
def test_the_clouds_own_endpoints_may_be_exceptions(
    uri: str, secret: dict[str, str], exception: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    parsed = parse_uri(uri)
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    assert objects._proxy(parsed, secret, "") == "http://proxy.example:3128"
    monkeypatch.setenv("NO_PROXY", f".svc,{exception}")
    assert objects._proxy(parsed, secret, "") is None


@pytest.mark.usefixtures("default")
def test_credentials_are_not_fetched_from_the_metadata_service(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(StorageError, match=r"169\.254\.169\.254 is an address of") as caught:
        base.read(folders.open_folder("s3://bucket"), "data.csv")
    assert caught.value.reason == "AddressRefused"


def test_the_guard_serves_nobody_without_a_ticket(lake: Server) -> None:
    port = int(proxy.Ticket(is_plain_allowed=True).url().rpartition(":")[2])
    for request in (f"GET {lake.url()} HTTP/1.1", f"CONNECT 127.0.0.1:{lake.port} HTTP/1.1"):
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            connection.sendall(f"{request}\r\nProxy-Authorization: Basic dGlja2V0Ong=\r\n\r\n".encode())
            assert connection.recv(4096).startswith(b"HTTP/1.1 407 ")
    assert lake.asked == []
