"""`python -m tidemill_runtime.server`: serve the version that `TIDEMILL_SERVER_CONFIG` names.

Exit codes: 0 drained, 42 another start cannot help (see docs/serving-protocol.md), 1 it might. The reason
is written to the termination log, where the kubelet and the operator find it. Imports of numeric
libraries wait until their thread counts are set.
"""

import gc
import os
import signal
import sys
from collections.abc import Sequence

from tidemill_contracts.ports import ADMIN_PORT, GRPC_PORT, HTTP_PORT
from tidemill_runtime import json_logs, termination
from tidemill_runtime.loading import server_config
from tidemill_runtime.model import thread_limits
from tidemill_runtime.model.errors import StartError

HTTP_PORT_ENV = "TIDEMILL_HTTP_PORT"
GRPC_PORT_ENV = "TIDEMILL_GRPC_PORT"
ADMIN_PORT_ENV = "TIDEMILL_ADMIN_PORT"
STUCK_SECONDS_ENV = "TIDEMILL_STUCK_SECONDS"
STUCK_SECONDS = 120.0  # how long an event loop may stand still before liveness fails or its worker is replaced
MOVED = (
    "predict is no command of the server any more: run `python -m tidemill_runtime.batch` with the same flags in the"
    " trainer image (docs/batch-prediction.md)"
)


def main(arguments: Sequence[str] = ()) -> int:
    """Serve until a signal; return the exit code."""
    json_logs.configure()
    if arguments:
        return termination.run(lambda: _refuse(arguments))
    gc.disable()  # what a start makes stays: a collection now finds nothing and takes a tenth of the time
    signal.signal(signal.SIGTERM, _stop_while_loading)  # a process with id 1 has no default action
    return termination.run(_serve)


def _refuse(arguments: Sequence[str]) -> None:
    text = MOVED if arguments[0] == "predict" else f"unknown arguments {' '.join(arguments)!r}: expected none"
    raise StartError("ConfigInvalid", text)


def _serve() -> None:
    config = server_config.read()
    http_port, admin_port = _port(HTTP_PORT_ENV, HTTP_PORT), _port(ADMIN_PORT_ENV, ADMIN_PORT)
    grpc_port = _port(GRPC_PORT_ENV, GRPC_PORT)
    stuck_seconds = _seconds(STUCK_SECONDS_ENV, STUCK_SECONDS)
    threads = thread_limits.threads_of_each(config.workers, thread_limits.cpu_limit())
    thread_limits.limit_threads(threads, config.workers)
    from tidemill_runtime.server.host import sockets
    from tidemill_runtime.server.host.state import State
    from tidemill_runtime.server.process import lifecycle
    from tidemill_runtime.server.process.admin_server import AdminServer
    from tidemill_runtime.server.rpc import listener as grpc_listener
    from tidemill_runtime.server.telemetry import metrics
    from tidemill_runtime.server.telemetry.shared_counters import SharedCounters

    shared = SharedCounters(config.workers, metrics.layout(config).columns)
    state, counted = State(), metrics.Telemetry(config, shared)
    try:
        admin = AdminServer(admin_port, state, counted, stuck_seconds)
        admin.start()
        importing = grpc_listener.importing() if config.grpc else None
        loaded = lifecycle.load(config, counted, threads if config.workers == 1 else 1)
        listeners = sockets.listen_together(http_port, config.workers)
        if importing is not None:
            importing.join()
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
    """End at once: libraries that are being imported lose an exception, or raise another in its place."""
    del number, frame
    os._exit(0)  # the next start removes the copy of the version


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # the interpreter would wait for threads whose model call has run out of time
