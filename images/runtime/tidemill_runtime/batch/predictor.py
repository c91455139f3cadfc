"""Scoring tables with a served version: the same model, checks and answers as online, without a transport.

`Predictor.table` answers one table in memory; `scoring_job` scores a data set with it. A row that the model refuses
is found by bisection, so that its neighbours keep their answers and the message is the one that a request
with this row alone would get.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa

from tidemill_contracts.inference import ServerConfig
from tidemill_runtime.batch import arrow
from tidemill_runtime.batch.arrow import Output, Rows
from tidemill_runtime.loading import local_copy, warm_up
from tidemill_runtime.loading.warm_up import WarmModel
from tidemill_runtime.model import thread_limits
from tidemill_runtime.model.errors import BadRequestError, PredictError
from tidemill_runtime.model.frame import Frame, quoted
from tidemill_runtime.model.prediction import Prediction
from tidemill_runtime.predictionlog.record_batches import VersionFiles
from tidemill_runtime.redaction import redact

if TYPE_CHECKING:
    import pandas as pd

OnError = Literal["fail", "null", "skip"]
ID_COLUMN = "prediction_id"
ERROR_COLUMN = "error"


@dataclass(frozen=True)
class ResultOptions:
    """Which columns a result has, and what a refused row does.

    `columns` are the input's, `outputs` the model's; None for all.
    """

    columns: tuple[str, ...] | None = None
    outputs: tuple[str, ...] | None = None
    id_column: str | None = None  # of the input: the rows' own ids; None: `ids` of the call, or none
    prefix: str = ""  # before the names of everything that is added to the input's columns
    on_error: OnError = "fail"


@dataclass(frozen=True)
class Refused:
    """A row that has no answer, counted from 0 in its table."""

    row: int
    message: str


@dataclass(frozen=True)
class Part:
    """An answer with the rows it is for: their frame, and their places in the table."""

    rows: Rows
    frame: Frame
    answer: Prediction


@dataclass(frozen=True)
class Scored:
    """A table's result; `parts` are what the prediction log reports."""

    table: pa.Table
    parts: Sequence[Part]
    refused: Sequence[Refused]
    rows: int  # of the input
    ids: pa.Array | pa.ChunkedArray | None  # of the input's rows


