"""The command line of batch prediction: which version is loaded, what is read and what is written.

SIGTERM ends the run at once: what was written has no name yet and is removed.
"""

import argparse
import logging
import os
import signal
import sys
from collections.abc import Sequence
from typing import NoReturn, get_args

from tidemill_contracts.counts import counted
from tidemill_contracts.inference import SERVER_CONFIG_ENV, ServerConfig
from tidemill_contracts.runtimes import RequestedRuntime
from tidemill_runtime.loading import server_config
from tidemill_runtime.model import thread_limits
from tidemill_runtime.model.errors import StartError

EXIT_TERMINATED = 143  # 128 + SIGTERM: a Job must not take an interrupted run for a finished one
EXIT_INTERRUPTED = 130  # 128 + SIGINT
_log = logging.getLogger(__name__)


class _Terminated(BaseException):
    """SIGTERM."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Refuse the arguments as any other configuration."""
        raise StartError("ConfigInvalid", message)


def run(arguments: Sequence[str]) -> str:
    """Score a data set as the arguments say, and return a sentence that counts its rows.

    Raises:
        StartError: it cannot be done; with the process's exit code.
    """
    signal.signal(signal.SIGTERM, _stop_while_loading)
    try:
        return _run(_parser().parse_args(arguments))
    except (_Terminated, KeyboardInterrupt) as error:
        _end(EXIT_TERMINATED if isinstance(error, _Terminated) else EXIT_INTERRUPTED)


def _end(code: int) -> NoReturn:
    _log.warning("stopped by a signal: nothing was written")
    logging.shutdown()
    sys.stderr.flush()
    os._exit(code)  # at once: threads may be inside a model for long


def _stop_while_loading(number: int, frame: object) -> None:
    """End at once: libraries that are being imported lose an exception, or raise another in its place."""
    del number, frame
    _end(EXIT_TERMINATED)  # the next start removes the copy of the version


def _terminate(number: int, frame: object) -> None:
    del number, frame
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise _Terminated


def _run(options: argparse.Namespace) -> str:
    threads = thread_limits.cpu_limit()
    thread_limits.limit_threads(1)  # chunks are predicted side by side, so each call needs one thread
    config = _config(options)
    from tidemill_runtime.batch import scoring_job
    from tidemill_runtime.batch.predictor import Predictor, ResultOptions
    from tidemill_runtime.storage.base import StorageError

    log_url = options.log_url or (config.log.url if options.log and config.log else None)
    if options.log and log_url is None:
        raise StartError("ConfigInvalid", "--log needs --log-url: the configuration names no monitor")
    result = ResultOptions(options.columns, options.output_columns, options.id_column, options.prefix, options.on_error)
    task = scoring_job.Task(
        input=options.input,
        output=options.output,
        options=result,
        chunk_rows=options.chunk_rows,
        input_secret=options.secret_input,
        output_secret=options.secret_output,
        log_url=log_url,
        log_ratio=options.log_sample_ratio,
    )
    try:
        predictor = Predictor.open(config, 1)
        signal.signal(signal.SIGTERM, _terminate)  # from here on there is something to remove
        done = scoring_job.run(predictor, task, threads)
    except StorageError as error:
        raise StartError(error.reason, str(error), retryable=error.retriable) from error
    refused = f", {done.refused} of them without an answer" if done.refused else ""
    rate = done.rows / done.seconds if done.seconds else 0.0
    text = f"{counted(done.rows, 'row')} in {done.seconds:.1f} s{refused}: {options.output}"
    _log.info("%s (%.0f rows/s, %s)", text, rate, done.runtime)
    return text


def _config(options: argparse.Namespace) -> ServerConfig:
    given = {name: getattr(options, name) for name in ("uri", "digest")}
    if not any(given.values()):
        return server_config.read()
    missing = [f"--{name}" for name, value in given.items() if not value]
    if missing:
        raise StartError("ConfigInvalid", f"--uri and --digest belong together; {missing[0]} is missing")
    return ServerConfig(
        namespace=options.namespace,
        deployment=options.deployment,
        version=options.version or options.digest[:19],
        number="0",
        digest=options.digest,
        uri=options.uri,
        secret=options.secret_model,
        runtime=options.runtime,
        allow_pickle=options.allow_pickle,
        allow_code=options.allow_code,
    )


def _parser() -> argparse.ArgumentParser:
    names = lambda text: tuple(name for name in text.split(",") if name)  # noqa: E731
    parser = _Parser(
        prog="python -m tidemill_runtime.batch",
        description="Score Parquet files with a model version, with a server's checks. See docs/batch-prediction.md.",
    )
    add = parser.add_argument
    add(
        "--input",
        required=True,
        metavar="URI",
        help="a file, a folder, or a pattern: a path, or a URI that training data may have",
    )
    add("--output", required=True, metavar="URI", help="the file to write, ending in .parquet")
    add("--columns", type=names, metavar="A,B", help="columns of the input that the result keeps; '' for none (all)")
    add("--output-columns", type=names, metavar="A,B", help="the model's outputs that the result has (all)")
    add("--prefix", default="", help="put before the names of all columns that are added")
    add("--id-column", metavar="NAME", help="the input's column with the ids of predictions (made from data and row)")
    add("--on-error", choices=("fail", "null", "skip"), default="fail", help="what a row without an answer does (fail)")
    add("--chunk-rows", type=_positive, metavar="N", help="rows at once (131072, fewer for wide models)")
    model = parser.add_argument_group("model", f"without --uri, the version that {SERVER_CONFIG_ENV} names")
    model.add_argument("--uri", help="where the version is, as spec.uri of its ModelVersion says")
    model.add_argument("--digest", help="its digest, as spec.digest says")
    model.add_argument("--runtime", choices=get_args(RequestedRuntime), default="Auto")
    model.add_argument("--allow-pickle", action="store_true", help="load joblib, which can run any code")
    model.add_argument("--allow-code", action="store_true", help="load the version's own functions and classes")
    model.add_argument("--namespace", default="", help="for the prediction log")
    model.add_argument("--deployment", default="model", help="the ModelDeployment whose monitor gets the rows (model)")
    model.add_argument("--version", help="the ModelVersion's name")
    secrets = parser.add_argument_group("secrets", "names of Secrets mounted below /mnt/secret")
    for what in ("model", "input", "output"):
        secrets.add_argument(f"--secret-{what}", metavar="NAME")
    log = parser.add_argument_group("prediction log")
    log.add_argument("--log", action="store_true", help="report rows to the monitor that the configuration names")
    log.add_argument("--log-url", metavar="URL", help="report rows to this monitor")
    log.add_argument("--log-sample-ratio", type=_ratio, default=1.0, metavar="R", help="share of rows, 0 to 1 (1)")
    return parser


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is not at least 1")
    return value


def _ratio(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not from 0 to 1")
    return value
