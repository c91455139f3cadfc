"""A run of the program contract: the same data, split, judgement and result as a Python function's.

Models that a family loads are scored here, beside what the program reports. Of any other form nothing is known but what
the program reports: it is published as it is, and a champion is compared by recorded metrics.
"""

from pathlib import Path

import numpy as np

from tidemill_contracts.artifact import ColumnSpec, Sample, Signature
from tidemill_contracts.formats import FORMATS
from tidemill_contracts.training import TrainerConfig, TrainingResult
from tidemill_runtime import frameworks
from tidemill_runtime.frameworks.base import StoredModel
from tidemill_runtime.model.datatypes import datatype
from tidemill_runtime.trainer.model import inspection, metrics
from tidemill_runtime.trainer.model.inspection import Model
from tidemill_runtime.trainer.model.metrics import Metrics
from tidemill_runtime.trainer.package import native, reference_profile, version
from tidemill_runtime.trainer.package.candidate import Candidate
from tidemill_runtime.trainer.run import champion, program_io
from tidemill_runtime.trainer.run.champion import Comparison
from tidemill_runtime.trainer.run.data_phase import Progress, Split
from tidemill_runtime.trainer.run.finish import finish, judge_and_publish, note_classes
from tidemill_runtime.trainer.run.program_io import Output


def execute(config: TrainerConfig, data: Split, work: Path, progress: Progress) -> TrainingResult:
    """Run the program, judge what it left where that is possible, and publish it.

    Raises:
        RunError, StorageError, MemoryError: see `errors.classify`.
    """
    root = Path(config.code.directory or work)
    with progress.phase("train"):
        output = program_io.run(config, data.train, data.holdout, data.others, work / "program")
    model = _model(output, data, root)
    if model is None:
        return _publish_unjudged(config, data, output, root, progress)
    holdout, truth = data.features(data.holdout), data.truth(data.holdout)
    note_classes(progress, model, truth)

    def score(other: Model) -> tuple[Metrics, list[str]]:
        rows = data.with_left_out(holdout, other.columns)
        return metrics.built_in(other, rows, truth) if truth is not None else ({}, [])

    content = output.files[output.file]
    form = StoredModel(output.form, output.file, model.framework.canonical(output.form, content))
    onnx_file = FORMATS["onnx"].file
    others = {name: content for name, content in output.files.items() if name not in (output.file, onnx_file)}
    training = data.features(data.train)
    judgement = Candidate(model, training, holdout, score, output.metrics, form, others, truth, data.left_out)
    return judge_and_publish(config, judgement, root, progress)


def _model(output: Output, data: Split, root: Path) -> Model | None:
    row = FORMATS[output.form]
    if row.runtime is None or row.is_pickle:
        return None
    stored = StoredModel(output.form, output.file, output.files[output.file])
    family, target = frameworks.of_format(output.form), data.truth(data.train)
    return inspection.inspect(native.load(stored), data.features(data.train), root, framework=family, target=target)


def _publish_unjudged(
    config: TrainerConfig, data: Split, output: Output, root: Path, progress: Progress
) -> TrainingResult:
    training = data.features(data.train)
    columns = tuple(str(name) for name in training.columns)
    model = Model(None, "unknown", columns, True, None, root, frameworks.of_format(output.form))
    with progress.phase("package"):
        inputs = tuple(ColumnSpec(name=name, datatype=datatype(training[name].dtype)) for name in columns)
        packed = version.assemble(
            config,
            model=model,
            form=StoredModel(output.form, output.file, output.files[output.file]),
            others={name: content for name, content in output.files.items() if name != output.file},
            profile=reference_profile.profile(model, training, np.empty(0), None, output.metrics),
            sample=Sample(columns={}, predictions=[]),
            signature=Signature(inputs=inputs, outputs=()),
            metrics=output.metrics,
            data=progress.read,
            holdout=progress.holdout,
            converted=None,
        )
    compared = Comparison()
    if config.champion is not None:
        why = f"a model of format {output.form} is not scored here"
        compared = champion.recorded(config.champion, why)
    return finish(config, packed, compared, progress)
