"""One data set scored into one file: chunk by chunk, several at once, in order; the file's metadata says what was done.

Chunks are predicted in as many threads as there are CPUs, and at most one more than that is held, so memory does not
grow with the data. A run leaves its whole result or nothing; run again, it gives the same rows with the same ids.
"""

import json
import logging
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import parquet as pq

from tidemill_runtime.batch import parquet
from tidemill_runtime.batch.parquet import Inputs, Writer
from tidemill_runtime.batch.prediction_log import RecordSender
from tidemill_runtime.batch.predictor import Predictor, ResultOptions, Scored
from tidemill_runtime.batch.progress import Progress
from tidemill_runtime.model.errors import PredictError
from tidemill_runtime.predictionlog.record_batches import reference_document
from tidemill_runtime.release import server_version
from tidemill_runtime.storage.base import Entry

_log = logging.getLogger(__name__)
METADATA_KEY = "tidemill"
MAX_CHUNK_ROWS = 131_072
MAX_CHUNK_VALUES = 8_000_000  # of the model's inputs; 64 MB as numbers
REFUSALS_LOGGED = 20
_Files = Iterator[tuple[Entry, pq.ParquetFile]]


@dataclass(frozen=True)
class Task:
    """What is read and written, and how. Secrets are names of mounted ones."""

    input: str
    output: str
    options: ResultOptions = field(default_factory=ResultOptions)
    chunk_rows: int | None = None
    input_secret: str | None = None
    output_secret: str | None = None
    log_url: str | None = None  # of the monitor; None: nothing is sent
    log_ratio: float = 1.0
    log_timeout_seconds: float = 300.0


@dataclass(frozen=True)
class Summary:
    """What came of a run; the result's metadata has it under the key `tidemill`."""

    tidemill: str
    deployment: str
    version: str
    digest: str
    uri: str
    runtime: str
    input: str
    input_revision: str
    files: int
    rows: int  # of the input
    refused: int
    written: int
    logged: int
    finished: str  # RFC 3339
    seconds: float


@dataclass(frozen=True)
class _Chunk:
    where: str
    first: int  # row of its file
    share: float  # of all work, when it is done
    result: "Future[Scored]"


def run(predictor: Predictor, task: Task, threads: int, progress: Progress | None = None) -> Summary:
    """Score a data set and return what came of it.

    Raises:
        PredictError: the data or the task cannot be scored; StorageError: a store refuses or does not answer.
    """
    output = parquet.output_uri(task.output)
    with ExitStack() as stack:
        inputs = stack.enter_context(parquet.find(task.input, task.input_secret))
        if str(output) in map(inputs.name, inputs.entries):
            raise PredictError("ConfigInvalid", f"--output is a file that --input names: {output}")
        shown = progress if progress is not None else Progress()
        stack.callback(shown.close)
        job = _Job(predictor, task, inputs, threads, shown)
        if task.log_url is not None:
            job.log = _open_log(predictor, task, f"{job.key}-{job.chunk_rows}", task.log_url)
            stack.callback(job.log.close)
        return job.run()


def _open_log(predictor: Predictor, task: Task, key: str, url: str) -> RecordSender:
    profile = predictor.profile
    reference = reference_document(predictor.config, profile) if profile is not None else None
    return RecordSender(predictor.config, url, task.log_ratio, reference, key, task.log_timeout_seconds)


