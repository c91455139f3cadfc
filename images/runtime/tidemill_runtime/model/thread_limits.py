"""How many threads numeric libraries may use: what the container may spend, not what the machine has.

Must be imported before numpy: OpenMP and BLAS read their variables once, when they are loaded.
"""

import math
import os
from pathlib import Path

_CGROUP_V2 = Path("/sys/fs/cgroup/cpu.max")
_CGROUP_V1 = Path("/sys/fs/cgroup/cpu")
# ONNX Runtime reports its use to its maker from a thread that is there from its import on, unless this is set.
_NO_REPORTS = "ORT_DISABLE_TELEMETRY"
_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def cpu_limit(v2: Path = _CGROUP_V2, v1: Path = _CGROUP_V1) -> int:
    """Return the CPUs this process may use, at least 1: the smaller of affinity and cgroup quota (rounded up)."""
    allowed = len(os.sched_getaffinity(0))
    try:
        quota, period = v2.read_text().split()[:2]
    except OSError:
        try:
            quota = (v1 / "cpu.cfs_quota_us").read_text().strip()
            period = (v1 / "cpu.cfs_period_us").read_text().strip()
        except OSError:
            return allowed
    if not quota.isdigit() or int(quota) <= 0:
        return allowed
    return max(1, min(allowed, math.ceil(int(quota) / int(period))))


def threads_of_each(workers: int, limit: int) -> int:
    """Return how many threads each worker process may predict with: together the CPUs, at least 1 each."""
    return max(1, limit // workers)


def limit_threads(threads: int, workers: int = 1) -> None:
    """Set how many threads numeric libraries use that are loaded later.

    What a person has set stays, but not with several workers: a library must have no threads when the process
    forks, since they would not exist in the worker that waits for them.
    """
    os.environ[_NO_REPORTS] = "1"
    for name in _VARIABLES:
        if workers == 1:
            os.environ.setdefault(name, str(threads))
        else:
            os.environ[name] = "1"
