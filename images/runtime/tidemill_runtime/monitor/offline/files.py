"""The page from files: a monitor's database, or a table of rows beside a version's reference profile.

Rows of a table go through a monitor in a temporary folder, so its figures are those that the monitor in a cluster has.
"""

import contextlib
import csv
import json
import sqlite3
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from itertools import islice
from pathlib import Path
from typing import Any, Final

from tidemill_contracts.inference import Feedback, PredictionBatch, Reference, Value
from tidemill_contracts.monitoring import MonitorConfig
from tidemill_contracts.reference import ReferenceProfile
from tidemill_runtime.monitor import schema, writes
from tidemill_runtime.monitor.evaluation import Evaluator
from tidemill_runtime.monitor.page.content import Objectives, PageContent
from tidemill_runtime.monitor.service import Monitor

BATCH_ROWS: Final = 2_000
VERSION: Final = "file"
DIGEST: Final = "file"  # no digest: nothing was stored under one
_Table = dict[str, list[Any]]
_GRACE: Final = 60.0  # seconds after the last row at which the page is made, so that its window is closed


class FileError(ValueError):
    """A file that cannot be used; the message names it and says why."""


@dataclass(frozen=True)
class Columns:
    """Which columns of a table are no features, by what they are."""

    time: str | None = None  # seconds since the epoch, or timestamps; None: all rows are of one window
    prediction: str | None = None
    score: str | None = None  # the probability of the predicted class
    label: str | None = None


def of_database(path: Path, config: MonitorConfig, digest: str | None, now: float | None = None) -> PageContent:
    """Return the page of a copy of a monitor's database, which is left as it is. `now`: None for its last record.

    Raises:
        FileError: there is none, or a newer monitor wrote it.
    """
    if not path.is_file():
        raise FileError(f"{path}: there is no such file")
    with tempfile.TemporaryDirectory(prefix="tidemill-report-") as folder:
        copy = schema.connect(str(Path(folder) / "monitor.db"))
        try:
            with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as source:
                source.backup(copy)
            schema.migrate(copy)
            layouts = writes.layouts(copy, config)
            if now is None:
                (last,) = copy.execute("SELECT max(last_record) FROM version").fetchone()
                now = float(last or 0.0) + config.window_seconds + _GRACE
        except (sqlite3.Error, schema.NewerSchemaError) as error:
            copy.close()
            raise FileError(f"{path}: {error}") from error
        evaluator = Evaluator(config, copy, layouts, lambda: now)
        try:
            return evaluator.page(digest)
        finally:
            evaluator.close()


def of_table(path: Path, reference: Path, config: MonitorConfig, columns: Columns) -> PageContent:
    """Return the page of the rows of a Parquet, CSV or JSON Lines file.

    Raises:
        FileError: a file cannot be read, or lacks a column that `columns` names.
    """
    profile = _profile(reference)
    times = _span(path, columns)
    now = times[1] + config.window_seconds + _GRACE
    kept = int(now - times[0]) + 2 * config.window_seconds
    with tempfile.TemporaryDirectory(prefix="tidemill-report-") as folder:
        changes: dict[str, Any] = {"database": str(Path(folder) / "monitor.db"), "retention_seconds": kept}
        changes |= {"webhooks": (), "payloads": None}
        monitor = Monitor(config.model_copy(update=changes), lambda: now)
        monitor.start()
        try:
            known = Reference(deployment=config.deployment, version=VERSION, digest=DIGEST, profile=profile)
            monitor.add_reference(known).result()
            for batch, labels in _batches(path, config.deployment, columns, now=times[1]):
                if labels:  # first: rows from long ago may be forgotten before a label that comes after them
                    monitor.add_feedback(labels, authenticated=True).result()
                monitor.add_batch(batch).result()
            monitor.detect()
            return monitor.page(DIGEST)
        finally:
            monitor.close()


def with_objectives(content: PageContent, path: Path) -> PageContent:
    """Return the page with the objectives of a ModelDeployment as `kubectl get -o json` prints it.

    Raises:
        FileError: it is none.
    """
    try:
        found = json.loads(path.read_bytes())
        name, slo = str(found["metadata"]["name"]), (found.get("status") or {}).get("slo")
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise FileError(f"{path}: not a ModelDeployment as JSON") from error
    if not isinstance(slo, dict):
        return content
    return content.model_copy(update={"objectives": Objectives(deployment=name, status=slo)})


def _profile(path: Path) -> ReferenceProfile:
    try:
        return ReferenceProfile.from_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise FileError(f"{path}: not a reference profile (reference.json of a version)") from error


