"""Data sets from end to end: what is read, what is written and when, what is reported, and how the process ends."""

import asyncio
import contextlib
import fcntl
import json
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
import yaml
from pyarrow import parquet as pq
from tests.runtime.conftest import write_secret
from tests.runtime.test_batch_answers import mixed_rows
from tests.runtime.test_monitor_process import Process as MonitorProcess
from tests.support import interrupted, monitoring, scored, versions
from tests.support.s3 import S3Server
from tests.support.servinglog import FakeMonitor
from tests.support.versions import Published

from tidemill_runtime.batch import cli, parquet, scoring_job
from tidemill_runtime.batch.predictor import Predictor, ResultOptions
from tidemill_runtime.batch.progress import Progress
from tidemill_runtime.batch.scoring_job import METADATA_KEY, Task
from tidemill_runtime.model.errors import PredictError
from tidemill_runtime.storage import base
from tidemill_runtime.storage.base import Folder, StorageError

SAMPLES = Path(__file__).parents[2] / "manifests" / "samples"
BAD = {4: "lila", 23: "gelb", 24: "gelb"}  # row → a category that training did not see

PLAIN = ResultOptions()


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Published:
    return versions.mixed(tmp_path_factory.mktemp("strict"), handle_unknown="error")


@pytest.fixture(scope="module")
def predictor(strict: Published) -> Predictor:
    return Predictor.open(strict.config(), 1)


def good_rows(rows: int = 60) -> pa.Table:
    table = mixed_rows(rows)
    words = ["rot" if word == "lila" else word for word in table.column("farbe").to_pylist()]
    return table.set_column(2, "farbe", pa.array(words))


def bad_rows() -> pa.Table:
    table = good_rows()
    words = [BAD.get(row, word) for row, word in enumerate(table.column("farbe").to_pylist())]
    return table.set_column(2, "farbe", pa.array(words))


def summary(path: Path | pq.ParquetFile) -> dict[str, object]:
    metadata = pq.read_metadata(path).metadata
    return dict(json.loads(metadata[METADATA_KEY.encode()]))


def score(
    predictor: Predictor, source: str, output: str, options: ResultOptions = PLAIN, **more: object
) -> scoring_job.Summary:
    task = Task(source, output, options, **{"chunk_rows": 16, **more})  # type: ignore[arg-type]
    return scoring_job.run(predictor, task, 2)


