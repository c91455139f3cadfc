"""`python -m tidemill_runtime.server`: serve the version that `TIDEMILL_SERVER_CONFIG` names.

Exit codes: 0 drained, 42 another start cannot help (see docs/serving-protocol.md), 1 it might. The reason
is written to the termination log, where the kubelet and the operator find it. Imports of numeric
libraries wait until their thread counts are set.
"""

import logging
import os
import signal
import sys
from pathlib import Path

from pydantic import ValidationError

from tidemill_contracts.inference import ADMIN_PORT, HTTP_PORT, SERVER_CONFIG_ENV, ServerConfig
from tidemill_contracts.training import TERMINATION_MESSAGE_LIMIT, TERMINATION_MESSAGE_PATH
from tidemill_runtime.server import cpu, logs
from tidemill_runtime.server.errors import StartError

HTTP_PORT_ENV = "TIDEMILL_HTTP_PORT"
ADMIN_PORT_ENV = "TIDEMILL_ADMIN_PORT"
TERMINATION_LOG_ENV = "TIDEMILL_TERMINATION_LOG"
STUCK_SECONDS = 120.0  # how long the event loop may stand still before liveness fails
_log = logging.getLogger("tidemill_runtime.server")


def main() -> int:
    """Serve until told to stop; return the exit code."""
    logs.configure()
    signal.signal(signal.SIGTERM, _stop_while_loading)  # a process with id 1 has no default action
    try:
        _serve()
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
    threads = cpu.cpu_limit()
    cpu.limit_threads(threads)
    from tidemill_runtime.server import lifecycle, sockets
    from tidemill_runtime.server.admin import AdminServer
    from tidemill_runtime.server.listeners import HttpListener
    from tidemill_runtime.server.state import State
    from tidemill_runtime.server.telemetry import Telemetry

    state, telemetry = State(), Telemetry(config)
    try:
        admin = AdminServer(_port(ADMIN_PORT_ENV, ADMIN_PORT), state, telemetry, STUCK_SECONDS)
        admin.start()
        parts = lifecycle.assemble(config, state, telemetry, threads)
        listener = sockets.listen(_port(HTTP_PORT_ENV, HTTP_PORT))
    except OSError as error:
        raise StartError("StartFailed", str(error), retryable=True) from error
    http = HttpListener(listener, lifecycle.http_config(config, parts))
    lifecycle.Process(config, state, parts, [http]).run()
    admin.stop()


def read_config(text: str | None) -> ServerConfig:
    """Return the configuration.

    Raises:
        StartError: ConfigInvalid; names the field.
    """
    if not text:
        raise StartError("ConfigInvalid", f"the environment variable {SERVER_CONFIG_ENV} is not set")
    try:
        config = ServerConfig.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "document"
        raise StartError("ConfigInvalid", f"{SERVER_CONFIG_ENV}: {where}: {first['msg']}") from error
    if config.workers != 1:
        raise StartError(
            "ConfigInvalid", f"{SERVER_CONFIG_ENV}: workers: {config.workers}; this server runs 1, add replicas"
        )
    return config


def _port(variable: str, default: int) -> int:
    text = os.environ.get(variable, str(default))
    if not text.isdigit() or int(text) > 65535:
        raise StartError("ConfigInvalid", f"{variable}: {text!r} is no port from 0 to 65535")
    return int(text)


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
        path.write_bytes(message.encode()[:TERMINATION_MESSAGE_LIMIT])
    except OSError as error:
        _log.warning("no termination message: %s", error)


if __name__ == "__main__":
    sys.exit(main())
