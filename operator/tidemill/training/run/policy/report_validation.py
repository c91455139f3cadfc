"""May the run's report be believed? Its pod ran code that may write any report, so all of it is held against the spec.

What is checked: every part that is written into a record, and every part by which a server later finds what to load.
What cannot be checked here is whether a metric was really measured, and whether the folder at the uri has the content
that the digest names: that a server does, before it loads anything.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from pydantic import ValidationError

from tidemill.api.v1alpha1.training_run import TrainingRunSpec
from tidemill.core.text import clean
from tidemill_contracts.artifact import DATATYPES, ColumnSpec
from tidemill_contracts.counts import counted
from tidemill_contracts.digests import digest_hex
from tidemill_contracts.formats import FORMATS, pickles
from tidemill_contracts.signatures import MOST_INPUTS, MOST_OUTPUTS
from tidemill_contracts.storage import parse_uri
from tidemill_contracts.training import NAME_LIMIT, REVISION_LIMIT, TrainingResult, is_name, is_revision

REASON = "ResultRefused"
WHOLE_LIMIT = 2**53
"""The largest whole number that every reader of JSON takes as it is."""
_COLUMNS = {"inputs": MOST_INPUTS, "outputs": MOST_OUTPUTS}
_REASON = re.compile(r"[A-Z][A-Za-z0-9]{0,63}")

_BEGIN = "the run's report was refused: "

Found = Iterator[str]


@dataclass(frozen=True, slots=True)
class UnreadableReport:
    """A report that is there and is none; `why` names the field."""

    why: str


def read(message: str) -> TrainingResult | UnreadableReport:
    """The report of a termination message, with clean texts; no value is taken for one of another type."""
    try:
        return cleaned(TrainingResult.from_json(message, strict=True))
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        return UnreadableReport(_sentence(f"{place or 'the termination message'}: {first['msg']}"))


def refusal(spec: TrainingRunSpec, result: TrainingResult) -> str | None:
    """The first part of a report that this run may not say, as a sentence with field and allowed values; else None."""
    checks = (*_MODEL, *_FACTS) if result.outcome == "Succeeded" else _FACTS
    found = next((text for check in checks for text in check(spec, result)), None)
    return _sentence(found) if found else None


def refused_record(message: str) -> str:
    """The sentence for a record that the API server refuses although everything was checked that is known here."""
    return _sentence(f"the ModelVersion could not be created: {message}")


def _sentence(found: str) -> str:
    return f"{_BEGIN}{clean(found)[:1000]}"


def cleaned(result: TrainingResult) -> TrainingResult:
    """The report with clean texts."""
    reported = result.failure
    return result.model_copy(
        update={
            "failure": reported and reported.model_copy(update={"message": clean(reported.message)}),
            "champion_note": result.champion_note and clean(result.champion_note),
            "onnx": result.onnx and clean(result.onnx),
            "warnings": tuple(clean(text) for text in result.warnings),
        }
    )


def _digests(_: TrainingRunSpec, result: TrainingResult) -> Found:
    required = (("digest", result.digest or ""), ("model_digest", result.model_digest or ""))
    for field, value in (*required, ("signature_digest", result.signature_digest)):
        try:
            if value is not None:
                digest_hex(value)
        except ValueError as error:
            yield f"{field}: {error}"


def _uri(spec: TrainingRunSpec, result: TrainingResult) -> Found:
    """A version's folder lies in the run's store and is named by the digest, so a uri cannot go with another digest."""
    expected = str(parse_uri(spec.store.uri).child(digest_hex(result.digest or "")))
    if result.uri != expected:
        yield f"uri: {result.uri!r}; expected {expected} (spec.store.uri and the digest)"


def _formats(spec: TrainingRunSpec, result: TrainingResult) -> Found:
    allowed = [
        name
        for name, row in sorted(FORMATS.items(), key=lambda item: item[1].is_pickle)
        if (spec.allow_pickle or not row.is_pickle)
        and (spec.code.command or not row.is_from_programs)
        and (spec.code.entrypoint or not row.has_code)
    ]
    reported = result.formats
    if not reported or len(set(reported)) != len(reported) or not set(reported) <= set(allowed):
        hint = "" if spec.allow_pickle else f"; {' and '.join(pickles(FORMATS))} needs spec.allowPickle"
        yield f"formats: {', '.join(reported) or 'none'}; expected some of {', '.join(allowed)}, each once{hint}"


def _metrics(spec: TrainingRunSpec, result: TrainingResult) -> Found:
    for field, metrics in (("metrics", result.metrics), ("champion_metrics", result.champion_metrics or {})):
        yield from _names(field, metrics)
        for name, value in metrics.items():
            if value is not None and not math.isfinite(value):
                yield f"{field}.{name}: {value}; expected a finite number or null"
    if spec.champion is None and result.champion_metrics:
        yield "champion_metrics: this run has no champion"


def _rows(_: TrainingRunSpec, result: TrainingResult) -> Found:
    for name, count in result.rows.items():
        if name not in ("train", "holdout"):
            yield f"rows: {name!r}; expected train or holdout"
        if not 0 <= count <= WHOLE_LIMIT:
            yield f"rows.{name}: expected a count from 0 to 2^53"


def _data(spec: TrainingRunSpec, result: TrainingResult) -> Found:
    inputs = [source.name for source in spec.data]
    for name, revision in result.data.items():
        if name not in inputs:
            yield f"data: {name!r}; expected inputs of this run: {', '.join(inputs)}"
        if not is_revision(revision):
            yield f"data.{name}: expected a revision of 1 to {REVISION_LIMIT} printable characters"


def _durations(_: TrainingRunSpec, result: TrainingResult) -> Found:
    yield from _names("seconds", result.seconds)
    for name, seconds in result.seconds.items():
        if not 0 <= seconds <= WHOLE_LIMIT:  # NaN is not
            yield f"seconds.{name}: {seconds}; expected a duration"


def _frameworks(_: TrainingRunSpec, result: TrainingResult) -> Found:
    yield from _names("frameworks", result.frameworks)
    for name, version in result.frameworks.items():
        if not is_name(version):
            yield f"frameworks.{name}: expected a version of 1 to {NAME_LIMIT} printable characters"


def _check(_: TrainingRunSpec, result: TrainingResult) -> Found:
    if result.onnx_check is not None and not 0 <= result.onnx_check <= WHOLE_LIMIT:
        yield f"onnx_check: {result.onnx_check}; expected a number from 0 to 2^53"


def _signature(_: TrainingRunSpec, result: TrainingResult) -> Found:
    if result.signature is None:
        return
    for side, most in _COLUMNS.items():
        columns: tuple[ColumnSpec, ...] = getattr(result.signature, side)
        if len(columns) > most:
            yield f"signature.{side}: {counted(len(columns), 'column')}; expected at most {most}"
        for column in columns:
            if not 0 < len(column.name) <= NAME_LIMIT:
                yield f"signature.{side}: {column.name[:NAME_LIMIT]!r} is not a name of 1 to {NAME_LIMIT} characters"
            if column.datatype not in DATATYPES:
                yield f"signature.{side}: datatype {column.datatype!r}; expected one of {', '.join(DATATYPES)}"
        if any(abs(size) > WHOLE_LIMIT for column in columns for size in column.shape):
            yield f"signature.{side}: a shape has a size beyond 2^53"


def _failure(_: TrainingRunSpec, result: TrainingResult) -> Found:
    if result.failure is not None and not _REASON.fullmatch(result.failure.reason):
        yield f"failure.reason: {result.failure.reason!r}; expected one word, like ExpectationFailed"


def _names(field: str, reported: Mapping[str, object]) -> Found:
    for name in reported:
        if not is_name(name):
            yield f"{field}: {name!r} is not a name of 1 to {NAME_LIMIT} printable characters"


Check = Callable[[TrainingRunSpec, TrainingResult], Found]
_MODEL: tuple[Check, ...] = (_digests, _uri, _formats, _metrics, _frameworks, _check, _signature)
_FACTS: tuple[Check, ...] = (_failure, _rows, _data, _durations)
