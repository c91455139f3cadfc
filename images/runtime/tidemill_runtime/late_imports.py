"""One thread for what a process imports while it already serves.

In glibc a thread that allocates beside another gets an arena of its own, and free memory of one arena is not used by
another. Two imports side by side, as on a busy machine, kept 4 MiB more than one after the other.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

_T = TypeVar("_T")
_THREAD: Final = ThreadPoolExecutor(1, thread_name_prefix="late-imports")  # starts with the first work, after any fork


async def run(work: Callable[[], _T]) -> _T:
    """Do work that imports much, beside the event loop and after other such work; return or raise what it does."""
    return await asyncio.get_running_loop().run_in_executor(_THREAD, work)