def _tables(path: Path) -> Iterator[_Table]:
    """Yield the rows of a file, as many at a time as one batch has."""
    readers = {".parquet": _parquet, ".csv": _csv, ".jsonl": _json_lines, ".ndjson": _json_lines}
    reader = readers.get(path.suffix)
    if reader is None:
        raise FileError(f"{path}: must end with {', '.join(readers)}")
    try:
        yield from reader(path)
    except (OSError, ValueError, csv.Error) as error:
        raise FileError(f"{path}: {str(error)[:300]}") from error


def _parquet(path: Path) -> Iterator[_Table]:
    try:
        import pyarrow.parquet as pa_parquet  # not in the monitor's image
    except ImportError as error:
        raise FileError("pyarrow is needed to read it") from error
    with pa_parquet.ParquetFile(path) as file:  # pyarrow's errors are ValueErrors or OSErrors
        for rows in file.iter_batches(BATCH_ROWS):
            yield dict(zip(rows.schema.names, (column.to_pylist() for column in rows.columns), strict=True))


def _csv(path: Path) -> Iterator[_Table]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.reader(file)
        names = next(rows, [])
        if len(set(names)) != len(names):
            raise FileError("two columns have one name")
        while several := list(islice(rows, BATCH_ROWS)):
            if any(len(row) != len(names) for row in several):
                raise FileError(f"line {rows.line_num} or one before it has not as many values as there are columns")
            columns = zip(*several, strict=True)
            yield {name: [_of_text(text) for text in column] for name, column in zip(names, columns, strict=True)}


def _json_lines(path: Path) -> Iterator[_Table]:
    with path.open(encoding="utf-8") as file:
        lines = (line for line in file if line.strip())
        while several := [json.loads(line) for line in islice(lines, BATCH_ROWS)]:
            if not all(isinstance(row, dict) for row in several):
                raise FileError("a line is no JSON object")
            names = dict.fromkeys(name for row in several for name in row)
            yield {name: [row.get(name) for row in several] for name in names}


def _of_text(text: str) -> Value:
    """Return a value of a CSV file as readers of training data take it: empty is missing, then numbers, then truth."""
    if not text:
        return None
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(text)
    return {"true": True, "false": False}.get(text.lower(), text)


def _span(path: Path, columns: Columns) -> tuple[float, float]:
    """Return the first and the last time of a table; where it has none, the time at which it was written."""
    try:
        written = path.stat().st_mtime
    except OSError as error:
        raise FileError(f"{path}: {error}") from error
    if columns.time is None:
        return written, written
    found = [_seconds(v, path) for table in _tables(path) for v in _of(table, columns.time, path)]
    return (min(found), max(found)) if found else (written, written)


def _seconds(value: Any, path: Path) -> float:
    """Return a time in seconds since the epoch; without a zone it is in UTC."""
    if isinstance(value, str):
        with contextlib.suppress(ValueError):
            value = datetime.fromisoformat(value)
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day, tzinfo=UTC).timestamp()
    if isinstance(value, int | float) and 0 <= value < 253_402_300_800:  # the year 10,000
        return float(value)
    raise FileError(f"{path}: {str(value)[:40]!r} is no time: seconds since the epoch or ISO 8601")


def _batches(
    path: Path, deployment: str, columns: Columns, *, now: float
) -> Iterator[tuple[PredictionBatch, list[Feedback]]]:
    """Yield the rows of a table as servers send them, with the labels of each batch."""
    for number, table in enumerate(_tables(path), start=1):
        values = {name: [_value(v) for v in column] for name, column in table.items()}
        rows = len(next(iter(values.values()), []))
        times = [_seconds(v, path) for v in _of(table, columns.time, path)] if columns.time else [now] * rows
        labels = _of(values, columns.label, path) if columns.label else []
        ids = [f"r{number}/{row}" for row in range(rows)]
        roles = (columns.time, columns.prediction, columns.score, columns.label)
        yield (
            PredictionBatch(
                batch_id=f"file/1/{number}",
                deployment=deployment,
                version=VERSION,
                digest=DIGEST,
                sent_at=now,
                ids=ids,
                times=times,
                columns={name: column for name, column in values.items() if name not in roles},
                predictions=_of(values, columns.prediction, path) if columns.prediction else [None] * rows,
                scores=[_score(v) for v in _of(values, columns.score, path)] if columns.score else None,
            ),
            [Feedback(id=one, label=v) for one, v in zip(ids, labels, strict=False) if v is not None],
        )


def _of(table: Mapping[str, list[Any]], name: str, path: Path) -> list[Any]:
    try:
        return table[name]
    except KeyError:
        raise FileError(f"{path}: there is no column {name!r}") from None


def _value(value: Any) -> Value:
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def _score(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) else None
