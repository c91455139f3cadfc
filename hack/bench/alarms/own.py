"""`python -m hack.bench.alarms.own PROFILE ROWS`: drift of a Parquet file, as JSON on standard output.

From the first byte that is read to the verdict, without the start of Python and imports: seconds, and those of the CPU.
"""

import json
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq

from hack.bench.alarms import rates, windows
from tidemill_contracts.drift_tests import AUTO
from tidemill_contracts.monitoring import DriftConfig, TestConfig
from tidemill_contracts.reference import ReferenceProfile
from tidemill_runtime.monitor.binning import Layout
from tidemill_runtime.monitor.tables import count_tables

ROWS_AT_ONCE = 65_536


def main(profile: Path, rows: Path) -> None:
    """Read the file in pieces and judge it as one window."""
    started, cpu = time.perf_counter(), time.process_time()
    layout = Layout(ReferenceProfile.from_json(profile.read_bytes()))
    parts = pq.ParquetFile(rows, pre_buffer=False).iter_batches(batch_size=ROWS_AT_ONCE, use_threads=False)
    number, counts = count_tables(layout, parts)
    config = rates.monitor(DriftConfig(features=TestConfig(test=AUTO)), 3_600)
    verdict = windows.report(config, layout, number, counts)
    taken = {"seconds": time.perf_counter() - started, "cpu_seconds": time.process_time() - cpu}
    drifted = [feature.name for feature in verdict.features if feature.drifted]
    print(json.dumps({**taken, "rows": number, "drifted": drifted, "mebibytes": peak_mebibytes()}))


def peak_mebibytes() -> float:
    """Return the most memory that this process ever held."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
