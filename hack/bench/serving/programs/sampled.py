"""Runs a module as `python -m` does and samples its main thread: `sampled.py RESULT MODULE`.

From SIGUSR2 on, a timer of the process's CPU time interrupts it every two milliseconds. The function that runs has the
time itself, and in C called by it (the model, JSON, sockets); its callers have it among theirs. At the end RESULT gets
JSON: the number of samples, and by function how many were its own and how many were of it and what it called.
"""

import json
import os
import runpy
import signal
import sys
from collections import Counter
from pathlib import Path
from types import CodeType, FrameType
from typing import NoReturn

_INTERVAL_SECONDS = 0.002
own: Counter[CodeType] = Counter()
whole: Counter[CodeType] = Counter()


def sample(number: int, frame: FrameType | None) -> None:
    """Count what runs now."""
    del number
    if frame is not None:
        own[frame.f_code] += 1
    seen: set[CodeType] = set()
    while frame is not None:
        seen.add(frame.f_code)
        frame = frame.f_back
    whole.update(seen)


def begin(number: int, frame: FrameType | None) -> None:
    """Start the timer."""
    del number, frame
    signal.setitimer(signal.ITIMER_PROF, _INTERVAL_SECONDS, _INTERVAL_SECONDS)


def name(code: CodeType) -> str:
    """Return where a function is: file and name."""
    return f"{Path(code.co_filename).parent.name}/{Path(code.co_filename).name}: {code.co_qualname}"


def write(path: str) -> None:
    """Stop the timer and write what was found."""
    signal.setitimer(signal.ITIMER_PROF, 0)
    found = {name(code): [own[code], count] for code, count in whole.items()}
    Path(path).write_text(json.dumps({"samples": own.total(), "functions": found}))


if __name__ == "__main__":
    result, module = sys.argv[1:3]
    end_at_once = os._exit

    def end(status: int) -> NoReturn:
        """End without cleaning up, as our server does; its `finally` would never come."""
        write(result)
        end_at_once(status)

    os._exit = end
    sys.path.pop(0)  # this folder
    sys.argv = [module]
    signal.signal(signal.SIGPROF, sample)
    signal.signal(signal.SIGUSR2, begin)
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    finally:
        write(result)
