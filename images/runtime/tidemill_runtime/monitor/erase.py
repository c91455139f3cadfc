"""`python -m tidemill_runtime.monitor.erase ID… client=HASH…`: removes rows from store and database.

For the pod of the monitor, with `kubectl exec`. An ID is that of a prediction, or of a request, which stands for all of
its rows; a HASH is what the column `client` has, and the figures of that client go, too. Run again, it removes what
came meanwhile.
"""

import os
import sys
from collections.abc import Mapping, Sequence

from tidemill_contracts.counts import counted
from tidemill_contracts.inference import MONITOR_CONFIG_ENV
from tidemill_contracts.monitoring import MonitorConfig
from tidemill_runtime import configuration
from tidemill_runtime.monitor import clients, payloads, schema
from tidemill_runtime.storage.base import StorageError
from tidemill_runtime.storage.folders import open_folder

_CLIENT = "client="


def main(ids: Sequence[str], environment: Mapping[str, str]) -> int:
    """Erase and say how many rows went; return 2 where there is nothing to erase from, 1 where the store fails."""
    config = MonitorConfig.from_json(configuration.read(MONITOR_CONFIG_ENV, environment) or "")
    clients_ = frozenset(one.removeprefix(_CLIENT) for one in ids if one.startswith(_CLIENT))
    if not ids or (config.payloads is None and (config.gaming is None or not clients_)):
        sys.stderr.write("no rows are kept\n" if ids else "name at least one id of a prediction or a request\n")
        return 2
    connection = schema.connect(config.database)
    try:
        if config.payloads is not None:
            folder = open_folder(config.payloads.uri, config.payloads.secret)
            named = frozenset(one for one in ids if not one.startswith(_CLIENT))
            sys.stdout.write(f"{counted(payloads.erase(connection, folder, named, clients_), 'row')} erased\n")
        if config.gaming is not None:
            sys.stdout.write(f"{counted(clients.erase(connection, clients_), 'client')} forgotten\n")
    except StorageError as error:
        sys.stderr.write(f"the store failed, and nothing is known of the rest: {error}\n")
        return 1
    finally:
        connection.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
