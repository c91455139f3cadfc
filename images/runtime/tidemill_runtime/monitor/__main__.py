"""`python -m tidemill_runtime.monitor`: one monitor, configured by the document in TIDEMILL_MONITOR_CONFIG.

TIDEMILL_MONITOR_HOST and TIDEMILL_MONITOR_PORT override where it listens.
"""

import logging
import os
import sys
from collections.abc import Mapping

import uvicorn
from pydantic import ValidationError

from tidemill_contracts.inference import MONITOR_CONFIG_ENV, MONITOR_PORT
from tidemill_contracts.monitoring import MonitorConfig
from tidemill_runtime.monitor.app import create_app, describe
from tidemill_runtime.monitor.service import Monitor

HOST_ENV = "TIDEMILL_MONITOR_HOST"
PORT_ENV = "TIDEMILL_MONITOR_PORT"


def main(environment: Mapping[str, str]) -> int:
    """Serve until SIGTERM; return 2 when the configuration is missing or wrong."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    try:
        config = MonitorConfig.from_json(environment.get(MONITOR_CONFIG_ENV, ""))
    except ValidationError as error:
        logging.getLogger(__name__).error("%s: %s", MONITOR_CONFIG_ENV, describe(error))
        return 2
    uvicorn.run(
        create_app(Monitor(config)),
        host=environment.get(HOST_ENV, "0.0.0.0"),  # noqa: S104  # the pod's address; a NetworkPolicy guards it
        port=int(environment.get(PORT_ENV, MONITOR_PORT)),
        access_log=False,
        timeout_graceful_shutdown=10,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(os.environ))
