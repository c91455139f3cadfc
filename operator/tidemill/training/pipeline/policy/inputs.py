"""What the pipeline would train on now: code, image, revisions of data, and the key that all of this gives.

Problems that a person must solve are found here too, before any run is made for them.
"""

from __future__ import annotations

from typing import Any

from tidemill.api.base import Model
from tidemill.api.v1alpha1.training_pipeline import TrainingPipelineSpec
from tidemill.api.v1alpha1.training_template import DataSource
from tidemill.core import cron, hashing
from tidemill.training import constants
from tidemill.training.pipeline.snapshot import PipelineSnapshot, is_kept_rows, probed_by
from tidemill.training.pipeline.state import Inputs, Problem
from tidemill.training.records import run_key
from tidemill_contracts import digests, schemes
from tidemill_contracts.schemes import ARTIFACT_SCHEMES, BUILTIN_DATA_SETS
from tidemill_contracts.storage import parse_uri

MAX_SPEC_BYTES = 600_000
"""Of the inputs of a run: its record holds them and the names of all its fields, and an object may have 1.5 MB."""


def outcome_digest(spec: TrainingPipelineSpec) -> str:
    """Digest of the parts of spec that decide the outcome: not triggers, limits, resources, history, approval, store.

    Values that are defaults are left out, so that an operator that knows one field more does not retrain everything.
    """
    parts: dict[str, Any] = {
        "data": [_deciding(d) for d in spec.data],
        "target": spec.target,
        "entrypoint": spec.code.entrypoint,
        "command": spec.code.command,
        "image": spec.image,
        "parameters": spec.parameters,
        "seed": spec.seed,
        "allowPickle": spec.allow_pickle,
        "evaluation": _plain(spec.evaluation),
    }
    return hashing.digest({name: value for name, value in parts.items() if value not in (None, {}, 0, False)})


def _deciding(source: DataSource) -> dict[str, Any]:
    found = _plain(source, exclude={"secret_ref"})
    chosen = {k: v for k, v in found.pop("feedback", {}).items() if k != "minNewRows"}  # which says when, not what
    return {**found, "feedback": chosen} if chosen else found


def _plain(model: Model, exclude: set[str] | None = None) -> dict[str, Any]:
    return model.model_dump(mode="json", by_alias=True, exclude_defaults=True, exclude=exclude)


def inputs(snapshot: PipelineSnapshot) -> Inputs | Problem:
    """The inputs of the next run, or the first problem that stands in its way."""
    problem = _first_problem(snapshot)
    if problem or snapshot.code is None:
        return problem or _missing_code(snapshot)
    spec = snapshot.pipeline.spec
    data: dict[str, str | None] = {source.name: revision(snapshot, source) for source in spec.data}
    spec_digest = outcome_digest(spec)
    key = run_key(spec_digest, snapshot.code.digest, snapshot.image, data)
    return Inputs(spec_digest, snapshot.code, snapshot.image, data, key)


def revision(snapshot: PipelineSnapshot, source: DataSource) -> str | None:
    """The newest known revision of an input, None when only a run can tell."""
    prober = probed_by(source)
    if prober == "operator":
        uri = parse_uri(source.uri)
        content = snapshot.maps.get(uri.authority)
        return content.revisions.get(uri.path) if content else None
    if prober == "probe" and (snapshot.pipeline.spec.triggers.data_change or is_kept_rows(source)):
        return next((d.revision for d in snapshot.pipeline.status.data if d.name == source.name), None)
    return None


def _first_problem(snapshot: PipelineSnapshot) -> Problem | None:
    return next((p for p in (check(snapshot) for check in _CHECKS) if p), None)


def _too_large(snapshot: PipelineSnapshot) -> Problem | None:
    """A spec whose record (a TrainingRun, with as much again of who owns which field) the cluster could not store."""
    spec = snapshot.pipeline.spec
    sizes = {f"spec.data[name={s.name}]": _bytes(_plain(s)) + _kept_bytes(snapshot, s) for s in spec.data}
    sizes |= {"spec.parameters": _bytes(spec.parameters), "spec.code": _bytes(_plain(spec.code))}
    sizes |= {"spec.pod": _bytes(_plain(spec.pod))} if spec.pod is not None else {}
    total = sum(sizes.values())
    if total <= MAX_SPEC_BYTES:
        return None
    largest = ", ".join(f"{name} {size}" for size, name in sorted(((v, k) for k, v in sizes.items()), reverse=True)[:3])
    text = f"data, parameters, code and pod take {total} bytes; a run can hold at most {MAX_SPEC_BYTES}"
    advice = "move large settings to the code or the data"
    return Problem(constants.SPEC_TOO_LARGE, f"{text} (largest: {largest}); {advice}", stalled=True)


def _kept_bytes(snapshot: PipelineSnapshot, source: DataSource) -> int:
    """Of what the record of a run says about where the rows of an input are kept: it names their columns."""
    rows = snapshot.rows_of(source)
    return _bytes(_plain(rows)) if rows is not None else 0


def _bytes(value: Any) -> int:
    return len(digests.canonical_json(value))


def _bad_schedule(snapshot: PipelineSnapshot) -> Problem | None:
    wanted = snapshot.pipeline.spec.triggers.schedule
    if wanted is None:
        return None
    try:
        cron.parse(wanted.cron)
    except ValueError as error:
        return Problem(constants.INVALID_SCHEDULE, f"spec.triggers.schedule.cron: {error}", stalled=True)
    try:
        cron.zone(wanted.time_zone)
    except ValueError as error:
        return Problem(constants.INVALID_SCHEDULE, f"spec.triggers.schedule.timeZone: {error}", stalled=True)
    if cron.next_after(wanted.cron, wanted.time_zone, snapshot.now) is None:
        text = f"spec.triggers.schedule.cron {wanted.cron!r} never fires: no such day exists within five years"
        return Problem(constants.INVALID_SCHEDULE, text, stalled=True)
    return None


