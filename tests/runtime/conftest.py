"""What the data plane's tests share: a mount root, and an S3 server started once."""

import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.support import s3

from tidemill_contracts.revisions import code_digest
from tidemill_contracts.training import (
    TERMINATION_MESSAGE_LIMIT,
    Code,
    DataInput,
    Failure,
    TrainerConfig,
    TrainingResult,
)
from tidemill_runtime import artifacts, redaction
from tidemill_runtime.artifacts import Version
from tidemill_runtime.trainer import entry as process

if TYPE_CHECKING:
    from tests.support.servinglog import FakeMonitor
    from tests.support.versions import Published


@pytest.fixture(scope="session", autouse=True)
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder for temporary files of the tests and of the processes that they start; nothing is left in /tmp."""
    folder = tmp_path_factory.mktemp("scratch")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(folder))
        patch.setattr(tempfile, "tempdir", str(folder))
        yield folder


@pytest.fixture(scope="session", autouse=True)
def loopback_allowed() -> Iterator[None]:
    """Stores of the tests listen on this machine: the administrator's setting allows that, as it would elsewhere."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TIDEMILL_ALLOWED_NETWORKS", "127.0.0.0/8,::1/128")
        yield


@pytest.fixture(autouse=True)
def credentials_of_one_test() -> Iterator[None]:
    """A process takes the values of its Secrets out of all texts for good; here the next test is another process."""
    yield
    redaction._known.clear()
    redaction._sorted.cache_clear()
    redaction._look.signature = ()


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


Data = str | tuple[DataInput, ...]


@dataclass(frozen=True)
class Trained:
    """What a run of the trainer's process left."""

    exit_code: int
    result: TrainingResult
    log: str

    @property
    def failure(self) -> Failure:
        """Return the failure of a failed run."""
        assert self.result.failure is not None, self.result
        return self.result.failure

    def open(self) -> Version:
        """Return the published version, verified."""
        assert self.result.uri is not None
        assert self.result.digest is not None
        return artifacts.open_version(self.result.uri, self.result.digest)


class Trainer:
    """Runs the trainer's process function here, as a pod would: configuration in, termination message out."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.root = root
        self._monkeypatch = monkeypatch
        self._capsys = capsys
        self._runs = 0

    def config(
        self, text: str, data: Data = "builtin://iris", target: str | None = "target", **more: Any
    ) -> TrainerConfig:
        """Return the configuration of a run of some code, mounted as a ConfigMap would be; `files`: beside train.py."""
        self._runs += 1
        folder = self.root / f"code-{self._runs}"
        folder.mkdir()
        files = {"train.py": text, **more.pop("files", {})}
        for name, content in files.items():
            (folder / name).write_text(content)
        digest = code_digest({name: content.encode() for name, content in files.items()})
        how = {"command": more.pop("command")} if "command" in more else {"entrypoint": "train:train"}
        fields: dict[str, Any] = {
            "namespace": "team-a",
            "pipeline": "churn",
            "run": f"churn-{self._runs}",
            "data": (DataInput(name="table", uri=data),) if isinstance(data, str) else data,
            "target": target,
            "code": Code(digest=digest, directory=str(folder), **how),
            "image": "trainer@sha256:0",
            "store": "pvc://store/churn",
        }
        return TrainerConfig(**{**fields, **more})

    def run(self, config: TrainerConfig) -> Trained:
        """Run and return what it left."""
        message = self.root / "termination-log"
        message.unlink(missing_ok=True)
        self._monkeypatch.setenv("TIDEMILL_TERMINATION_LOG", str(message))
        self.set_config(config)
        self._monkeypatch.setattr("tidemill_runtime.trainer.report.shutdown.install", lambda: None)
        path, modules = list(sys.path), set(sys.modules)
        try:
            code = process.train()
        finally:
            sys.path[:] = path
            for file in self.root.glob("code-*/*.py"):
                if file.stem not in modules:
                    sys.modules.pop(file.stem, None)
        content = message.read_bytes()
        assert len(content) <= TERMINATION_MESSAGE_LIMIT
        return Trained(code, TrainingResult.model_validate_json(content), self._capsys.readouterr().out)

    def set_config(self, config: TrainerConfig) -> None:
        """Hand the configuration over."""
        self._monkeypatch.setenv("TIDEMILL_TRAINER_CONFIG", config.to_json())

    def __call__(self, text: str, data: Data = "builtin://iris", target: str | None = "target", **more: Any) -> Trained:
        """Run some code on some data."""
        return self.run(self.config(text, data, target, **more))

    def table(self, text: str, name: str = "table.csv") -> str:
        """Put a file on the claim `data` and return its URI."""
        path = self.root / "mnt" / "pvc" / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return f"pvc://data/{name}"


@pytest.fixture
def trainer(
    mounts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Trainer:
    """The trainer's process on an empty claim."""
    return Trainer(tmp_path, monkeypatch, capsys)


@pytest.fixture(scope="module")
def numbers(tmp_path_factory: pytest.TempPathFactory) -> "Published":
    """A version whose inputs are a matrix of numbers."""
    from tests.support import versions  # with all converters: files that publish nothing do not wait for them

    return versions.numbers(tmp_path_factory.mktemp("numbers"))


@pytest.fixture
async def monitor() -> AsyncIterator["FakeMonitor"]:
    """Something that takes prediction records as a monitor does."""
    from tests.support.servinglog import FakeMonitor

    async with FakeMonitor().running() as running:
        yield running
