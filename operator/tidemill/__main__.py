"""Entry point of the operator image: `tidemill-operator` or `python -m tidemill`."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import sys

from tidemill import handlers
from tidemill.app import Operator
from tidemill.config import ConfigError, OperatorConfig, unknown_settings
from tidemill.engine import logs
from tidemill.errors import TidemillError
from tidemill.kube import access

logger = logging.getLogger("tidemill")


async def _run(config: OperatorConfig) -> None:
    reach = access.load()
    operator = Operator(config, reach)
    await handlers.run(handlers.Process(operator.run, operator.served.wait, reach))


def main() -> int:
    """Returns 2 when the configuration cannot be read; else ends the process: 0 after SIGTERM, 1 after a failure.

    The process is left at once, without asking every task of the framework to end: what deserves an orderly end
    (passes, Lease) has had it, and a task that does not want to end would leave a deaf operator running.
    """
    try:
        config = OperatorConfig.from_env()
    except ConfigError as error:
        logs.configure("INFO")
        logger.error("%s", error)
        return 2
    logs.configure(config.log_level)
    for name in unknown_settings():
        logger.warning("%s is not a setting of the operator", name)
    gc.freeze()  # what the imports made stays: no use in looking at it again and again
    gc.set_threshold(10_000, 20, 10)
    code = 1
    try:
        asyncio.new_event_loop().run_until_complete(_run(config))
        code = 0
    except TidemillError as error:
        logger.error("%s", error)
    except Exception:
        logger.exception("the operator ended unexpectedly")
    logging.shutdown()
    os._exit(code)


if __name__ == "__main__":
    sys.exit(main())
