"""May the report of a run or an import be believed? All of it is held against the spec.

The pod of a run ran code that may write any report; that of an import read a model that anybody may have made.

What is checked: every part that is written into a record, and every part by which a server later finds what to load.
What cannot be checked here is whether a metric was really measured, and whether the folder at the uri has the content
that the digest names: that a server does, before it loads anything.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass

from pydantic import ValidationError

from tidemill.api.v1alpha1.training_run import TrainingRunSpec
from tidemill.core.text import clean
from tidemill_contracts.artifact import DATATYPES, ColumnSpec
from tidemill_contracts.counts import counted
from tidemill_contracts.digests import digest_hex
from tidemill_contracts.feedback import LAST_TIME, VERSIONS
from tidemill_contracts.formats import FORMATS, pickles
from tidemill_contracts.holdout import CUT_LIMIT, OVERLAP_LIMIT, Holdout, SplitType
from tidemill_contracts.signatures import MOST_INPUTS, MOST_OUTPUTS
from tidemill_contracts.storage import URI_LIMIT, parse_uri
from tidemill_contracts.training import (
    CLASSES_LIMIT,
    NAME_LIMIT,
    REVISION_LIMIT,
    TrainingResult,
    is_name,
    is_revision,
)

REASON = "ResultRefused"
WHOLE_LIMIT = 2**53
"""The largest whole number that every reader of JSON takes as it is."""
_COLUMNS = {"inputs": MOST_INPUTS, "outputs": MOST_OUTPUTS}
_REASON = re.compile(r"[A-Z][A-Za-z0-9]{0,63}")

_BEGIN = "the pod's report was refused: "

Found = Iterator[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What a report may say, by the spec of who asked for it."""

    store: str
    """URI of the folder below which the version is written."""
    inputs: Collection[str] = ()
    """Names of the data sets."""
    kept_rows: Collection[str] = ()
    """Those of them that are kept rows of a deployment."""
    has_champion: bool = False
    split: SplitType | None = None
    """How the rows were to be divided; None: the spec does not say it."""
    allows_pickles: bool = False
    pickles_by: str = ""
    """The field that would allow them; empty: none does."""
    allows_code: bool = False
    """Whether functions and classes of training code may be part of the model."""
    is_import: bool = False
    """Whether it may say what an imported version was trained from; of a run the operator knows."""
    allows_programs: bool = False
    """Whether a program may have written the model in a format of its own."""

    @property
    def who(self) -> str:
        """What reports, as it is called in a sentence."""
        return "this import" if self.is_import else "this run"


def of_run(spec: TrainingRunSpec) -> Expected:
    """What the report of a run may say."""
    return Expected(
        store=spec.store.uri,
        inputs=[source.name for source in spec.data],
        kept_rows=[source.name for source in spec.data if source.rows is not None],
        has_champion=spec.champion is not None,
        split=spec.split.type if spec.split is not None else None,
        allows_pickles=spec.allow_pickle,
        pickles_by="spec.allowPickle",
        allows_programs=spec.code.command is not None,
        allows_code=spec.code.entrypoint is not None,
    )


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
        return UnreadableReport(sentence(f"{place or 'the termination message'}: {first['msg']}"))


def refusal(expected: Expected, result: TrainingResult) -> str | None:
    """The first part of a report that this run may not say, as a sentence with field and allowed values; else None."""
    checks = (*_MODEL, *_FACTS) if result.outcome == "Succeeded" else _FACTS
    found = next((text for check in checks for text in check(expected, result)), None)
    return sentence(found) if found else None


def refused_record(message: str) -> str:
    """The sentence for a record that the API server refuses although everything was checked that is known here."""
    return sentence(f"the ModelVersion could not be created: {message}")


def sentence(found: str) -> str:
    """What is wrong with a report, as it stands in status."""
    return f"{_BEGIN}{clean(found)[:1000]}"


def cleaned(result: TrainingResult) -> TrainingResult:
    """The report with clean texts."""
    reported = result.failure
    return result.model_copy(
        update={
            "failure": reported and reported.model_copy(update={"message": clean(reported.message)}),
            "champion_note": result.champion_note and clean(result.champion_note),
            "champion_overlap": result.champion_overlap and clean(result.champion_overlap),
            "onnx": result.onnx and clean(result.onnx),
            "warnings": tuple(clean(text) for text in result.warnings),
        }
    )


