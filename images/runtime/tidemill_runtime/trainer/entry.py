"""The process around a run, probe or import: configuration, log lines, termination message, exit code."""

import logging
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, TextIO

from pydantic import ValidationError

from tidemill_contracts import importing
from tidemill_contracts.importing import ImportConfig
from tidemill_contracts.records import RECORDS_ENV, RecordsConfig, RecordsResult
from tidemill_contracts.training import (
    CONFIG_ENV,
    EXIT_NOT_RETRIABLE,
    PROBE_ENV,
    Failure,
    ProbeConfig,
    ProbeResult,
    TrainerConfig,
    TrainingResult,
)
from tidemill_runtime import configuration, json_logs, redaction
from tidemill_runtime.trainer import errors
from tidemill_runtime.trainer.report import message, shutdown

if TYPE_CHECKING:
    from tidemill_runtime.trainer.run.data_phase import Progress

log = logging.getLogger(__name__)


def _inside(work: Callable[[], int]) -> int:
    """Do the work of a process with clean streams, log lines in JSON, and an end when it is told to stop."""
    with redaction.streams(), json_logs.beside_other_code():
        shutdown.install()
        return work()


def train() -> int:
    """Run one training run and return the exit code."""
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # a program's lines are forwarded as they come
    return _inside(_train)


def _train() -> int:
    try:
        config = TrainerConfig.from_json(configuration.read(CONFIG_ENV) or "{}")
        if (config.code.entrypoint is None) == (config.code.command is None):
            raise ValueError("code: exactly one of entrypoint and command must be given")
    except (ValidationError, ValueError) as error:
        failure = Failure(category="Infrastructure", reason="InvalidConfig", message=f"{CONFIG_ENV}: {error}")
        return _fail(failure, EXIT_NOT_RETRIABLE)
    # Only now: the numeric libraries take seconds to load and are not needed to refuse a configuration.
    from tidemill_runtime.trainer.run import function
    from tidemill_runtime.trainer.run.data_phase import Progress

    log.info("run %s of pipeline %s/%s", config.run, config.namespace, config.pipeline)
    progress = Progress()
    try:
        result = function.run(config, progress)
    except Exception as error:
        failure, code = errors.classify(error)
        return _fail(failure, code, progress, error if failure.reason == "InternalError" else None)
    message.write(result)
    log.info("succeeded: %s", result.digest)
    return 0


def probe() -> int:
    """Resolve the inputs' revisions; return 0 even where inputs have errors, the result names them."""
    return _inside(_probe)


def _probe() -> int:
    try:
        config = ProbeConfig.from_json(configuration.read(PROBE_ENV) or "{}")
    except ValueError as error:
        log.error("%s: %s", PROBE_ENV, error)
        message.write(ProbeResult(errors={"": f"{PROBE_ENV}: {error}"}))
        return EXIT_NOT_RETRIABLE
    from tidemill_runtime.trainer import probe as probing

    message.write(probing.probe(config))
    return 0


def import_model() -> int:
    """Copy one model into the store and return the exit code."""
    return _inside(_import_model)


def _import_model() -> int:
    try:
        config = ImportConfig.from_json(configuration.read(importing.CONFIG_ENV) or "{}")
    except ValueError as error:
        failure = Failure(category="Infrastructure", reason="InvalidConfig", message=f"{importing.CONFIG_ENV}: {error}")
        return _fail(failure, EXIT_NOT_RETRIABLE)
    from tidemill_runtime.trainer.importing import job

    log.info("import %s of %s into %s", config.name, config.uri, config.store)
    try:
        result = job.run(config)
    except Exception as error:
        failure, code = errors.classify(error)
        return _fail(failure, code, traced=error if failure.reason == "InternalError" else None)
    message.write(result)
    log.info("succeeded: %s", result.digest)
    return 0


def records() -> int:
    """Read or write records of versions; return 0 even where the store refuses, the result says so."""
    # Records are read and signed by the operator: each byte counts, and none of them is of a Secret of this pod. A name
    # of an account, which is one of the values that logs must not have, may well be a word of a record.
    records_to = sys.stdout
    return _inside(lambda: _records(records_to))


def _records(records_to: TextIO) -> int:
    try:
        config = RecordsConfig.from_json(configuration.read(RECORDS_ENV) or "{}")
    except ValueError as error:
        message.write(RecordsResult(error=f"{RECORDS_ENV}: {error}"))
        return EXIT_NOT_RETRIABLE
    from tidemill_runtime.trainer import version_records

    writes = bool(config.write) or config.series is not None
    message.write(version_records.write(config) if writes else version_records.show(config, records_to))
    return 0


def _fail(failure: Failure, code: int, progress: "Progress | None" = None, traced: Exception | None = None) -> int:
    log.error("failed: %s, %s: %s", failure.category, failure.reason, failure.message, exc_info=traced)
    message.write(
        TrainingResult(
            outcome="Failed",
            failure=failure,
            rows=progress.rows if progress is not None else {},
            data=progress.data if progress is not None else {},
            seconds=progress.seconds if progress is not None else {},
            warnings=tuple(progress.warnings) if progress is not None else (),
        )
    )
    return code