class TestErrors:
    def test_a_refused_row_fails_the_run_and_is_named(self, strict: Published, tmp_path: Path) -> None:
        path, output = scored.write(tmp_path / "in.parquet", bad_rows()), tmp_path / "out.parquet"

        run = scored.command(tmp_path, strict, "--input", path, "--output", str(output), "--chunk-rows", "16")

        assert run.code == 42
        assert run.message == (
            f"DataInvalid: file://{path}: row 4: column 'farbe' takes 'blau', 'grün', 'rot', got 'lila'"
        )
        assert "Traceback" not in run.log
        assert list(tmp_path.glob("*out*")) + list(tmp_path.glob(".*")) == []

    def test_null_keeps_every_row_and_says_why(self, predictor: Predictor, tmp_path: Path) -> None:
        path, output = scored.write(tmp_path / "in.parquet", bad_rows()), tmp_path / "out.parquet"

        done = score(predictor, path, str(output), ResultOptions(on_error="null"))

        table = pq.read_table(output)
        errors = table.column("error").to_pylist()
        assert {row for row, error in enumerate(errors) if error} == set(BAD)
        assert errors[23] == "column 'farbe' takes 'blau', 'grün', 'rot', got 'gelb'"
        assert [row for row, label in enumerate(table.column("label").to_pylist()) if label is None] == sorted(BAD)
        assert table.column("probability_ja").null_count == 3
        assert (done.rows, done.refused, done.written) == (60, 3, 60)
        whole = score(predictor, scored.write(tmp_path / "g.parquet", good_rows()), str(tmp_path / "g-out.parquet"))
        good = pq.read_table(tmp_path / "g-out.parquet").column("label").to_pylist()
        assert [x for i, x in enumerate(table.column("label").to_pylist()) if i not in BAD] == [
            x for i, x in enumerate(good) if i not in BAD
        ]
        assert whole.refused == 0

    def test_skip_leaves_rows_out_and_counts_them(
        self, predictor: Predictor, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        path, output = scored.write(tmp_path / "in.parquet", bad_rows()), tmp_path / "out.parquet"

        done = score(predictor, path, str(output), ResultOptions(on_error="skip"))

        rows = [int(one.rpartition("/")[2]) for one in pq.read_table(output).column("prediction_id").to_pylist()]
        assert rows == [row for row in range(60) if row not in BAD]
        assert "error" not in pq.read_schema(output).names
        assert (done.rows, done.refused, done.written) == (60, 3, 57)
        assert [r.message for r in caplog.records if "row 23 has no answer" in r.message]

    def test_a_fault_of_the_model_is_a_refused_row(
        self, predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        real = predictor.warm.model.predict

        def broken(frame):  # type: ignore[no-untyped-def]
            if (frame.column(1) == 7).any():
                raise ZeroDivisionError("seven")
            return real(frame)

        monkeypatch.setattr(predictor.warm.model, "predict", broken)
        found = predictor.table(good_rows(), ResultOptions(on_error="null")).table
        sevens = [age == 7 for age in found.column("alter").to_pylist()]
        errors = found.column("error").to_pylist()
        assert any(sevens) and [bool(error) for error in errors] == sevens
        assert set(errors) == {None, "the model failed: ZeroDivisionError: seven"}

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (["--input", "x"], "ConfigInvalid: the following arguments are required: --output"),
            (
                ["--input", "x", "--output", "y"],
                "ConfigInvalid: --output must name a file that ends in .parquet or .pq",
            ),
            (["--input", "nowhere.parquet", "--output", "y.parquet"], "DataNotFound: "),
            (["--input", "ftp://h/x", "--output", "y.parquet"], "ConfigInvalid: unsupported URI 'ftp://h/x'"),
            (["--input", "[z-a].parquet", "--output", "y.parquet"], "ConfigInvalid: file:///"),
            (["--input", "x", "--output", "y.parquet", "--on-error", "stop"], "invalid choice: 'stop'"),
            (["--input", "x", "--output", "y.parquet", "--chunk-rows", "0"], "0 is not at least 1"),
            (["--input", "x", "--output", "y.parquet", "--uri", "pvc://a/b"], "--uri and --digest belong together"),
            (["--input", "x", "--output", "y.parquet", "--log"], "--log needs --log-url"),
        ],
    )
    def test_what_cannot_be_done_is_said_before_anything_is_read(
        self, strict: Published, tmp_path: Path, arguments: list[str], said: str
    ) -> None:
        run = scored.command(tmp_path, strict, *arguments)
        assert run.code == 42 and said in run.message

    @pytest.mark.parametrize(
        ("argument", "said"),
        [
            (
                "predict",
                "predict is no command of the server any more: run `python -m tidemill_runtime.batch` with the same "
                "flags in the trainer image (docs/batch-prediction.md)",
            ),
            ("score", "unknown arguments 'score': expected none"),
        ],
    )
    def test_the_server_says_where_its_command_went(self, tmp_path: Path, argument: str, said: str) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "tidemill_runtime.server", argument],
            env={**os.environ, "TIDEMILL_TERMINATION_LOG": str(tmp_path / "log")},
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 42
        assert (tmp_path / "log").read_text() == f"ConfigInvalid: {said}"

    def test_broken_and_other_files_are_named(self, predictor: Predictor, tmp_path: Path) -> None:
        (tmp_path / "in.parquet").write_bytes(b"a,b\n1,2\n" * 100)
        with pytest.raises(PredictError, match=r"in\.parquet: .*Parquet"):
            score(predictor, str(tmp_path / "in.parquet"), str(tmp_path / "out.parquet"))

        path = Path(scored.write(tmp_path / "cut.parquet", good_rows(6000), row_group_size=500))
        content = bytearray(path.read_bytes())
        content[2000:9000] = b"\0" * 7000
        path.write_bytes(content)
        with pytest.raises(PredictError, match=r"cut\.parquet: "):
            score(predictor, str(path), str(tmp_path / "out.parquet"))
        assert not list(tmp_path.glob("*out*"))


