"""`python -m tidemill_runtime.server`: serve the version that `TIDEMILL_SERVER_CONFIG` names; `… predict`: score data.

Exit codes: 0 drained, 42 another start cannot help (see docs/serving-protocol.md), 1 it might. The reason
is written to the termination log, where the kubelet and the operator find it. Imports of numeric
libraries wait until their thread counts are set.
"""

import gc
import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from pydantic import ValidationError

from tidemill_contracts.inference import SERVER_CONFIG_ENV, ServerConfig
from tidemill_contracts.ports import ADMIN_PORT, GRPC_PORT, HTTP_PORT
from tidemill_contracts.training import TERMINATION_MESSAGE_LIMIT, TERMINATION_MESSAGE_PATH
from tidemill_runtime.model import thread_limits
from tidemill_runtime.model.errors import StartError
from tidemill_runtime.redaction import redact
from tidemill_runtime.server.host import json_logs
from tidemill_runtime.server.process import lean

HTTP_PORT_ENV = "TIDEMILL_HTTP_PORT"
GRPC_PORT_ENV = "TIDEMILL_GRPC_PORT"
ADMIN_PORT_ENV = "TIDEMILL_ADMIN_PORT"
TERMINATION_LOG_ENV = "TIDEMILL_TERMINATION_LOG"
STUCK_SECONDS_ENV = "TIDEMILL_STUCK_SECONDS"
STUCK_SECONDS = 120.0  # how long an event loop may stand still before liveness fails or its worker is replaced
MAX_WORKERS = 64
_log = logging.getLogger("tidemill_runtime.server")


def main(arguments: Sequence[str] = ()) -> int:
    """Serve until told to stop, or carry out the command that is given; return the exit code."""
    json_logs.configure()
    if arguments:
        return _ended(lambda: _command(arguments))
    gc.disable()  # what a start makes stays: a collection now finds nothing and takes a tenth of the time
    signal.signal(signal.SIGTERM, _stop_while_loading)  # a process with id 1 has no default action
    return _ended(_serve)


def _command(arguments: Sequence[str]) -> None:
    if arguments[0] != "predict":
        raise StartError("ConfigInvalid", f"unknown command {arguments[0]!r}; give none to serve, or predict")
    from tidemill_runtime.batch import cli

    write_termination_message(cli.run(arguments[1:], read_config))


def _ended(work: Callable[[], None]) -> int:
    try:
        work()
    except StartError as error:
        _log.error("%s", error)
        write_termination_message(str(error))
        return error.exit_code
    except Exception as error:
        _log.exception("the server failed")
        write_termination_message(f"InternalError: {type(error).__name__}: {error}")
        return 1
    return 0


def _serve() -> None:
    config = read_config(os.environ.get(SERVER_CONFIG_ENV))
    http_port, admin_port = _port(HTTP_PORT_ENV, HTTP_PORT), _port(ADMIN_PORT_ENV, ADMIN_PORT)
    grpc_port = _port(GRPC_PORT_ENV, GRPC_PORT)
    stuck_seconds = _seconds(STUCK_SECONDS_ENV, STUCK_SECONDS)
    threads = thread_limits.threads_of_each(config.workers, thread_limits.cpu_limit())
    thread_limits.limit_threads(threads, config.workers)
    lean.keep_out()
    from tidemill_runtime.server.host import sockets
    from tidemill_runtime.server.host.state import State
    from tidemill_runtime.server.process import lifecycle
    from tidemill_runtime.server.process.admin_server import AdminServer
    from tidemill_runtime.server.telemetry import metrics
    from tidemill_runtime.server.telemetry.shared_counters import Board

    shared = Board(config.workers, metrics.layout(config).columns)
    state, counted = State(), metrics.Telemetry(config, shared)
    try:
        admin = AdminServer(admin_port, state, counted, stuck_seconds)
        admin.start()
        loaded = lifecycle.load(config, counted, threads if config.workers == 1 else 1)
        listeners = sockets.listen_together(http_port, config.workers)
        with sockets.listen(grpc_port):  # a port that is taken is known before any worker is there
            pass
    except OSError as error:
        raise StartError("StartFailed", str(error), retryable=True) from error
    if config.workers == 1:
        lifecycle.serve(loaded, config, state, counted, threads, listeners[0], grpc_port)
    else:
        from tidemill_runtime.server.process import prefork

        prefork.serve(loaded, config, state, counted, threads, listeners, grpc_port, admin, stuck_seconds)
    admin.stop()


def read_config(text: str | None) -> ServerConfig:
    """Return the configuration.

    Raises:
        StartError: ConfigInvalid; names the field.
    """
    if not text:
        raise StartError("ConfigInvalid", f"the environment variable {SERVER_CONFIG_ENV} is not set")
    try:
        config = ServerConfig.from_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "document"
        raise StartError("ConfigInvalid", f"{SERVER_CONFIG_ENV}: {where}: {first['msg']}") from error
    if not 1 <= config.workers <= MAX_WORKERS:
        raise StartError(
            "ConfigInvalid", f"{SERVER_CONFIG_ENV}: workers: {config.workers}; expected 1 to {MAX_WORKERS}"
        )
    return config


def _port(variable: str, default: int) -> int:
    text = os.environ.get(variable, str(default))
    if not text.isdigit() or int(text) > 65535:
        raise StartError("ConfigInvalid", f"{variable}: {text!r} is no port from 0 to 65535")
    return int(text)


def _seconds(variable: str, default: float) -> float:
    text = os.environ.get(variable)
    if text is None:
        return default
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 1 <= seconds <= 86400:
        raise StartError("ConfigInvalid", f"{variable}: {text!r} is no number of seconds from 1 to 86400")
    return seconds


def _stop_while_loading(number: int, frame: object) -> None:
    del number, frame
    raise SystemExit(0)


def write_termination_message(message: str) -> None:
    """Leave the reason where the kubelet reads it; without such a file (outside a pod) the log has it alone."""
    named = os.environ.get(TERMINATION_LOG_ENV)
    path = Path(named or TERMINATION_MESSAGE_PATH)
    if not named and not path.exists():
        return
    try:
        path.write_bytes(redact(message).encode()[:TERMINATION_MESSAGE_LIMIT])
    except OSError as error:
        _log.warning("no termination message: %s", error)


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # the interpreter would wait for threads whose model call has run out of time
