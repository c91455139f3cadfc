"""`python evidently_drift.py REFERENCE ROWS`: the same by Evidently with its defaults, run in its own environment.

From the first byte that is read to the verdict, without the start of Python and imports: seconds, and those of the CPU.
"""

import json
import sys
import time
from pathlib import Path

import pandas as pd
from evidently import Report
from evidently.presets import DataDriftPreset

started, cpu = time.perf_counter(), time.process_time()
reference, current = (pd.read_parquet(path) for path in sys.argv[1:3])
snapshot = Report([DataDriftPreset()]).run(current, reference)
metrics = snapshot.dict()["metrics"]
taken = {"seconds": time.perf_counter() - started, "cpu_seconds": time.process_time() - cpu}
status = Path("/proc/self/status").read_text()
peak = int(status.split("VmHWM:")[1].split()[0]) / 1024
print(json.dumps({**taken, "rows": len(current), "metrics": len(metrics), "mebibytes": peak}))
