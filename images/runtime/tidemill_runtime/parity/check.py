"""The check itself: both forms predict blocks of rows, in batches and alone, within bounds.

How far it goes is decided by counts, so that a version's digest does not depend on how fast a machine is; the clock
only ends a check that takes far too long, and what it ended is not verified.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from tidemill_contracts.counts import counted
from tidemill_runtime.model.frame import Array, Frame, Schema
from tidemill_runtime.model.prediction import Predictor
from tidemill_runtime.parity.compare import Outcome, Refused, describe, difference, outcome, scales
from tidemill_runtime.parity.rows import Block

SECONDS = 60.0  # of the processor's time, which does not depend on what else runs on the machine
CHUNK = 256  # rows of one request
_ALONE = {"training": 200}
_ALONE_OTHERS = 8
_REFUSALS = 200  # requests of one row that are asked because a request of many was refused
_KEPT = 64 << 20  # bytes of answers

Clock = Callable[[], float]


@dataclass(frozen=True)
class Verdict:
    """What a check found: `rows` of `candidates` were compared, `reason` names the first row that differs, if any."""

    rows: int
    candidates: int
    reason: str = ""
    is_late: bool = False  # the clock ended it

    @property
    def passed(self) -> bool:
        """Whether every row was answered alike and the check came to its end."""
        return not self.reason and not self.is_late


@dataclass
class _Native:
    """Answers of the native form, kept for the check of batches, as far as they are not too large."""

    model: Predictor
    known: dict[tuple[int, int, int], Outcome] = field(default_factory=dict)
    left: int = _KEPT

    def answer(self, block: int, places: Array, frame: Frame) -> Outcome:
        key = (block, int(places[0]), len(places))
        if (kept := self.known.get(key)) is not None:
            return kept
        found = outcome(self.model, frame)
        size = 0 if isinstance(found, Refused) else sum(array.nbytes for _, _, array in found.tensors())
        if size <= self.left:
            self.left -= size
            self.known[key] = found
        return found


class Check:
    """Holds forms of one model against its native form."""

    def __init__(
        self,
        native: Predictor,
        schema: Schema,
        blocks: Sequence[Block],
        *,
        seconds: float = SECONDS,
        clock: Clock = time.process_time,
        alone: float = 1.0,
    ) -> None:
        """`alone`: the share of the usual number of rows that are asked alone."""
        self._native = _Native(native)
        self._schema = schema
        self._blocks = blocks
        self._seconds = seconds
        self._clock = clock
        self._share = alone
        first = next((b for b in blocks if b.kind == "training"), None)
        rows = np.arange(min(first.rows, CHUNK)) if first else np.arange(0)
        self._usual = scales(self._native.answer(0, rows, first.frame(schema, rows))) if first else []

    def compared(self, form: Predictor) -> Verdict:
        """Return how a form's answers compare with the native ones."""
        until, total = self._clock() + self._seconds, sum(block.candidates for block in self._blocks)
        count, refusals = 0, 0
        for number, places, is_again in self._requests():
            if self._clock() > until:
                compared = f"{count} of {counted(total, 'row')} were compared"
                reason = f"the check took longer than {self._seconds:g} s: {compared}"
                return Verdict(count, total, reason, is_late=True)
            found, is_refused = self._asked(form, number, places)
            if is_refused and len(places) > 1:
                some = places[: max(0, _REFUSALS - refusals)]  # who is refused is seen alone only
                refusals += len(some)
                alone = (self._asked(form, number, np.array([place]))[0] for place in some)
                found = next(filter(None, alone), "") or self._halved(form, number, places, found)
                places = some
            count += 0 if is_again else len(places)
            if found:
                return Verdict(count, total, found)
        return Verdict(count, total)

    def _asked(self, form: Predictor, number: int, places: Array) -> tuple[str, bool]:
        """Return how the answers to one request differ, "" where they do not, and whether a form refuses it."""
        block = self._blocks[number]
        frame = block.frame(self._schema, places)
        wanted, given = self._native.answer(number, places, frame), outcome(form, frame)
        is_refused = isinstance(wanted, Refused) or isinstance(given, Refused)
        return self._differs(wanted, given, block, places, frame), is_refused

    def _halved(self, form: Predictor, number: int, places: Array, found: str) -> str:
        """Return how the smallest part of a request differs, where the whole does so (`found`).

        One form refuses the whole for a row that need not be among those that were asked alone.
        """
        while found and len(places) > 1:
            halves = ((self._asked(form, number, half)[0], half) for half in np.array_split(places, 2))
            smaller, places = next((half for half in halves if half[0]), ("", places[:0]))
            found = smaller or found
        return found

    def _differs(self, wanted: Outcome, given: Outcome, block: Block, places: Array, frame: Frame) -> str:
        found = difference(wanted, given, self._usual, ("natively", "by ONNX"))
        if found is None:
            return ""
        row, how = found
        among = "alone" if len(places) == 1 else f"among {len(places)}"
        return f"{block.kind} row {describe(frame, row, int(block.changed[places[row]]))} ({among}): {how}"

    def _requests(self) -> Iterator[tuple[int, Array, bool]]:
        """Yield block and rows of each request, and whether these rows are asked again, alone.

        Of every block the first rows come first: a difference is usually there.
        """
        later: list[tuple[int, Array]] = []
        for number, block in enumerate(self._blocks):
            parts = [np.arange(start, min(start + CHUNK, block.rows)) for start in range(0, block.rows, CHUNK)]
            yield number, parts[0], False
            later += [(number, part) for part in parts[1:]]
        yield from ((number, np.array([place]), True) for number, place in self._alone())
        yield from ((number, part, False) for number, part in later)

    def _alone(self) -> Iterator[tuple[int, int]]:
        for number, block in enumerate(self._blocks):
            most = max(4, int(self._share * _ALONE.get(block.kind, _ALONE_OTHERS)))
            places = np.unique(np.linspace(0, block.rows - 1, min(most, block.rows)).astype(np.int64))
            for place in places:
                yield number, int(place)

    def batch_difference(self) -> str:
        """Return the first row that the native form answers otherwise alone than in a batch, "" where there is none."""
        until = self._clock() + self._seconds
        for number, place in self._alone():
            block = self._blocks[number]
            start = place - place % CHUNK
            places = np.arange(start, min(start + CHUNK, block.rows))
            if len(places) == 1 or self._clock() > until:
                continue
            together = self._native.answer(number, places, block.frame(self._schema, places))
            one = np.array([place])
            frame = block.frame(self._schema, one)
            alone = self._native.answer(number, one, frame)
            if isinstance(together, Refused) or isinstance(alone, Refused):
                continue  # a batch that is refused is asked again in halves
            part = together.part(place - start, place - start + 1)
            found = difference(part, alone, self._usual, (f"among {len(places)}", "alone"))
            if found:
                return f"{block.kind} row {describe(frame, 0, int(block.changed[place]))}: {found[1]}"
        return ""
