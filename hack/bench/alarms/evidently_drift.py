"""`python evidently_drift.py REFERENCE ROWS`: the same by Evidently with its defaults, run in its own environment.

Seconds are from the first byte that is read to the verdict, without the start of Python and imports.
"""

import json
import sys
import time
from pathlib import Path

import pandas as pd
from evidently import Report
from evidently.presets import DataDriftPreset

started = time.perf_counter()
reference, current = (pd.read_parquet(path) for path in sys.argv[1:3])
snapshot = Report([DataDriftPreset()]).run(current, reference)
metrics = snapshot.dict()["metrics"]
seconds = time.perf_counter() - started
status = Path("/proc/self/status").read_text()
peak = int(status.split("VmHWM:")[1].split()[0]) / 1024
print(json.dumps({"seconds": seconds, "rows": len(current), "metrics": len(metrics), "mebibytes": peak}))