class TestData:
    def test_a_folder_a_pattern_and_a_file(self, predictor: Predictor, tmp_path: Path) -> None:
        table = good_rows(50)
        for name, part in (("2026/b", table.slice(20)), ("2026/a", table.slice(0, 20)), ("2025/a", table)):
            scored.write(tmp_path / "in" / f"{name}.parquet", part)
        (tmp_path / "in" / "_SUCCESS").write_text("")
        output = tmp_path / "out.parquet"
        for source, rows in (
            (f"file://{tmp_path}/in/2026", 50),
            (f"{tmp_path}/in", 100),
            (f"{tmp_path}/in/*/a.parquet", 70),
            (f"{tmp_path}/in/**/?.parquet", 100),
            (f"{tmp_path}/in/202[6-9]/b.*", 30),
            (f"{tmp_path}/in/202[!6]/*", 50),
            (f"{tmp_path}/in/2026/b.parquet", 30),
        ):
            assert score(predictor, source, str(output)).rows == rows, source
        score(predictor, f"{tmp_path}/in/2026", str(output))
        found = pq.read_table(output)
        assert found.select(table.column_names).equals(table)  # in the order of names, then rows
        with pytest.raises(PredictError, match="no file matches"):
            score(predictor, f"{tmp_path}/in/*.csv", str(output))

    def test_the_output_is_none_of_the_inputs(self, predictor: Predictor, tmp_path: Path) -> None:
        """A run would write over its data, or the same run again would score what the one before it has written."""
        path = scored.write(tmp_path / "in" / "a.parquet", good_rows(5))
        before = Path(path).read_bytes()
        for given in (path, str(tmp_path / "in"), f"{tmp_path}/*/*.parquet"):
            with pytest.raises(PredictError, match=r"^ConfigInvalid: --output is a file that --input names: file:///"):
                score(predictor, given, path, ResultOptions(columns=()))
        assert Path(path).read_bytes() == before

    def test_what_came_of_a_run_stands_in_the_file(
        self, strict: Published, predictor: Predictor, tmp_path: Path
    ) -> None:
        path, output = scored.write(tmp_path / "in.parquet", good_rows()), tmp_path / "out.parquet"

        score(predictor, path, str(output))

        found = summary(output)
        assert found["digest"] == strict.digest and found["version"] == "demo-7" and found["uri"] == strict.uri
        assert found["input"] == path and str(found["input_revision"]).startswith("sha256:")
        assert (found["rows"], found["written"], found["refused"], found["files"]) == (60, 60, 0, 1)
        assert found["runtime"] == "onnxruntime_onnx" and found["tidemill"] and found["finished"]

    def test_a_run_again_gives_the_same_rows_with_the_same_ids(self, predictor: Predictor, tmp_path: Path) -> None:
        path, output = scored.write(tmp_path / "in.parquet", good_rows()), tmp_path / "out.parquet"
        score(predictor, path, str(output))
        first = pq.read_table(output)
        score(predictor, path, str(output), chunk_rows=7)
        assert pq.read_table(output).equals(first)
        ids = first.column("prediction_id").to_pylist()
        assert len(set(ids)) == 60 and ids[59].endswith("/59")
        scored.write(tmp_path / "in.parquet", good_rows().slice(1))
        score(predictor, path, str(output))
        assert not set(ids) & set(pq.read_table(output).column("prediction_id").to_pylist())

    def test_own_ids_chosen_columns_and_outputs(self, predictor: Predictor, tmp_path: Path) -> None:
        table = good_rows().append_column("nummer", pa.array(range(1000, 1060)))
        path, output = scored.write(tmp_path / "in.parquet", table), tmp_path / "out.parquet"

        score(predictor, path, str(output), ResultOptions((), ("label", "probability_ja"), "nummer"))

        found = pq.read_table(output)
        assert found.column_names == ["label", "probability_ja", "prediction_id"]
        assert found.column("prediction_id").to_pylist() == [str(n) for n in range(1000, 1060)]

    def test_columns_of_later_files_must_be_those_of_the_first(self, predictor: Predictor, tmp_path: Path) -> None:
        table = good_rows()
        scored.write(tmp_path / "in" / "a.parquet", table)
        scored.write(
            tmp_path / "in" / "b.parquet", table.set_column(1, "alter", table.column("alter").cast(pa.int32()))
        )
        assert score(predictor, str(tmp_path / "in"), str(tmp_path / "out.parquet")).rows == 120
        scored.write(tmp_path / "in" / "c.parquet", table.drop_columns("größe"))
        with pytest.raises(PredictError, match=r"c\.parquet: missing columns: 'größe'"):
            score(predictor, str(tmp_path / "in"), str(tmp_path / "out.parquet"))

    def test_memory_holds_a_few_chunks_only(self, predictor: Predictor, tmp_path: Path) -> None:
        small = scored.write(tmp_path / "small.parquet", good_rows(20_000), 20_000)
        large = scored.write(tmp_path / "large.parquet", good_rows(400_000), 400_000)
        peaks = []
        for path in (small, large):
            pool = pa.default_memory_pool()
            before = pool.bytes_allocated()
            highest = [0]
            progress = Progress()
            advance = progress.advance

            def looked(rows: int, share: float, highest: list[int] = highest, advance=advance, before=before) -> None:  # type: ignore[no-untyped-def]
                highest[0] = max(highest[0], pa.default_memory_pool().bytes_allocated() - before)
                advance(rows, share)

            progress.advance = looked  # type: ignore[method-assign]
            task = Task(path, str(tmp_path / "out.parquet"), chunk_rows=2000)
            assert scoring_job.run(predictor, task, 2, progress).rows in (20_000, 400_000)
            peaks.append(highest[0])
        assert peaks[1] < 3 * peaks[0] + 2_000_000


