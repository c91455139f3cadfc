"""Ends a test's control plane when the test's process is gone without having done so (SIGKILL, a timeout of CI).

`python -m hack.localcluster.local.watchdog PARENT_PID START_TIME FOLDER`. Knows nothing but pid files.
"""

from __future__ import annotations

import shutil
import sys
import time
from pathlib import Path

from hack.localcluster.local.processes import Process, start_time

NAME = "watchdog"


def watch(parent: int, started: str, folder: Path, *, every: float = 1.0) -> None:
    """Return after `parent` ended and everything with a pid file in `folder` was stopped; `folder` is removed."""
    while start_time(parent) == started:
        time.sleep(every)
    for entry in sorted((folder / "pids").glob("*"), reverse=True):
        if entry.name != NAME:
            Process(entry.name, [], folder, stop_seconds=1).stop()
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    watch(int(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
