"""Data behind https://, plain and as an object store's endpoint, with a certificate authority made here."""

import functools
import http.server
import ssl
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from tests.runtime.conftest import write_secret

from tidemill_contracts.digests import sha256
from tidemill_contracts.training import DataInput
from tidemill_runtime.datasets import sources
from tidemill_runtime.storage.base import StorageError

ROWS = b"a,b\n1,x\n2,y\n"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ca.pem, and server.pem with the key and certificate of 127.0.0.1 that it signed."""
    folder, made = tmp_path_factory.mktemp("ca"), trustme.CA()
    made.cert_pem.write_to_path(folder / "ca.pem")
    made.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(folder / "server.pem")
    return folder


@pytest.fixture
def web(authority: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A web server with one file; gives its URL."""
    monkeypatch.setattr(urllib.request, "_opener", None)  # it may keep what it trusted before
    root = tmp_path / "web"
    root.mkdir()
    (root / "table.csv").write_bytes(ROWS)
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(root))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority / "server.pem")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"https://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def source(url: str) -> DataInput:
    """Return a table of the web server."""
    return DataInput(name="table", uri=f"{url}/table.csv")


def test_a_certificate_of_a_trusted_authority(
    web: str, authority: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority / "ca.pem"))
    fetched = sources.fetch(source(web), tmp_path / "work")
    assert fetched.revision == fetched.digest == sources.resolve(source(web)) == sha256(ROWS)


def test_a_certificate_of_a_stranger_is_refused_at_once(web: str, monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr("time.sleep", slept.append)
    with pytest.raises(StorageError, match="certificate is not trusted here: unable to get local issuer") as caught:
        sources.resolve(source(web))
    assert (caught.value.reason, caught.value.retriable) == ("AccessDenied", False)
    assert slept == []


def test_a_certificate_for_another_host_is_refused(web: str, authority: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority / "ca.pem"))
    with pytest.raises(StorageError, match=r"certificate is not trusted here: .*'localhost'") as caught:
        sources.resolve(source(web.replace("127.0.0.1", "localhost")))
    assert caught.value.reason == "AccessDenied"


STORE = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_REGION": "eu-central-1"}
TABLE = DataInput(name="table", uri="s3://lake/table.csv", secret="lake")


def test_an_object_stores_certificate_is_checked_too(web: str, mounts: Path) -> None:
    write_secret(mounts, "lake", {**STORE, "AWS_ENDPOINT_URL": web})
    with pytest.raises(StorageError, match="certificate is not trusted here: UnknownIssuer") as caught:
        sources.resolve(TABLE)
    assert (caught.value.reason, caught.value.retriable) == ("AccessDenied", False)


def test_an_object_store_that_does_not_answer_is_told_with_the_cause(mounts: Path) -> None:
    write_secret(mounts, "lake", {**STORE, "AWS_ENDPOINT_URL": "http://127.0.0.1:9"})
    with pytest.raises(StorageError, match=r"127\.0\.0\.1:9.*Connection refused") as caught:
        sources.resolve(TABLE)
    assert (caught.value.reason, caught.value.retriable) == ("StorageUnavailable", True)
