"""Which version a server or a batch prediction loads, and how: the document in `TIDEMILL_SERVER_CONFIG`."""

import os

from pydantic import ValidationError

from tidemill_contracts.inference import SERVER_CONFIG_ENV, ServerConfig
from tidemill_runtime.model.errors import StartError

MAX_WORKERS = 64


def read() -> ServerConfig:
    """Return the configuration of this process.

    Raises:
        StartError: ConfigInvalid; names the field.
    """
    text = os.environ.get(SERVER_CONFIG_ENV)
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