class Predictor:
    """A version that repeated its recorded answers to its sample rows; safe from several threads at once."""

    def __init__(self, warm: WarmModel, config: ServerConfig, profile: VersionFiles | None = None) -> None:
        self.warm = warm
        self.config = config
        self.profile = profile  # for the prediction log
        self.schema = warm.schema

    @classmethod
    def open(cls, config: ServerConfig, threads: int | None = None) -> "Predictor":
        """Load the configured version as a server does. `threads`: of one call of ONNX; default: the CPU limit.

        Raises:
            StartError: the version cannot be served; reasons as a server's.
        """
        count = threads or thread_limits.cpu_limit()
        thread_limits.limit_threads(count)
        with local_copy.opened(config) as version:
            warm = warm_up.load(version, config, count)
            return cls(warm, config, warm_up.profile_files(version))

    def outputs(self, options: ResultOptions) -> list[Output]:
        """Return the columns that the model adds.

        Raises:
            PredictError: ConfigInvalid; an output is requested that the model does not have.
        """
        known = arrow.outputs_of(self.warm.manifest, options.prefix)
        if options.outputs is None:
            return known
        names = {name for output in known for name in (output.name, output.tensor)}
        unknown = [name for name in options.outputs if name not in names]
        if unknown:
            every = [output.name for output in known]
            raise PredictError("ConfigInvalid", f"outputs: {quoted(unknown)} are none of {quoted(every)}")
        return [output for output in known if {output.name, output.tensor} & set(options.outputs)]

    def result_schema(
        self, found: pa.Schema, options: ResultOptions, *, has_ids: bool = True, where: str = "table"
    ) -> pa.Schema:
        """Return the columns of the result of tables with the columns `found`.

        Raises:
            PredictError: DataInvalid or ConfigInvalid; the table lacks columns, or two of the result have one name.
        """
        arrow.check_columns(found, self.schema, where)
        kept = list(found.names if options.columns is None else options.columns)
        for name in (*kept, *([options.id_column] if options.id_column else [])):
            if name not in found.names:
                raise PredictError("DataInvalid", f"{where}: there is no column {name!r}; it has {quoted(found.names)}")
        if twice := arrow.repeated(kept):
            raise PredictError("ConfigInvalid", f"columns: {quoted(twice)} are named twice")
        added = [pa.field(output.name, output.type) for output in self.outputs(options)]
        if has_ids or options.id_column:
            added.append(pa.field(options.prefix + ID_COLUMN, pa.string()))
        if options.on_error == "null":
            added.append(pa.field(options.prefix + ERROR_COLUMN, pa.string()))
        taken = [one.name for one in added if one.name in kept]
        if taken:
            text = f"{where}: columns {quoted(taken)} are also names of the result; leave them out, or give a prefix"
            raise PredictError("ConfigInvalid", text)
        return pa.schema([found.field(name) for name in kept] + added)

    def table(
        self,
        table: "pa.Table | pd.DataFrame",
        options: ResultOptions = ResultOptions(),
        *,
        ids: pa.Array | None = None,
        where: str = "table",
        first_row: int = 0,
    ) -> Scored:
        """Answer the rows of a table. `ids`: one string for each row; `where` and `first_row` are for messages.

        Raises:
            PredictError: DataInvalid; the columns are not the model's, or, with on_error "fail", a row is refused.
        """
        if not isinstance(table, pa.Table):
            table = pa.Table.from_pandas(table, preserve_index=False)
        schema = self.result_schema(table.schema, options, has_ids=ids is not None, where=where)
        if options.id_column is not None:
            ids = _own_ids(table.column(options.id_column), options.id_column, where, first_row)
        parts, refused = self._answers(table, options.on_error, where, first_row)
        return Scored(self._result(table, schema, options, ids, parts, refused), parts, refused, table.num_rows, ids)

    def _answers(self, table: pa.Table, on_error: OnError, where: str, first: int) -> tuple[list[Part], list[Refused]]:
        parts: list[Part] = []
        refused: list[Refused] = []
        if table.num_rows:
            for rows, frame in arrow.frames_of(table, self.schema, where):
                for found in self._bisected(rows, frame):
                    if isinstance(found, Part):
                        parts.append(found)
                    elif on_error == "fail":
                        raise PredictError("DataInvalid", f"{where}: row {first + found.row}: {found.message}")
                    else:
                        refused.append(found)
        return parts, sorted(refused, key=lambda one: one.row)

    def _bisected(self, rows: Rows, frame: Frame) -> Iterator[Part | Refused]:
        """Yield answers and refusals, in order; each refused row costs about as many calls as halvings lead to it."""
        try:
            answer = self.warm.model.predict(frame)
        except BadRequestError as error:
            message = error.message
        except Exception as error:  # online a 500: a fault of the model on these rows
            message = redact(f"the model failed: {type(error).__name__}: {error}")
        else:
            yield Part(rows, frame, answer)
            return
        if len(rows) == 1:
            yield Refused(int(rows[0]), message.removeprefix("inputs: ").removeprefix("row 0: "))
            return
        middle = len(rows) // 2
        for start, end in ((0, middle), (middle, len(rows))):
            yield from self._bisected(rows[start:end], frame.part(start, end))

    def _result(
        self,
        table: pa.Table,
        schema: pa.Schema,
        options: ResultOptions,
        ids: pa.Array | None,
        parts: Sequence[Part],
        refused: Sequence[Refused],
    ) -> pa.Table:
        kept = table.select(list(table.column_names if options.columns is None else options.columns))
        added = arrow.columns_of([part.answer for part in parts], self.outputs(options))
        if len(parts) != 1 or refused:  # otherwise the answers are in the table's order
            order = np.concatenate([part.rows for part in parts]) if parts else np.empty(0, dtype=np.int64)
            if options.on_error == "skip":
                by_row = np.argsort(order, kind="stable")
                stay = pa.array(order[by_row])
                kept, ids = kept.take(stay), None if ids is None else ids.take(stay)
                added = [column.take(pa.array(by_row)) for column in added]
            else:
                places = np.full(table.num_rows, -1, dtype=np.int64)
                places[order] = np.arange(len(order))
                added = [column.take(pa.array(places, mask=places < 0)) for column in added]
        columns = [*kept.columns, *added]
        if ids is not None:
            columns.append(ids)
        if options.on_error == "null":
            messages = np.full(table.num_rows, None, dtype=object)
            messages[[one.row for one in refused]] = [one.message for one in refused]
            columns.append(pa.array(messages, pa.string()))
        return pa.table(columns, schema=schema)


def config_of(uri: str, digest: str, *, name: str = "model", secret: str | None = None, **changes: Any) -> ServerConfig:
    """Return the configuration of a version that no deployment serves."""
    values = {"namespace": "", "deployment": name, "version": name, "number": "0", **changes}
    return ServerConfig(uri=uri, digest=digest, secret=secret, **values)


def _own_ids(values: pa.ChunkedArray, name: str, where: str, first: int) -> pa.ChunkedArray:
    if not arrow.may_name_rows(values.type):
        text = f"{where}: column {name!r} is {values.type} and cannot be an id: strings and whole numbers can"
        raise PredictError("DataInvalid", text)
    if values.null_count:
        row = first + int(np.argmax(values.is_null().to_numpy()))
        raise PredictError("DataInvalid", f"{where}: row {row}: column {name!r} is null and cannot be an id")
    return values.cast(pa.string())