def _digests(_: Expected, result: TrainingResult) -> Found:
    required = (("digest", result.digest or ""), ("model_digest", result.model_digest or ""))
    for field, value in (*required, ("signature_digest", result.signature_digest)):
        try:
            if value is not None:
                digest_hex(value)
        except ValueError as error:
            yield f"{field}: {error}"


def _uri(expected: Expected, result: TrainingResult) -> Found:
    """A version's folder lies in the run's store and is named by the digest, so a uri cannot go with another digest."""
    wanted = str(parse_uri(expected.store).child(digest_hex(result.digest or "")))
    if result.uri != wanted:
        yield f"uri: {result.uri!r}; expected {wanted} (the store and the digest)"


def _formats(expected: Expected, result: TrainingResult) -> Found:
    allowed = [
        name
        for name, row in sorted(FORMATS.items(), key=lambda item: item[1].is_pickle)
        if (expected.allows_pickles or not row.is_pickle)
        and (expected.allows_programs or not row.is_from_programs)
        and (expected.allows_code or not row.has_code)
    ]
    reported = result.formats
    if not reported or len(set(reported)) != len(reported) or not set(reported) <= set(allowed):
        needs = "" if expected.allows_pickles else expected.pickles_by
        hint = f"; {' and '.join(pickles(FORMATS))} needs {needs}" if needs else ""
        yield f"formats: {', '.join(reported) or 'none'}; expected some of {', '.join(allowed)}, each once{hint}"


def _metrics(expected: Expected, result: TrainingResult) -> Found:
    for field, metrics in (("metrics", result.metrics), ("champion_metrics", result.champion_metrics or {})):
        yield from _names(field, metrics)
        for name, value in metrics.items():
            if value is not None and not math.isfinite(value):
                yield f"{field}.{name}: {value}; expected a finite number or null"
    if not expected.has_champion and result.champion_metrics:
        yield f"champion_metrics: {expected.who} has no champion"


def _rows(_: Expected, result: TrainingResult) -> Found:
    yield from _sides("rows", result.rows)


def _holdout(expected: Expected, result: TrainingResult) -> Found:
    """A trainer that does not know the split would have held out other rows, and not have said so."""
    found = result.holdout
    if found is None and expected.split is not None:
        yield (
            f"holdout: not there; expected {expected.split}: the trainer in this image does not know "
            "spec.evaluation.split; use a newer image"
        )
    if found is None:
        return
    if found.type != expected.split:
        yield f"holdout.type: {found.type}; expected {expected.split or 'none: the spec has no split'}"
    yield from _cut("holdout", found.cut)
    yield from _sides("holdout.groups", found.groups)


def _overlap(expected: Expected, result: TrainingResult) -> Found:
    if result.champion_overlap and not expected.has_champion:
        yield f"champion_overlap: {expected.who} has no champion"
    if len(result.champion_overlap or "") > OVERLAP_LIMIT:
        yield f"champion_overlap: expected at most {OVERLAP_LIMIT} characters"


def _classes(_: Expected, result: TrainingResult) -> Found:
    found = result.holdout_classes
    if len(found) > CLASSES_LIMIT:
        yield f"holdout_classes: {counted(len(found), 'class', 'classes')}; expected at most {CLASSES_LIMIT}"
    yield from _names("holdout_classes", found)
    held_out = result.rows.get("holdout", WHOLE_LIMIT)
    if any(count < 0 for count in found.values()) or sum(found.values()) > held_out:
        yield f"holdout_classes: expected counts from 0 that are together at most {held_out} (rows.holdout)"


def _data(expected: Expected, result: TrainingResult) -> Found:
    for name, revision in result.data.items():
        if name not in expected.inputs:
            yield f"data: {name!r}; expected inputs of {expected.who}: {', '.join(expected.inputs) or 'none'}"
        if not is_revision(revision):
            yield f"data.{name}: expected a revision of 1 to {REVISION_LIMIT} printable characters"


def _kept_rows(expected: Expected, result: TrainingResult) -> Found:
    """How many rows there were cannot be known here; whether the counts can be true together can."""
    for name, found in result.kept_rows.items():
        field = f"kept_rows.{name}"
        if name not in expected.kept_rows:
            yield f"kept_rows: {name!r}; expected inputs of kept rows: {', '.join(expected.kept_rows) or 'none'}"
        if not 0 <= found.first <= found.last <= LAST_TIME:  # NaN is not
            yield f"{field}: expected first and last as times in seconds, in this order"
        yield from _names(f"{field}.versions", found.versions)
        counts = {"rows": found.rows, "suspected": found.suspected, "left_out": found.left_out, **found.versions}
        if any(not 0 <= count <= WHOLE_LIMIT for count in counts.values()):
            yield f"{field}: expected counts from 0 to 2^53"
        if len(found.versions) > VERSIONS + 1 or sum(found.versions.values()) != found.rows:
            yield f"{field}.versions: expected at most {VERSIONS + 1} counts that are together {found.rows} (rows)"
        if found.suspected > found.rows:
            yield f"{field}.suspected: {found.suspected}; expected at most {found.rows} (rows)"


