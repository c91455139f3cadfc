"""`python -m tidemill_runtime.monitor`: one monitor, configured by the document in TIDEMILL_MONITOR_CONFIG.

It listens on a port for each kind of caller, see `tidemill_contracts.ports`. For runs outside a pod:
TIDEMILL_MONITOR_HOST, TIDEMILL_MONITOR_HTTP_PORT, …_ADMIN_PORT, …_FEEDBACK_PORT, …_REPORT_PORT.
"""

import contextlib
import logging
import os
import socket
import sys
from collections.abc import Mapping

import uvicorn
from pydantic import ValidationError

from tidemill_contracts.inference import MONITOR_CONFIG_ENV
from tidemill_contracts.monitoring import MonitorConfig
from tidemill_contracts.ports import PORTS
from tidemill_runtime import configuration, json_logs
from tidemill_runtime.monitor.app import Doors, describe
from tidemill_runtime.monitor.connection import Gate, MonitorConnection
from tidemill_runtime.monitor.service import Monitor

HOST_ENV = "TIDEMILL_MONITOR_HOST"
PORT_ENV = "TIDEMILL_MONITOR_{}_PORT"
_BACKLOG = 2048
_log = logging.getLogger("tidemill_runtime.monitor")  # __name__ is __main__ here


def main(environment: Mapping[str, str]) -> int:
    """Serve until SIGTERM; return 2 when the configuration is missing or wrong, 3 when the monitor cannot start."""
    json_logs.configure()
    try:
        config = MonitorConfig.from_json(configuration.read(MONITOR_CONFIG_ENV, environment) or "")
    except ValueError as error:
        why = describe(error) if isinstance(error, ValidationError) else str(error)
        _log.error("%s: %s", MONITOR_CONFIG_ENV, why)
        return 2
    with contextlib.ExitStack() as stack:
        sockets = {name: stack.enter_context(one) for name, one in listen(environment).items()}
        ports = {name: one.getsockname()[1] for name, one in sockets.items()}
        application = Doors(Monitor(config), None, ports)
        connection = MonitorConnection.of(Gate())
        server = uvicorn.Server(
            uvicorn.Config(
                application,
                http=connection,
                ws="none",
                log_config=None,
                access_log=False,
                timeout_graceful_shutdown=10,
            )
        )
        server.run(list(sockets.values()))
    return 0 if server.started else 3


def listen(environment: Mapping[str, str]) -> dict[str, socket.socket]:
    """Return a listening socket for each port of the monitor, by its name."""
    host = environment.get(HOST_ENV, "0.0.0.0")  # noqa: S104  # the pod's address; a NetworkPolicy guards it
    numbers = {p.name: int(environment.get(PORT_ENV.format(p.name.upper()), p.number)) for p in PORTS["monitor"]}
    return {name: socket.create_server((host, number), backlog=_BACKLOG) for name, number in numbers.items()}


if __name__ == "__main__":
    sys.exit(main(os.environ))