class _Job:
    def __init__(self, predictor: Predictor, task: Task, inputs: Inputs, threads: int, progress: Progress) -> None:
        self._predictor = predictor
        self._task = task
        self._inputs = inputs
        self._threads = threads
        self._progress = progress
        self._refused = 0
        self.log: RecordSender | None = None
        self.key = parquet.run_key(predictor.config.digest, inputs.revision)
        width = max(1, predictor.schema.width)
        self.chunk_rows = task.chunk_rows or max(1, min(MAX_CHUNK_ROWS, MAX_CHUNK_VALUES // width))

    def run(self) -> Summary:
        with ExitStack() as opened:
            first = opened.enter_context(self._inputs.opened(self._inputs.entries[0]))
            schema, columns = self._plan(first)
            files = self._files(first, opened)
            with parquet.create(self._task.output, self._task.output_secret, schema) as writer, self._pool() as pool:
                for chunk in self._predicted(pool, files, columns):
                    self._finish(chunk, writer)
                summary = self._summary(writer)
                writer.add_metadata(METADATA_KEY, json.dumps(asdict(summary), ensure_ascii=False))
        return summary

    @contextmanager
    def _pool(self) -> Iterator[ThreadPoolExecutor]:
        """Threads that nobody waits for when the run ends before its work does."""
        pool = ThreadPoolExecutor(self._threads, thread_name_prefix="predict")
        try:
            yield pool
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def _plan(self, first: pq.ParquetFile) -> tuple[pa.Schema, list[str]]:
        """Return the result's columns, and those that are read, from the first file; nothing is read yet."""
        inputs, options = self._inputs, self._task.options
        found = first.schema_arrow.remove_metadata()
        schema = self._predictor.result_schema(found, options, where=inputs.name(inputs.entries[0]))
        wanted = set(found.names if options.columns is None else options.columns) | set(self._predictor.schema.names)
        wanted |= {options.id_column} if options.id_column else set()
        return schema, [name for name in found.names if name in wanted]

    def _files(self, first: pq.ParquetFile, opened: ExitStack) -> _Files:
        """Yield every file, open, one at a time; the first one is open already: a store is asked for it once."""
        yield self._inputs.entries[0], first
        opened.close()
        for entry in self._inputs.entries[1:]:
            with self._inputs.opened(entry) as file:
                yield entry, file

    def _predicted(self, pool: ThreadPoolExecutor, files: _Files, columns: list[str]) -> Iterator[_Chunk]:
        """Yield chunks in the data's order when they are predicted, reading ahead by one for each thread and one."""
        ahead: deque[_Chunk] = deque()
        for chunk in self._submitted(pool, files, columns):
            ahead.append(chunk)
            if len(ahead) > self._threads:
                yield ahead.popleft()
        yield from ahead

    def _submitted(self, pool: ThreadPoolExecutor, files: _Files, columns: list[str]) -> Iterator[_Chunk]:
        inputs, overall, done = self._inputs, 0, 0
        for entry, file in files:
            where = inputs.name(entry)
            self._predictor.result_schema(file.schema_arrow, self._task.options, where=where)
            count, first = max(1, file.metadata.num_rows), 0
            for table in parquet.chunks(file, columns, self.chunk_rows, where):
                end = first + table.num_rows
                share = (done + entry.size * end / count) / max(1, inputs.size)
                result = pool.submit(self._score, table.replace_schema_metadata(None), where, first, overall)
                yield _Chunk(where, first, share, result)
                first, overall = end, overall + table.num_rows
            done += entry.size

    def _score(self, table: pa.Table, where: str, first: int, overall: int) -> Scored:
        options = self._task.options
        ids = None if options.id_column is not None else _ids(self.key, overall, table.num_rows)
        return self._predictor.table(table, options, ids=ids, where=where, first_row=first)

    def _finish(self, chunk: _Chunk, writer: Writer) -> None:
        """Write one chunk, report it to the monitor, and show how far the run is."""
        scored = chunk.result.result()
        for one in scored.refused[: max(0, REFUSALS_LOGGED - self._refused)]:
            _log.warning("%s: row %d has no answer: %s", chunk.where, chunk.first + one.row, one.message)
        self._refused += len(scored.refused)
        writer.write(scored.table, chunk.where)
        if self.log is not None:
            self._send(self.log, scored)
        self._progress.advance(scored.rows, chunk.share)

    def _send(self, log: RecordSender, scored: Scored) -> None:
        ids = scored.ids.to_pylist() if scored.ids is not None else []
        for part in scored.parts:
            log.send([ids[row] for row in part.rows], part.frame, part.answer)

    def _summary(self, writer: Writer) -> Summary:
        config, progress = self._predictor.config, self._progress
        return Summary(
            tidemill=server_version(),
            deployment=config.deployment,
            version=config.version,
            digest=config.digest,
            uri=config.uri,
            runtime=self._predictor.warm.model.platform,
            input=self._inputs.uri,
            input_revision=self._inputs.revision,
            files=len(self._inputs.entries),
            rows=progress.rows,
            refused=self._refused,
            written=writer.rows,
            logged=self.log.sent if self.log is not None else 0,
            finished=datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
            seconds=round(progress.seconds, 3),
        )


def _ids(key: str, first: int, rows: int) -> pa.Array:
    """Return `<key>/<row>` for rows counted over the whole data set."""
    numbers = pa.array(np.arange(first, first + rows, dtype=np.int64))
    return pc.binary_join_element_wise(pa.scalar(key), numbers.cast(pa.string()), "/")
