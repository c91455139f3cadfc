"""What tests need compiled is not compiled by tests: they name the command that does it."""

from pathlib import Path

import pytest
from hack.bench.serving import environments, generator
from tests.support import publicclients, s3


@pytest.fixture(autouse=True)
def nothing_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def made(*_: object) -> None:
        raise AssertionError("a test compiles or installs something")

    monkeypatch.setenv("TIDEMILL_CACHE", str(tmp_path))
    monkeypatch.setattr(generator, "_build", made)
    monkeypatch.setattr(s3, "_build", made)
    monkeypatch.setattr(environments, "_run", made)


def test_the_s3_server(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"the S3 server is not there .*: run `make test-programs` first"):
        s3.binary()
    with pytest.raises(RuntimeError, match="make test-programs"), s3.running(tmp_path / "s3"):
        pass


def test_public_clients() -> None:
    with pytest.raises(RuntimeError, match=r"of tritonclient is not there .*: run `make test-programs` first"):
        publicclients.run("tritonclient", "triton.py", {})