def _bad_data(snapshot: PipelineSnapshot) -> Problem | None:
    for source in snapshot.pipeline.spec.data:
        field = f"spec.data[name={source.name}].uri"
        try:
            uri = parse_uri(source.uri)
        except ValueError as error:
            return Problem(constants.INVALID_DATA, f"{field}: {error}", stalled=True)
        scheme = schemes.BY_NAME[uri.scheme]
        if scheme.place == "bundled" and (uri.authority not in BUILTIN_DATA_SETS or uri.path):
            text = f"{field}: {source.uri!r} is not a bundled data set; allowed are "
            return Problem(
                constants.INVALID_DATA, text + ", ".join(f"builtin://{b}" for b in BUILTIN_DATA_SETS), stalled=True
            )
        if scheme.mount == "configMap" and (not uri.path or "/" in uri.path):
            text = f"{field}: {source.uri!r} must name one key, as configmap://name/key"
            return Problem(constants.INVALID_DATA, text, stalled=True)
        if is_kept_rows(source) and uri.path:
            text = f"{field}: {source.uri!r} must name a ModelDeployment, as feedback://deployment"
            return Problem(constants.INVALID_DATA, text, stalled=True)
    return None


def _bad_artifacts(snapshot: PipelineSnapshot) -> Problem | None:
    uri = snapshot.pipeline.spec.artifacts.uri
    if uri is None:
        return None
    try:
        if parse_uri(uri).scheme in ARTIFACT_SCHEMES:
            return None
        text = f"unsupported URI {uri!r}: {schemes.expected(ARTIFACT_SCHEMES)}"
    except ValueError as error:
        text = str(error)
    return Problem(constants.INVALID_ARTIFACTS, f"spec.artifacts.uri: {text}", stalled=True)


def _missing_code(snapshot: PipelineSnapshot) -> Problem:
    config_map = snapshot.pipeline.spec.code.config_map
    name = config_map.name if config_map else ""
    text = (
        f"spec.code.configMap: ConfigMap {name} does not exist in namespace {snapshot.object['metadata']['namespace']}"
    )
    return Problem(constants.CODE_NOT_FOUND, text, stalled=False)


def _missing_code_problem(snapshot: PipelineSnapshot) -> Problem | None:
    return _missing_code(snapshot) if snapshot.code is None else None


def _bad_entrypoint(snapshot: PipelineSnapshot) -> Problem | None:
    code, source = snapshot.code, snapshot.pipeline.spec.code
    if code is None or code.files is None or source.entrypoint is None or source.config_map is None:
        return None
    module = source.entrypoint.partition(":")[0]
    if "." in module or f"{module}.py" in code.files:  # a dotted module can only come with the image
        return None
    modules = sorted(f.removesuffix(".py") for f in code.files if f.endswith(".py"))
    text = (
        f"spec.code.entrypoint {source.entrypoint!r}: ConfigMap {source.config_map.name} has no key {module}.py; "
        f"modules there: {', '.join(modules) or 'none'}"
    )
    return Problem(constants.INVALID_ENTRYPOINT, text, stalled=True)


def _missing_data(snapshot: PipelineSnapshot) -> Problem | None:
    namespace = snapshot.namespace
    for source in snapshot.pipeline.spec.data:
        if probed_by(source) != "operator":
            continue
        uri, field = parse_uri(source.uri), f"spec.data[name={source.name}].uri"
        content = snapshot.maps.get(uri.authority)
        if content is None:
            text = f"{field}: ConfigMap {uri.authority} does not exist in namespace {namespace}"
            return Problem(constants.DATA_NOT_FOUND, text, stalled=False)
        if uri.path not in content.revisions:
            keys = ", ".join(sorted(content.revisions)) or "none"
            text = f"{field}: ConfigMap {uri.authority} has no key {uri.path}; keys there: {keys}"
            return Problem(constants.DATA_NOT_FOUND, text, stalled=False)
    return None


def _missing_rows(snapshot: PipelineSnapshot) -> Problem | None:
    """Kept rows are trained on from when a probe has seen enough of them: a run names the revision that it takes."""
    for source in filter(is_kept_rows, snapshot.pipeline.spec.data):
        place = snapshot.kept_rows.get(schemes.deployment_of_rows(source.uri) or "")
        field = f"spec.data[name={source.name}].uri"
        if place is None or place.rows is None:
            return Problem(constants.DATA_NOT_FOUND, f"{field}: {place.problem if place else 'unknown'}", stalled=False)
        if revision(snapshot, source) is not None:
            continue
        error = next((d.error for d in snapshot.pipeline.status.data if d.name == source.name), None)
        if error and not is_few_labels(error):
            return Problem(constants.PROBE_FAILED, f"{field}: the kept rows cannot be read: {error}", stalled=False)
        found = error.partition(": ")[2] if error else "whether there are rows with a label is being looked up"
        wanted = "a row counts when its label has come and was due: see spec.performance.labelDelaySeconds of the "
        text = f"{field}: {found}; {wanted}ModelMonitor, and POST /feedback"
        return Problem(constants.TOO_FEW_LABELS, text, stalled=False)
    return None


def is_few_labels(error: str) -> bool:
    """Whether a probe could read the kept rows of an input, and has found too few with a label."""
    return error.startswith(f"{constants.TOO_FEW_LABELS}:")


_CHECKS = (
    _too_large,
    _bad_schedule,
    _bad_data,
    _bad_artifacts,
    _missing_code_problem,
    _bad_entrypoint,
    _missing_data,
    _missing_rows,
)
