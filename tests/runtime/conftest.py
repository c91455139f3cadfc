"""What the data plane's tests share: a mount root, and an S3 server started once."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support import s3


@pytest.fixture
def mounts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that stands for /mnt, with an empty claim `store`."""
    root = tmp_path / "mnt"
    (root / "pvc" / "store").mkdir(parents=True)
    monkeypatch.setenv("TIDEMILL_MOUNT_ROOT", str(root))
    return root


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[s3.S3Server]:
    """A real S3 server with its own folder."""
    with s3.running(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture
def bucket(s3_server: s3.S3Server, mounts: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """An empty bucket of one test; the mounted Secret `lake` opens it."""
    write_secret(mounts, "lake", s3_server.secret)
    name = f"b{abs(hash(request.node.nodeid)):x}"
    client = s3_server.client()
    client.create_bucket(Bucket=name)
    yield name
    for entry in client.list_objects_v2(Bucket=name).get("Contents", []):
        client.delete_object(Bucket=name, Key=entry["Key"])
    client.delete_bucket(Bucket=name)


def write_secret(mounts: Path, name: str, values: dict[str, str]) -> None:
    """Mount a Secret."""
    folder = mounts / "secret" / name
    folder.mkdir(parents=True, exist_ok=True)
    for key, value in values.items():
        (folder / key).write_text(value + "\n")
