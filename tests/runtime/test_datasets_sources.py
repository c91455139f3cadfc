"""Where data is, and that its revision changes exactly when it may have changed."""

import contextlib
import functools
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest
from tests.runtime.conftest import write_secret
from tests.support.s3 import S3Server

from tidemill_contracts.digests import sha256
from tidemill_contracts.revisions import value_revision
from tidemill_contracts.training import DataInput
from tidemill_runtime.datasets import sources, tables
from tidemill_runtime.datasets.errors import DataError
from tidemill_runtime.storage.base import StorageError

ROWS = b"a,b\n1,x\n2,y\n"


def source(uri: str, **more: object) -> DataInput:
    return DataInput.model_validate({"name": "table", "uri": uri, **more})


@pytest.fixture
def claim(mounts: Path) -> Path:
    folder = mounts / "pvc" / "data"
    folder.mkdir()
    return folder


def test_a_files_revision_is_the_digest_of_its_content(claim: Path, tmp_path: Path) -> None:
    (claim / "t.csv").write_bytes(ROWS)
    fetched = sources.fetch(source("pvc://data/t.csv"), tmp_path / "work")
    assert fetched.revision == fetched.digest == sources.resolve(source("pvc://data/t.csv")) == sha256(ROWS)
    assert [(name, path.read_bytes()) for name, path in fetched.files] == [("t.csv", ROWS)]


def test_a_configmaps_revision_is_the_one_the_operator_computes(mounts: Path) -> None:
    folder = mounts / "configmap" / "table"
    folder.mkdir(parents=True)
    (folder / "t.csv").write_bytes(ROWS)
    assert sources.resolve(source("configmap://table/t.csv")) == value_revision(ROWS)
    with pytest.raises(DataError, match=r"no such key at configmap://table/u\.csv"):
        sources.resolve(source("configmap://table/u.csv"))


def test_a_folder_is_its_parts_in_name_order(claim: Path, tmp_path: Path) -> None:
    (claim / "parts").mkdir()
    for name, rows in (("b.csv", "a\n3\n"), ("a.csv", "a\n1\n2\n"), ("_SUCCESS", ""), ("notes.md", "read me")):
        (claim / "parts" / name).write_text(rows)
    table = source("pvc://data/parts")
    revision = sources.resolve(table)
    fetched = sources.fetch(table, tmp_path / "work")
    assert fetched.revision == revision
    assert tables.read(table, fetched)["a"].tolist() == [1, 2, 3]
    (claim / "parts" / "notes.md").write_text("changed")
    assert sources.resolve(table) == revision
    (claim / "parts" / "b.csv").write_text("a\n4\n")
    assert sources.resolve(table) != revision


def test_a_partitioned_folder_is_refused_rather_than_read_without_its_column(claim: Path) -> None:
    (claim / "plan=a").mkdir()
    (claim / "plan=a" / "t.csv").write_bytes(ROWS)
    with pytest.raises(DataError, match=r"partitioned by folder names \(plan=a/t\.csv\)"):
        sources.resolve(source("pvc://data"))


def test_a_folder_without_data_lists_what_is_there(claim: Path) -> None:
    (claim / "readme.md").write_text("x")
    (claim / "picture.png").write_text("x")
    with pytest.raises(DataError, match=r"no file at pvc://data ends like Auto data .* found picture\.png, readme\.md"):
        sources.resolve(source("pvc://data"))


@pytest.mark.parametrize("name", ["iris", "wine", "breast-cancer", "digits", "diabetes"])
def test_bundled_data_needs_no_network(name: str, tmp_path: Path) -> None:
    bundled = source(f"builtin://{name}")
    fetched = sources.fetch(bundled, tmp_path)
    assert fetched.revision == sources.resolve(bundled)
    table = tables.read(bundled, fetched)
    assert table.columns[-1] == "target"
    assert len(table) > 100


def test_a_bundled_set_that_there_is_not() -> None:
    with pytest.raises(DataError, match="expected one of breast-cancer, diabetes, digits, iris, wine"):
        sources.resolve(source("builtin://boston"))


class TestS3:
    """A real S3 server."""

    def test_a_prefix_is_the_digest_of_keys_tags_and_sizes(
        self, bucket: str, s3_server: S3Server, tmp_path: Path
    ) -> None:
        client = s3_server.client()
        table = source(f"s3://{bucket}/lake/", secret="lake")
        client.put_object(Bucket=bucket, Key="lake/2.csv", Body=b"a,b\n3,z\n")
        client.put_object(Bucket=bucket, Key="lake/1.csv", Body=ROWS)
        revision = sources.resolve(table)
        fetched = sources.fetch(table, tmp_path)
        assert fetched.revision == revision != fetched.digest
        assert tables.read(table, fetched)["b"].tolist() == ["x", "y", "z"]
        client.put_object(Bucket=bucket, Key="elsewhere/3.csv", Body=ROWS)
        assert sources.resolve(table) == revision
        client.put_object(Bucket=bucket, Key="lake/3.csv", Body=ROWS)
        assert sources.resolve(table) != revision

    def test_one_object(self, bucket: str, s3_server: S3Server, tmp_path: Path) -> None:
        s3_server.client().put_object(Bucket=bucket, Key="lake/t.csv", Body=ROWS)
        table = source(f"s3://{bucket}/lake/t.csv", secret="lake")
        fetched = sources.fetch(table, tmp_path)
        assert fetched.digest == sha256(ROWS)
        assert fetched.revision == sources.resolve(table)

    def test_a_listing_of_several_pages(self, bucket: str, s3_server: S3Server) -> None:
        client = s3_server.client()
        for number in range(1002):  # a page holds 1,000
            (s3_server.folder / bucket / f"{number:04d}.csv").write_bytes(b"a\n1\n")
        table = source(f"s3://{bucket}", secret="lake")
        revision = sources.resolve(table)
        client.put_object(Bucket=bucket, Key="1001.csv", Body=b"a\n2\n")
        assert sources.resolve(table) != revision
        for file in (s3_server.folder / bucket).glob("*.csv"):
            file.unlink()

    def test_nothing_there(self, bucket: str) -> None:
        with pytest.raises(DataError, match="there is no file and no folder with files at s3://"):
            sources.resolve(source(f"s3://{bucket}/nothing", secret="lake"))


