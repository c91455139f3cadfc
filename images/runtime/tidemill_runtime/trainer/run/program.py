"""A run of the program contract: the same data, split, judgement and result as a Python function's.

Models in skops and ONNX are scored here, beside what the program reports. Of any other form nothing is
known but the program's word: it is published as it is, and a champion is compared by recorded metrics.
"""

from pathlib import Path

import numpy as np

from tidemill_contracts.artifact import ONNX_FILE, SKOPS_FILE, ColumnSpec, Sample, Signature
from tidemill_contracts.training import TrainerConfig, TrainingResult
from tidemill_runtime.trainer.model import inspection, metrics
from tidemill_runtime.trainer.model.inspection import Model
from tidemill_runtime.trainer.model.metrics import Metrics
from tidemill_runtime.trainer.onnx import estimator
from tidemill_runtime.trainer.package import native, reference_profile, version
from tidemill_runtime.trainer.package.candidate import Candidate
from tidemill_runtime.trainer.package.canonical_skops import canonical
from tidemill_runtime.trainer.package.native import Native
from tidemill_runtime.trainer.run import program_io
from tidemill_runtime.trainer.run.data_phase import Progress, Split
from tidemill_runtime.trainer.run.finish import finish, judge_and_publish
from tidemill_runtime.trainer.run.program_io import Output


def execute(config: TrainerConfig, data: Split, work: Path, progress: Progress) -> TrainingResult:
    """Run the program, judge what it left where that is possible, and publish it.

    Raises:
        RunError, StorageError, MemoryError: see `failures.classify`.
    """
    root = Path(config.code.directory or work)
    with progress.phase("train"):
        output = program_io.run(config, data.train, data.holdout, data.others, work / "program")
    model = _model(output, data, root)
    if model is None:
        return _publish_unjudged(config, data, output, root, progress)
    holdout, truth = data.features(data.holdout), data.truth(data.holdout)

    def score(other: Model) -> tuple[Metrics, list[str]]:
        return metrics.built_in(other, holdout, truth) if truth is not None else ({}, [])

    content = output.files[output.file]
    form = Native(output.form, output.file, canonical(content) if output.form == "skops" else content)
    others = {name: content for name, content in output.files.items() if name != output.file and name != ONNX_FILE}
    judgement = Candidate(model, data.features(data.train), holdout, score, output.metrics, form, others)
    return judge_and_publish(config, judgement, root, progress)


def _model(output: Output, data: Split, root: Path) -> Model | None:
    features = data.features(data.train)
    if output.file == SKOPS_FILE:
        return inspection.inspect(native.load_skops(output.files[SKOPS_FILE]), features, root)
    if output.file == ONNX_FILE:
        return estimator.load(output.files[ONNX_FILE], features, data.truth(data.train), root)
    return None


def _publish_unjudged(
    config: TrainerConfig, data: Split, output: Output, root: Path, progress: Progress
) -> TrainingResult:
    training = data.features(data.train)
    columns = tuple(str(name) for name in training.columns)
    model = Model(None, "unknown", columns, True, None, root)
    with progress.phase("package"):
        inputs = tuple(ColumnSpec(name=name, datatype=inspection.datatype(training[name].dtype)) for name in columns)
        packed = version.assemble(
            config,
            model=model,
            form=Native(output.form, output.file, output.files[output.file]),
            others={name: content for name, content in output.files.items() if name != output.file},
            profile=reference_profile.profile(model, training, np.empty(0), None, output.metrics),
            sample=Sample(columns={}, predictions=[]),
            signature=Signature(inputs=inputs, outputs=()),
            metrics=output.metrics,
            revisions=progress.data,
            digests=progress.digests,
            converted=None,
        )
    champion = config.champion
    recorded = dict(champion.metrics) if champion is not None else None
    note = None
    if champion is not None:
        note = f"recorded metrics of {champion.version} are used: a model of format {output.form} is not scored here"
    return finish(config, packed, recorded, note, progress)
