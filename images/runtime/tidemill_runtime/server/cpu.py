"""How many threads numeric libraries may use: what the container may spend, not what the machine has.

Must be imported before numpy: OpenMP and BLAS read their variables once, when they are loaded.
"""

import math
import os
from pathlib import Path

_CGROUP_V2 = Path("/sys/fs/cgroup/cpu.max")
_CGROUP_V1 = Path("/sys/fs/cgroup/cpu")
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


def limit_threads(threads: int) -> None:
    """Tell numeric libraries that are loaded later how many threads to use; what is set already stays."""
    for name in _VARIABLES:
        os.environ.setdefault(name, str(threads))
