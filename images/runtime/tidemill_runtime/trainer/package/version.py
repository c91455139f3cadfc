"""From a judged model to the files of a version and its manifest.

Equal inputs give equal bytes: no time, no run name and no random name gets into any file.
"""

import importlib.metadata
import platform
from dataclasses import dataclass, replace
from typing import NamedTuple

import pandas as pd

from tidemill_contracts.artifact import (
    CODE_FILE,
    REFERENCE_FILE,
    SAMPLE_FILE,
    Lineage,
    ModelManifest,
    Sample,
    Signature,
)
from tidemill_contracts.digests import canonical_json, sha256
from tidemill_contracts.feedback import RowsTaken
from tidemill_contracts.formats import FORMATS, Format
from tidemill_contracts.holdout import Holdout
from tidemill_contracts.reference import ReferenceProfile
from tidemill_contracts.runtimes import VERIFIED
from tidemill_contracts.training import TrainerConfig
from tidemill_runtime.frameworks.base import Converted, Framework, StoredModel
from tidemill_runtime.trainer.errors import RunError
from tidemill_runtime.trainer.model import inspection
from tidemill_runtime.trainer.model.inspection import Model
from tidemill_runtime.trainer.model.metrics import Metrics
from tidemill_runtime.trainer.package import (
    calibration_tables,
    importance,
    native,
    reference_profile,
    signature_columns,
    verification,
)
from tidemill_runtime.trainer.package.candidate import Candidate
from tidemill_runtime.trainer.usercode import function

_ALWAYS = ("scikit-learn", "numpy", "pandas", "scipy", "skops", "skl2onnx", "onnx")
"""Distributions whose versions every version records: what reads data and scores, too."""


@dataclass(frozen=True)
class Package:
    """Everything that is published."""

    manifest: ModelManifest
    files: dict[str, bytes]
    onnx: str  # "verified", or why there is no ONNX form
    remarks: tuple[str, ...] = ()  # what is missing in the version, and why


class DataRead(NamedTuple):
    """What a run has read: revisions, digests of the content, and what was taken of kept rows, by the input's name."""

    revisions: dict[str, str]
    digests: dict[str, str]
    kept_rows: dict[str, RowsTaken]


def pack(
    config: TrainerConfig,
    judged: Candidate,
    metrics: Metrics,
    data: DataRead,
    holdout: Holdout | None,
) -> Package:
    """Return the files of a version of a judged model.

    Raises:
        RunError: UserError; the model has no form that a server may load.
    """
    model, rows = judged.model, judged.holdout
    predicted, probabilities = model.predict(rows), model.probabilities(rows)
    form = judged.form or _native(config, model)
    signature = signature_columns.noted(inspection.signature(model, judged.training), model, rows)
    used = tuple(column.name for column in signature.used_inputs)
    verified = verification.Verified(signature)
    if FORMATS[form.form].runtime == "Native":
        _check_round_trip(form, model, rows, predicted)
        verified = verification.verify(form, model, signature, judged.training, rows)
    found = importance.measured(model, rows, judged.truth, used)
    packed = assemble(
        config,
        model=model,
        form=form,
        others=judged.others,
        profile=reference_profile.profile(
            model,
            judged.training[list(used)],
            predicted,
            probabilities,
            metrics,
            calibration_tables.tables(model, predicted, probabilities, judged.truth),
            found,
        ),
        sample=reference_profile.sample(model, rows),
        signature=verified.signature,
        metrics=metrics,
        data=data,
        holdout=holdout,
        converted=verified.converted,
        batching=verified.batching,
    )
    return replace(packed, remarks=(found.remark,) if found.remark else ())


def _native(config: TrainerConfig, model: Model) -> StoredModel:
    code = function.modules(config.code)
    return native.dump(model.estimator, allow_pickle=config.allow_pickle, framework=model.framework, code=code)


def assemble(
    config: TrainerConfig,
    *,
    model: Model,
    form: StoredModel,
    others: dict[str, bytes],
    profile: ReferenceProfile,
    sample: Sample,
    signature: Signature,
    metrics: Metrics,
    data: DataRead,
    holdout: Holdout | None,
    converted: Converted | None,
    batching: bool | None = None,
) -> Package:
    """Return files and manifest; `form` is the version's main form, `converted` its ONNX form where one was tried.

    `batching`: whether the main form may answer several requests together, None where that is not known.
    """
    files = {
        **others,
        form.file: form.content,
        **({} if form.code is None else {CODE_FILE: form.code}),
        REFERENCE_FILE: canonical_json(profile.model_dump(mode="json")),
        SAMPLE_FILE: canonical_json(sample.model_dump(mode="json")),
    }
    formats: tuple[Format, ...] = (form.form,)
    if converted is not None and converted.content is not None:
        files[FORMATS["onnx"].file] = converted.content
        formats = (form.form, "onnx")
    manifest = ModelManifest(
        pipeline=config.pipeline,
        task=model.task,
        formats=formats,
        files={name: sha256(content) for name, content in files.items()},
        model_digest=sha256(form.content),
        signature=signature,
        metrics=metrics,
        classes=None if model.classes is None else tuple(inspection.plain(value) for value in model.classes),
        lineage=lineage(config, data, model.framework, holdout),
        onnx_parity=converted.report if converted is not None else None,
        batching=batching,
    )
    return Package(manifest, files, _onnx_note(form, converted))


def _onnx_note(form: StoredModel, converted: Converted | None) -> str:
    if converted is None:
        return "as the program wrote it" if form.form == "onnx" else f"not converted from format {form.form}"
    return VERIFIED if converted.report.passed else converted.report.reason


def lineage(
    config: TrainerConfig,
    data: DataRead,
    framework: Framework,
    holdout: Holdout | None,
) -> Lineage:
    """Return everything that decided the outcome of this run."""
    return Lineage(
        data=data.revisions,
        data_digests=data.digests,
        code=config.code.digest,
        image=config.image,
        parameters=config.parameters,
        seed=config.seed,
        frameworks=packages(framework),
        holdout=holdout,
        kept_rows=data.kept_rows or None,
    )


def packages(framework: Framework) -> dict[str, str]:
    """Return the versions of what computed a model of a family."""
    found = {"python": platform.python_version()}
    for name in dict.fromkeys((*_ALWAYS, *framework.packages)):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:  # an image with a leaner environment
            continue
    return found


def _check_round_trip(form: StoredModel, model: Model, holdout: pd.DataFrame, predicted: inspection.Values) -> None:
    """Refuse a native form that does not answer as the model in memory does."""
    if FORMATS[form.form].is_pickle:
        return  # it was loaded in a process of its own
    loaded = inspection.inspect(native.load(form), holdout, model.root, framework=model.framework)
    found = loaded.predict(holdout)
    if not inspection.same(found, predicted):
        text = f"the stored {type(model.estimator).__name__} does not answer as the trained one: it cannot be served"
        raise RunError("UserError", "Unservable", text)