class TestObjectStores:
    def test_from_bucket_to_bucket(
        self,
        predictor: Predictor,
        bucket: str,
        s3_server: S3Server,
        tmp_path: Path,
        mounts: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        fetched: list[str] = []
        download = base.download

        def noting(folder: Folder, key: str, destination: Path) -> str:
            fetched.append(key)
            return download(folder, key, destination)

        monkeypatch.setattr(base, "download", noting)
        write_secret(mounts, "lake", s3_server.secret)
        client = s3_server.client()
        for name in ("a", "b"):
            client.upload_file(scored.write(tmp_path / f"{name}.parquet", good_rows()), bucket, f"in/{name}.parquet")
        output = f"s3://{bucket}/out/scores.parquet"

        done = score(predictor, f"s3://{bucket}/in/", output, input_secret="lake", output_secret="lake")

        client.download_file(bucket, "out/scores.parquet", str(tmp_path / "scores.parquet"))
        assert done.rows == pq.read_table(tmp_path / "scores.parquet").num_rows == 120
        assert summary(tmp_path / "scores.parquet")["input"] == f"s3://{bucket}/in/"
        assert fetched == ["a.parquet", "b.parquet"], "each file once"

    def test_a_failed_run_leaves_the_object_of_the_run_before(
        self, predictor: Predictor, bucket: str, s3_server: S3Server, tmp_path: Path, mounts: Path
    ) -> None:
        write_secret(mounts, "lake", s3_server.secret)
        output = f"s3://{bucket}/scores.parquet"
        good = scored.write(tmp_path / "good.parquet", good_rows())
        score(predictor, good, output, output_secret="lake")
        before = s3_server.client().head_object(Bucket=bucket, Key="scores.parquet")["ETag"]

        with pytest.raises(PredictError, match="DataInvalid"):
            score(predictor, scored.write(tmp_path / "bad.parquet", bad_rows()), output, output_secret="lake")

        listed = s3_server.client().list_objects_v2(Bucket=bucket)["Contents"]
        assert [(one["Key"], one["ETag"]) for one in listed] == [("scores.parquet", before)]

    def test_a_store_that_refuses_says_what_to_do(
        self, predictor: Predictor, bucket: str, s3_server: S3Server, tmp_path: Path, mounts: Path
    ) -> None:
        write_secret(mounts, "wrong", {**s3_server.secret, "AWS_SECRET_ACCESS_KEY": "no"})
        path = scored.write(tmp_path / "in.parquet", good_rows())
        with pytest.raises(StorageError) as refused:
            score(predictor, path, f"s3://{bucket}/out.parquet", output_secret="wrong")
        assert (refused.value.reason, refused.value.retriable) == ("AccessDenied", False)


class TestEnds:
    def test_stopped_by_a_signal_it_leaves_nothing_and_is_no_success(self, strict: Published, tmp_path: Path) -> None:
        path, output = scored.write(tmp_path / "in.parquet", good_rows(400_000), 100_000), tmp_path / "out.parquet"
        arguments = ("--input", path, "--output", str(output), "--chunk-rows", "50")
        process = scored.start(tmp_path, strict, *arguments)
        partial = tmp_path / ".out.parquet.partial"
        deadline = time.monotonic() + 60
        while not (partial.exists() and partial.stat().st_size > 10_000):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.01)
        started = time.monotonic()
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=30)

        assert process.returncode == cli.EXIT_TERMINATED
        assert time.monotonic() - started < 10
        assert "stopped by a signal: nothing was written" in log and "Traceback" not in log
        assert sorted(p.name for p in tmp_path.iterdir()) == ["in.parquet", "tmp"]
        assert not list((tmp_path / "tmp").glob("tidemill-*"))

    @pytest.mark.parametrize("what_follows", interrupted.WHAT_FOLLOWS)
    def test_stopped_while_it_loads_it_ends_whatever_is_interrupted(self, what_follows: str) -> None:
        imports = "from tidemill_runtime.batch import cli\nfrom tidemill_runtime.loading import server_config"
        call = "cli.run(['--input', 'in.parquet', '--output', 'out.parquet'])"
        code = interrupted.program(imports, call, what_follows)
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode, done.stdout) == (cli.EXIT_TERMINATED, "")
        assert done.stderr == "stopped by a signal: nothing was written\n"

    def test_what_a_killed_run_left_is_written_anew(self, predictor: Predictor, tmp_path: Path) -> None:
        path, output = scored.write(tmp_path / "in.parquet", good_rows()), tmp_path / "out.parquet"
        partial = tmp_path / ".out.parquet.partial"
        partial.write_bytes(b"PAR1" * 1_000_000)

        score(predictor, path, str(output))

        assert pq.read_table(output).num_rows == 60 and not partial.exists()

    def test_two_runs_never_write_one_file_together(self, predictor: Predictor, tmp_path: Path) -> None:
        path, output = scored.write(tmp_path / "in.parquet", good_rows()), tmp_path / "out.parquet"
        with (tmp_path / ".out.parquet.partial").open("wb") as other:
            fcntl.flock(other, fcntl.LOCK_EX)
            with pytest.raises(StorageError, match="another process does") as busy:
                score(predictor, path, str(output))
        assert busy.value.retriable and not output.exists()

    def test_input_that_changes_meanwhile_is_no_input(
        self, predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path, output = scored.write(tmp_path / "in.parquet", good_rows()), tmp_path / "out.parquet"
        real = parquet.chunks

        def changing(*arguments):  # type: ignore[no-untyped-def]
            os.utime(path, (1, 1))
            yield from real(*arguments)

        monkeypatch.setattr(parquet, "chunks", changing)
        with pytest.raises(PredictError, match="changed while it was read") as changed:
            score(predictor, path, str(output))
        assert changed.value.exit_code == 1 and not output.exists()

    def test_success_is_reported_to_the_kubelet(self, strict: Published, tmp_path: Path) -> None:
        path, output = scored.write(tmp_path / "in.parquet", good_rows()), tmp_path / "out.parquet"
        flags = ("--uri", strict.uri, "--digest", strict.digest, "--version", "demo-7", "--runtime", "Native")
        run = scored.command(tmp_path, None, "--input", path, "--output", str(output), *flags)
        assert run.code == 0, run.log
        assert run.message.startswith("60 rows in ") and run.message.endswith(f": {output}")
        assert summary(output)["runtime"] == "sklearn"


class TestProgress:
    def test_lines_every_ten_seconds_where_nobody_watches(
        self, predictor: Predictor, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        seconds = iter(range(0, 1000, 3))
        caplog.set_level("INFO")
        path = scored.write(tmp_path / "in.parquet", good_rows())
        progress = Progress(clock=lambda: float(next(seconds)))

        task = Task(path, str(tmp_path / "out.parquet"), chunk_rows=5)
        scoring_job.run(predictor, task, 1, progress)

        lines = [r.message for r in caplog.records if r.name.endswith("progress")]
        assert len(lines) == 3  # 12 looks, 3 s apart
        assert "rows/s" in lines[0] and lines[0].startswith("20 rows, ") and " 33 %, about " in lines[0]

    def test_a_bar_on_a_terminal(self, strict: Published, tmp_path: Path) -> None:
        path = scored.write(tmp_path / "in.parquet", good_rows(5000), 1000)
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 120, 0, 0))
        variables = {**os.environ, "TIDEMILL_SERVER_CONFIG": strict.config().to_json(), "TMPDIR": str(tmp_path)}
        line = [sys.executable, "-m", "tidemill_runtime.batch", "--input", path, "--chunk-rows", "100"]
        process = subprocess.Popen([*line, "--output", str(tmp_path / "out.parquet")], env=variables, stderr=theirs)
        os.close(theirs)
        shown = b""
        with contextlib.suppress(OSError):  # the terminal of a process that ended
            while piece := os.read(ours, 65536):
                shown += piece
        os.close(ours)
        assert process.wait(60) == 0
        assert b"100%|" in shown and b"5,000 rows" in shown


