"""What the demo prints: one short sentence for each step, and a line that changes while it waits."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Console:
    """Prints sentences with the time since the start."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._live = sys.stdout.isatty()

    def _clock(self) -> str:
        minutes, seconds = divmod(int(time.monotonic() - self._started), 60)
        return f"{minutes:02d}:{seconds:02d}"

    def heading(self, title: str) -> None:
        """Print the heading of a part."""
        print(f"\n{self._clock()}  == {title}", flush=True)

    def say(self, sentence: str) -> None:
        """Print one thing that happened."""
        print(f"{self._clock()}  ✓ {sentence}", flush=True)

    def show(self, text: str) -> None:
        """Show output of a command, indented."""
        for line in text.rstrip().splitlines():
            print(f"         {line}", flush=True)

    @contextmanager
    def waiting(self, what: str, state: Callable[[], str] | None = None) -> Iterator[None]:
        """Show what is waited for; on a terminal as one line that changes, elsewhere as a line each 20 seconds."""
        done = threading.Event()
        pause = 1.0 if self._live else 20.0

        def show_progress() -> None:
            if not self._live:
                print(f"{self._clock()}  … {what}", flush=True)
            while not done.wait(pause):
                now = f": {state()}" if state else ""
                text = f"{self._clock()}  … {what}{now}"
                print(f"\r\033[K{text[:150]}" if self._live else text, end="" if self._live else "\n", flush=True)

        thread = threading.Thread(target=show_progress, daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()
            if self._live:
                print("\r\033[K", end="", flush=True)