def _durations(_: Expected, result: TrainingResult) -> Found:
    yield from _names("seconds", result.seconds)
    for name, seconds in result.seconds.items():
        if not 0 <= seconds <= WHOLE_LIMIT:  # NaN is not
            yield f"seconds.{name}: {seconds}; expected a duration"


def _frameworks(_: Expected, result: TrainingResult) -> Found:
    yield from _packages("frameworks", result.frameworks)


def _check(_: Expected, result: TrainingResult) -> Found:
    if result.onnx_check is not None and not 0 <= result.onnx_check <= WHOLE_LIMIT:
        yield f"onnx_check: {result.onnx_check}; expected a number from 0 to 2^53"


def _signature(_: Expected, result: TrainingResult) -> Found:
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


def _lineage(expected: Expected, result: TrainingResult) -> Found:
    """What an imported version says of its training: of a cluster that is not known here, so only its form is held."""
    found = result.lineage
    if found is None:
        return
    if not expected.is_import:
        yield "lineage: this is no import"
    for field, text, most in (("code", found.code, NAME_LIMIT), ("image", found.image, URI_LIMIT)):
        if len(text) > most or not (text or "-").isprintable():
            yield f"lineage.{field}: expected at most {most} printable characters"
    if not 0 <= found.seed <= WHOLE_LIMIT:
        yield f"lineage.seed: {found.seed}; expected a number from 0 to 2^53"
    held_out = found.holdout or Holdout(type="Stratified")
    if not 0 < len(held_out.column or "-") <= NAME_LIMIT:
        yield f"lineage.holdout.column: expected a name of 1 to {NAME_LIMIT} characters"
    if held_out.ratio is not None and not 0 < held_out.ratio < 1:  # NaN is not
        yield f"lineage.holdout.ratio: {held_out.ratio}; expected a number between 0 and 1"
    yield from _cut("lineage.holdout", held_out.cut)
    yield from _names("lineage.data", found.data)
    yield from _names("lineage.parameters", found.parameters)
    yield from _packages("lineage.frameworks", found.frameworks)
    for name, revision in found.data.items():
        if not is_revision(revision):
            yield f"lineage.data.{name}: expected a revision of 1 to {REVISION_LIMIT} printable characters"


def _failure(_: Expected, result: TrainingResult) -> Found:
    if result.failure is not None and not _REASON.fullmatch(result.failure.reason):
        yield f"failure.reason: {result.failure.reason!r}; expected one word, like ExpectationFailed"


def _sides(field: str, counts: Mapping[str, int]) -> Found:
    for name, count in counts.items():
        if name not in ("train", "holdout"):
            yield f"{field}: {name!r}; expected train or holdout"
        if not 0 <= count <= WHOLE_LIMIT:
            yield f"{field}.{name}: expected a count from 0 to 2^53"


def _cut(field: str, cut: str | None) -> Found:
    if cut is not None and not (0 < len(cut) <= CUT_LIMIT and cut.isprintable()):
        yield f"{field}.cut: expected a time of 1 to {CUT_LIMIT} printable characters"


def _packages(field: str, versions: Mapping[str, str]) -> Found:
    yield from _names(field, versions)
    for name, version in versions.items():
        if not is_name(version):
            yield f"{field}.{name}: expected a version of 1 to {NAME_LIMIT} printable characters"


def _names(field: str, reported: Mapping[str, object]) -> Found:
    for name in reported:
        if not is_name(name):
            yield f"{field}: {name!r} is not a name of 1 to {NAME_LIMIT} printable characters"


Check = Callable[[Expected, TrainingResult], Found]
_MODEL: tuple[Check, ...] = (
    _digests,
    _uri,
    _formats,
    _metrics,
    _frameworks,
    _check,
    _signature,
    _lineage,
    _holdout,
    _overlap,
)
_FACTS: tuple[Check, ...] = (_failure, _rows, _classes, _data, _kept_rows, _durations)