class Handler(http.server.SimpleHTTPRequestHandler):
    """Files, redirects, a file behind a password, one broken off, one that works at the second try."""

    tries = 0
    seen: ClassVar[list[tuple[str, str | None]]] = []  # path and authorization of every request

    def do_GET(self) -> None:
        type(self).seen.append((self.path, self.headers.get("Authorization")))
        if self.path.startswith("/to?"):
            self.send_response(302)
            self.send_header("Location", self.path.partition("?")[2])
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif self.path == "/secret.csv" and self.headers.get("Authorization") != "Bearer letmein":
            self.send_error(401)
        elif self.path == "/flaky.csv" and type(self).tries == 0:
            type(self).tries += 1
            self.send_error(503)
        elif self.path == "/short.csv":
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(ROWS)
        else:
            super().do_GET()

    def log_message(self, format: str, *args: object) -> None: ...


@pytest.fixture
def web(tmp_path: Path) -> Iterator[str]:
    """A web server over a folder with the files of `Handler`."""
    root = tmp_path / "web"
    root.mkdir()
    for name in ("open.csv", "secret.csv", "flaky.csv"):
        (root / name).write_bytes(ROWS)
    Handler.tries = 0
    with web_server(Handler, root) as url:
        yield url


@contextlib.contextmanager
def web_server(handler: type[http.server.SimpleHTTPRequestHandler], root: Path) -> Iterator[str]:
    """Serve a folder; gives the URL."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(handler, directory=str(root)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class TestHttp:
    """A real web server."""

    def test_a_file(self, web: str, mounts: Path, tmp_path: Path) -> None:
        table = source(f"{web}/open.csv?version=2")
        fetched = sources.fetch(table, tmp_path / "work")
        assert fetched.revision == fetched.digest == sources.resolve(table) == sha256(ROWS)
        assert tables.read(table, fetched)["a"].tolist() == [1, 2]

    def test_the_secrets_authorization_is_sent(self, web: str, mounts: Path) -> None:
        with pytest.raises(StorageError, match="answers 401") as caught:
            sources.resolve(source(f"{web}/secret.csv"))
        assert (caught.value.reason, caught.value.retriable) == ("AccessDenied", False)
        write_secret(mounts, "web", {"AUTHORIZATION": "Bearer letmein"})
        assert sources.resolve(source(f"{web}/secret.csv", secret="web")) == sha256(ROWS)

    def test_the_secret_stays_with_the_url_that_it_is_for(self, web: str, mounts: Path, tmp_path: Path) -> None:
        class Elsewhere(Handler):
            seen: ClassVar[list[tuple[str, str | None]]] = []

        write_secret(mounts, "web", {"AUTHORIZATION": "Bearer letmein"})
        Handler.seen.clear()
        with web_server(Elsewhere, tmp_path / "web") as other:
            assert sources.resolve(source(f"{web}/to?{other}/open.csv", secret="web")) == sha256(ROWS)
            with pytest.raises(StorageError, match="it redirects, and the Secret's AUTHORIZATION is not sent on"):
                sources.resolve(source(f"{web}/to?/secret.csv", secret="web"))
        assert Elsewhere.seen == [("/open.csv", None)]
        assert [authorization for _, authorization in Handler.seen] == ["Bearer letmein", "Bearer letmein", None]

    def test_a_missing_file_is_final_and_a_busy_server_is_not(self, web: str, mounts: Path) -> None:
        with pytest.raises(StorageError, match="answers 404") as caught:
            sources.resolve(source(f"{web}/absent.csv"))
        assert caught.value.reason == "NotFound"
        assert sources.resolve(source(f"{web}/flaky.csv")) == sha256(ROWS)

    def test_a_body_that_breaks_off_is_not_taken_for_whole(self, web: str, mounts: Path, tmp_path: Path) -> None:
        with pytest.raises(StorageError, match="broken off after 12") as caught:
            sources.fetch(source(f"{web}/short.csv"), tmp_path / "work")
        assert (caught.value.reason, caught.value.retriable) == ("StorageUnavailable", True)

    def test_nobody_listens(self, mounts: Path) -> None:
        with pytest.raises(StorageError, match=r"cannot read http://127\.0\.0\.1:9/x") as caught:
            sources.resolve(source("http://127.0.0.1:9/x"))
        assert caught.value.retriable