@pytest.fixture
def monitor() -> Iterator[FakeMonitor]:
    """A monitor on an event loop of its own: a run waits for it on the test's thread."""
    fake, loop, stop = FakeMonitor(), asyncio.new_event_loop(), asyncio.Event()
    ready = threading.Event()

    async def serve() -> None:
        async with fake.running():
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    assert ready.wait(30)
    yield fake
    loop.call_soon_threadsafe(stop.set)
    thread.join(30)
    loop.close()


class TestLog:
    def test_every_answered_row_is_reported_under_its_id(
        self, predictor: Predictor, monitor: FakeMonitor, tmp_path: Path
    ) -> None:
        path, output = scored.write(tmp_path / "in.parquet", bad_rows()), tmp_path / "out.parquet"

        done = score(predictor, path, str(output), ResultOptions(on_error="null"), log_url=monitor.url)

        table = pq.read_table(output)
        wanted = [row for row in range(60) if row not in BAD]
        batches = monitor.batches()
        ids = [one for batch in batches for one in batch.ids]
        assert ids == [table.column("prediction_id")[row].as_py() for row in wanted]
        reported = [value for batch in batches for value in batch.predictions]
        assert reported == [table.column("label")[row].as_py() for row in wanted]
        colors = [value for batch in batches for value in batch.columns["farbe"]]
        assert colors == [table.column("farbe")[row].as_py() for row in wanted]
        assert done.logged == 57 and batches[0].scores is not None and not batches[0].latencies

    def test_a_run_again_reports_under_the_same_batch_ids(
        self, predictor: Predictor, monitor: FakeMonitor, tmp_path: Path
    ) -> None:
        path, output = scored.write(tmp_path / "in.parquet", good_rows()), str(tmp_path / "out.parquet")
        for _ in range(2):
            score(predictor, path, output, log_url=monitor.url)
        batches = [batch.batch_id for batch in monitor.batches()]
        half = len(batches) // 2
        assert half > 1 and batches[:half] == batches[half:] and len(set(batches)) == half

    def test_the_real_monitor_counts_each_row_once_however_often_it_is_reported(
        self, predictor: Predictor, tmp_path: Path
    ) -> None:
        path, output = scored.write(tmp_path / "in.parquet", good_rows()), str(tmp_path / "out.parquet")
        real = MonitorProcess(monitoring.config(tmp_path, deployment="demo"))
        try:
            real.wait_ready()
            for _ in range(2):
                assert score(predictor, path, output, log_url=real.url).logged == 60
            (version,) = real.report().versions
        finally:
            real.close()
        assert (version.digest, version.rows, version.dropped) == (predictor.config.digest, 60, 0)

    def test_rows_of_long_texts_go_in_batches_that_the_monitor_takes(
        self, predictor: Predictor, monitor: FakeMonitor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("tidemill_runtime.batch.prediction_log.MAX_BATCH_BYTES", 900)
        path, output = scored.write(tmp_path / "in.parquet", good_rows()), tmp_path / "out.parquet"

        done = score(predictor, path, str(output), log_url=monitor.url)

        batches = monitor.batches()
        ids = pq.read_table(output).column("prediction_id").to_pylist()
        assert [one for batch in batches for one in batch.ids] == ids and done.logged == 60
        assert len({batch.batch_id for batch in batches}) == len(batches)
        assert max(len(batch.ids) for batch in batches) < 16, "a chunk fits into one batch: nothing was halved"

    def test_a_slow_monitor_is_waited_for_and_a_share_is_a_share(
        self, predictor: Predictor, monitor: FakeMonitor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("tidemill_runtime.batch.prediction_log._FIRST_WAIT_SECONDS", 0.01)
        answers = iter([503, 404, 503])
        monitor.answer = lambda path: (next(answers, 202), {})
        path = scored.write(tmp_path / "in.parquet", good_rows(600))

        done = score(predictor, path, str(tmp_path / "out.parquet"), log_url=monitor.url, log_ratio=0.25)

        kept = {one for batch in monitor.batches() for one in batch.ids}
        assert 90 <= len(kept) <= 210 and done.logged == len(kept)

    def test_without_the_monitor_the_run_gives_up_and_may_be_tried_again(
        self, predictor: Predictor, tmp_path: Path
    ) -> None:
        path, output = scored.write(tmp_path / "in.parquet", good_rows()), tmp_path / "out.parquet"
        with pytest.raises(PredictError, match="MonitorUnavailable") as away:
            score(predictor, path, str(output), log_url="http://127.0.0.1:9", log_timeout_seconds=0.1)
        assert away.value.exit_code == 1 and not output.exists()


@pytest.mark.parametrize("sample", sorted(SAMPLES.glob("job-predict-*.yaml")), ids=lambda p: p.name)
def test_a_sample_job_does_what_it_says(
    sample: Path, mounts: Path, tmp_path: Path, s3_server: S3Server, monitor: FakeMonitor
) -> None:
    """The very arguments, with this test's version, on claims and buckets of the names that they have."""
    (job,) = yaml.safe_load_all(sample.read_text())
    spec = job["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    assert container["command"] == ["python", "-m", "tidemill_runtime.batch"]
    assert container["image"].startswith("tidemill.io/trainer:")
    places = {mount["mountPath"] for mount in container["volumeMounts"]}
    published = versions.mixed(tmp_path / "store")
    table = good_rows().append_column("customer", pa.array([f"c-{i}" for i in range(60)]))
    given = dict(a.removeprefix("--").split("=", 1) for a in container["args"])
    given |= {"uri": published.uri, "digest": published.digest}
    if "log-url" in given:
        given["log-url"] = monitor.url
    if given["input"].startswith("pvc://"):
        claim = mounts / "pvc" / "lake"
        assert "/mnt/pvc/lake" in places
        scored.write(claim / "customers" / "a.parquet", table)
        result = claim / "scores" / "churn.parquet"
    else:
        assert "/mnt/secret/lake" in places
        write_secret(mounts, "lake", s3_server.secret)
        client = s3_server.client()
        for bucket in ("lake", "scores"):
            client.create_bucket(Bucket=bucket)
        local = scored.write(tmp_path / "a.parquet", table)
        client.upload_file(local, "lake", "customers/2026-11/part-1.parquet")
        client.upload_file(local, "lake", "customers/2025-11/part-1.parquet")
        result = tmp_path / "scores.parquet"

    arguments = [f"--{name}={value}" for name, value in given.items()]
    run = scored.command(tmp_path / "run", None, *arguments, TIDEMILL_MOUNT_ROOT=str(mounts))

    assert run.code == 0, run.log
    if not result.is_relative_to(mounts):
        s3_server.client().download_file("scores", "churn/2026.parquet", str(result))
        assert len([one for batch in monitor.batches() for one in batch.ids]) < 60
    found = pq.read_table(result)
    assert found.num_rows == 60 and found.column("label").null_count == 0
    if "id-column" in given:
        assert found.column("prediction_id").to_pylist() == found.column("customer").to_pylist()
