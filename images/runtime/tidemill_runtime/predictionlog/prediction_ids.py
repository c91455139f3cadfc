"""Ids of predictions that the server makes: `<digest>-<time>-<random>`, all lower-case hexadecimal, 58 characters.

Who knows the id of a prediction can send the monitor its label, so nobody may guess one: 128 bits come from the
kernel's generator. Many are drawn at once, because a call for each would cost more than the rest of the id.
The first part are the digits of the version's digest that its pods carry as the label `tidemill.io/digest`, the second
the milliseconds since the epoch: an id alone leads to its version and to the records of its time.
"""

import os
import time
from collections.abc import Iterator

from tidemill_contracts.digests import LABEL_DIGITS, first_digits

TIME_DIGITS = 12  # milliseconds, until the year 10889
_RANDOM_DIGITS = 32  # 128 bits
_AT_ONCE = 256


class PredictionIds:
    """Makes the ids of one version's predictions. Safe from any thread, and after a fork."""

    def __init__(self, digest: str) -> None:
        """`digest`: that of the version, `sha256:<hex>`."""
        self._digest = first_digits(digest, LABEL_DIGITS)
        self._random: Iterator[str] = iter(())
        os.register_at_fork(after_in_child=self._forget)

    def new(self) -> str:
        """Return an id that nobody has seen and nobody can guess."""
        part = next(self._random, None)  # one step for the interpreter: two threads never get the same part
        while part is None:
            digits = os.urandom(_AT_ONCE * _RANDOM_DIGITS // 2).hex()
            self._random = iter([digits[i : i + _RANDOM_DIGITS] for i in range(0, len(digits), _RANDOM_DIGITS)])
            part = next(self._random, None)
        return f"{self._digest}-{int(time.time() * 1000):0{TIME_DIGITS}x}-{part}"

    def _forget(self) -> None:
        self._random = iter(())
