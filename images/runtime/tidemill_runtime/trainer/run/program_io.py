"""Training by a program in any language: files in, files out.

`$TIDEMILL_INPUT_DIR` holds `train.csv`, `train.parquet`, `holdout.csv`, `holdout.parquet` (target column
included), `inputs/<name>.{csv,parquet}` for further inputs, and `config.json`. The program writes
`$TIDEMILL_OUTPUT_DIR/model.*` and, there, `metrics.json`, an object of numbers computed on the holdout.
"""

import collections
import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from tidemill_contracts.digests import canonical_json
from tidemill_contracts.formats import FORMATS, Format
from tidemill_contracts.training import INPUT_DIR_ENV, NAME_LIMIT, OUTPUT_DIR_ENV, TrainerConfig, is_name
from tidemill_runtime.trainer.errors import RunError
from tidemill_runtime.trainer.model.metrics import Metrics, finite
from tidemill_runtime.trainer.report import shutdown

CONFIG_FILE = "config.json"
METRICS_FILE = "metrics.json"
_TAIL_LINES = 15
_LONGEST_LINE = 1 << 16  # characters; of a longer one each part counts as a line
_RESERVED = frozenset({"manifest.json", "COMPLETE", "reference.json", "sample.json"})


@dataclass(frozen=True)
class Output:
    """What a program left: its model files by name, and the metrics that it reports."""

    files: dict[str, bytes]
    form: Format
    file: str  # the file of `form`
    metrics: Metrics


def run(
    config: TrainerConfig, train: pd.DataFrame, holdout: pd.DataFrame, others: dict[str, pd.DataFrame], folder: Path
) -> Output:
    """Write the input files, run the program, and read what it left.

    Raises:
        RunError: UserError; ProgramFailed (with the last lines it printed), NoModel or InvalidMetrics;
            OutOfMemory when the kernel killed it.
    """
    inputs, outputs = folder / "input", folder / "output"
    outputs.mkdir(parents=True)
    _write_inputs(config, train, holdout, others, inputs)
    environment = {**os.environ, INPUT_DIR_ENV: str(inputs), OUTPUT_DIR_ENV: str(outputs)}
    _execute(list(config.code.command or ()), Path(config.code.directory or folder), environment)
    return _read_outputs(outputs, allow_pickle=config.allow_pickle)


def _write_inputs(
    config: TrainerConfig, train: pd.DataFrame, holdout: pd.DataFrame, others: dict[str, pd.DataFrame], folder: Path
) -> None:
    tables = {"train": train, "holdout": holdout, **{f"inputs/{name}": table for name, table in others.items()}}
    for name, table in tables.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        table.to_csv(path.with_name(f"{path.name}.csv"), index=False, lineterminator="\n")
        table.to_parquet(path.with_name(f"{path.name}.parquet"), index=False)
    document = {
        "pipeline": config.pipeline,
        "run": config.run,
        "target": config.target,
        "parameters": config.parameters,
        "seed": config.seed,
        "gateMetrics": list(config.gate_metrics),
    }
    (folder / CONFIG_FILE).write_bytes(canonical_json(document))


def _execute(command: list[str], directory: Path, environment: dict[str, str]) -> None:
    tail: collections.deque[str] = collections.deque(maxlen=_TAIL_LINES)
    try:
        # A group of its own, so that a stopped run takes the program's children with it.
        process = subprocess.Popen(
            command, cwd=directory, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, errors="replace", start_new_session=True,
        )  # fmt: skip
    except OSError as error:
        text = f"command {command[0]!r} cannot be run in this image: {error.strerror}"
        raise RunError("UserError", "ProgramFailed", text) from error
    shutdown.children.add(process.pid)
    with process:
        assert process.stdout is not None  # noqa: S101  a pipe was requested
        while line := process.stdout.readline(_LONGEST_LINE):
            sys.stdout.write(line)
            tail.append(line.rstrip())
    shutdown.children.discard(process.pid)
    code = process.returncode
    if code == 0:
        return
    printed = "\n".join(tail) or "it printed nothing"
    if code == -signal.SIGKILL:
        text = f"the program was killed, most likely for its memory; it last printed:\n{printed}"
        raise RunError("OutOfMemory", "Killed", text)
    how = f"ended with signal {-code}" if code < 0 else f"ended with exit code {code}"
    raise RunError("UserError", "ProgramFailed", f"{command[0]} {how}; it last printed:\n{printed}")


def _read_outputs(folder: Path, *, allow_pickle: bool) -> Output:
    files = {file.name: file.read_bytes() for file in sorted(folder.iterdir()) if file.is_file()}
    metrics = _metrics(files.pop(METRICS_FILE, None))
    models = {name: content for name, content in files.items() if name.startswith("model.")}
    if not models:
        text = f"the program left no model.* in ${OUTPUT_DIR_ENV}; it left {', '.join(sorted(files)) or 'nothing'}"
        raise RunError("UserError", "NoModel", text)
    kept = {name: content for name, content in files.items() if name not in _RESERVED and not name.startswith(".")}
    known = [(form, row) for form, row in FORMATS.items() if row.file in models]
    for form, row in known:
        if allow_pickle or not row.is_pickle:
            return Output(kept, form, row.file, metrics)
    if known:
        text = f"the program left {known[0][1].file}: loading a pickle runs code, allow it with spec.allowPickle: true"
        raise RunError("UserError", "UntrustedType", text)
    return Output(kept, "program", min(models), metrics)


def _metrics(content: bytes | None) -> Metrics:
    if content is None:
        return {}
    try:
        found = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise RunError("UserError", "InvalidMetrics", f"{METRICS_FILE} is not JSON: {error}") from error
    is_table = isinstance(found, dict) and all(
        value is None or (isinstance(value, (int, float)) and not isinstance(value, bool)) for value in found.values()
    )
    if not is_table or not all(map(is_name, found)):
        text = f"{METRICS_FILE}: expected an object of metric name (1 to {NAME_LIMIT} printable characters) to number"
        raise RunError("UserError", "InvalidMetrics", text)
    return {name: None if value is None else finite(value) for name, value in found.items()}
