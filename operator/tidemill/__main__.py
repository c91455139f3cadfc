"""Entry point of the operator image: `tidemill-operator` or `python -m tidemill`."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import sys

from tidemill.app import Operator
from tidemill.config import ConfigError, OperatorConfig, unknown_settings
from tidemill.engine import logs
from tidemill.errors import TidemillError
from tidemill.kube import access

logger = logging.getLogger("tidemill")


async def _run(config: OperatorConfig) -> None:
    stop = asyncio.Event()
    operator = Operator(config, access.load())
    running = asyncio.create_task(operator.run(stop), name="operator")
    loop = asyncio.get_running_loop()

    def on_signal(name: str) -> None:
        logger.info("%s: stopping", name)
        stop.set()

    def take_signals() -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, on_signal, number.name)

    take_signals()
    await asyncio.wait({running}, timeout=5.0)
    take_signals()  # kopf puts its own handlers in place when it starts; ours drain first
    await running


def main() -> int:
    """Runs until SIGTERM (0) or a failure (1); 2 when the configuration cannot be read."""
    try:
        config = OperatorConfig.from_env()
    except ConfigError as error:
        print(f"tidemill-operator: {error}", file=sys.stderr)  # noqa: T201 - the log is not configured yet
        return 2
    logs.configure(config.log_level)
    for name in unknown_settings():
        logger.warning("%s is not a setting of the operator", name)
    gc.freeze()  # what the imports made stays: no use in looking at it again and again
    gc.set_threshold(50_000, 20, 20)
    try:
        asyncio.run(_run(config))
    except TidemillError as error:
        logger.error("%s", error)
        return 1
    except Exception:
        logger.exception("the operator ended unexpectedly")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
