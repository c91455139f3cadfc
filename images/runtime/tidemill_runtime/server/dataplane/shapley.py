"""Explanations: how much each column of one row moved the prediction away from what is usual.

Contributions are Shapley values of the interventional kind: a column that does not take part has the values of the
background rows, the version's held-out sample. Up to `EXACT_COLUMNS` columns all coalitions are asked; beyond
that, random orders of the columns and their reverses (Castro, Gómez, Tejada 2009; Mitchell et al. 2022). By both
ways contributions and base add up to the prediction. Asks nothing but the model's answers, so it works for any form
and kind of model; imports no library for it. Runs in a thread of its own, one explanation at a time.
"""

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import factorial
from typing import Any, Literal

import numpy as np

from tidemill_runtime.loading.warm_up import WarmModel
from tidemill_runtime.model.errors import BadRequestError, OutOfTimeError, UnavailableError
from tidemill_runtime.model.frame import Array, Frame, shown
from tidemill_runtime.model.prediction import Prediction

EXACT_COLUMNS = 10  # 1,024 coalitions
MAX_ROWS = 20_000  # that a model is asked for one explanation by orders; two orders are walked in any case
MAX_ORDERS = 64
MAX_WAITING = 4
_CHUNK_VALUES = 50_000  # of one call of the model: between two of them the deadline is looked at
Target = Callable[[Prediction], Array]


@dataclass(frozen=True)
class Explanation:
    """`base` and `contributions`, one for each column of the schema, add up to `prediction`."""

    base: float
    contributions: Array
    prediction: float
    output: str
    label: Any  # the class or cluster whose probability is explained; None where `output` is a number
    method: Literal["exact", "permutations"]
    background_rows: int


class Explainer:
    """Explains rows of one warm model. `explain` belongs to the event loop."""

    def __init__(self, warm: WarmModel, answer: Callable[[Frame], Prediction], timeout: float) -> None:
        self._warm = warm
        self._answer = answer
        self._timeout = timeout
        self._pool: ThreadPoolExecutor | None = None
        self._waiting = 0
        self._is_closed = threading.Event()

    async def explain(self, frame: Frame, parameters: Mapping[str, Any]) -> Explanation:
        """Return the explanation of a frame of one row; `parameters` may name `class` and `target`.

        Raises:
            BadRequestError: more rows than one, an unknown class or target, or a row that the model refuses.
            UnavailableError: too many wait. OutOfTimeError: not done in time.
        """
        if frame.rows != 1:
            raise BadRequestError(f"an explanation is of one row, got {frame.rows}")
        if self._waiting >= MAX_WAITING:
            raise UnavailableError(f"overloaded: {MAX_WAITING} explanations wait already")
        if self._pool is None:
            self._pool = ThreadPoolExecutor(1, thread_name_prefix="explain")
        give_up = threading.Event()
        deadline = time.perf_counter() + self._timeout
        self._waiting += 1
        job = self._pool.submit(self._explain, frame, parameters, deadline, give_up)
        loop = asyncio.get_running_loop()

        def ended(_: object) -> None:
            with contextlib.suppress(RuntimeError):  # the loop was closed: nobody counts any more
                loop.call_soon_threadsafe(self._finished)

        job.add_done_callback(ended)
        try:
            async with asyncio.timeout(self._timeout):
                return await asyncio.wrap_future(job)
        except TimeoutError:
            raise self._out_of_time() from None
        finally:
            give_up.set()  # whoever waited has an answer, or is gone

    def _finished(self) -> None:
        self._waiting -= 1

    def close(self) -> None:
        """Give up what is being worked out."""
        self._is_closed.set()
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)

    def _out_of_time(self) -> OutOfTimeError:
        return OutOfTimeError(f"no explanation within {self._timeout:g} s")

    def _explain(
        self, frame: Frame, parameters: Mapping[str, Any], deadline: float, give_up: threading.Event
    ) -> Explanation:
        background = self._warm.background
        output, label, target = _target(self._warm, self._answer(frame), parameters)

        def ask(rows: Frame) -> Array:
            if give_up.is_set() or self._is_closed.is_set() or time.perf_counter() > deadline:
                raise self._out_of_time()
            return target(self._answer(rows)).astype(np.float64)

        game = Game(frame, background, ask)
        columns = frame.schema.width
        is_exact = columns <= EXACT_COLUMNS
        if is_exact:
            base, contributions, prediction = exact(game, columns)
        else:
            orders = min(MAX_ORDERS, max(2, MAX_ROWS // (columns * background.rows)))
            base, contributions, prediction = by_orders(game, columns, orders)
        method: Literal["exact", "permutations"] = "exact" if is_exact else "permutations"
        return Explanation(base, contributions, prediction, output, label, method, background.rows)


class Game:
    """What coalitions of columns are worth: the mean answer with their values of the row, others' of the background."""

    def __init__(self, frame: Frame, background: Frame, ask: Callable[[Frame], Array]) -> None:
        self._row = [frame.column(i)[0] for i in range(frame.schema.width)]
        self._schema = frame.schema
        self._background = [background.column(i) for i in range(frame.schema.width)]
        self._outside = background.rows
        self._is_matrix = frame.matrix is not None and background.matrix is not None
        self._ask = ask

    def worth(self, coalitions: Array) -> Array:
        """Return what each of `coalitions`, boolean [n, columns], is worth, [n]."""
        step = max(1, _CHUNK_VALUES // (self._outside * self._schema.width))
        parts = [self._chunk(coalitions[start : start + step]) for start in range(0, len(coalitions), step)]
        return np.concatenate(parts)

    def _chunk(self, coalitions: Array) -> Array:
        count, outside = len(coalitions), self._outside
        is_in = np.repeat(coalitions, outside, axis=0)
        arrays = [
            np.where(is_in[:, i], np.array([value], dtype=_wider(value, away)), np.tile(away, count))
            for i, (value, away) in enumerate(zip(self._row, self._background, strict=True))
        ]
        rows = count * outside
        if self._is_matrix:
            frame = Frame(self._schema, rows, matrix=np.column_stack(arrays))
        else:
            frame = Frame(self._schema, rows, arrays=arrays)
        means: Array = self._ask(frame).reshape(count, outside).mean(axis=1)
        return means


def _wider(value: Any, away: Array) -> Any:
    return object if away.dtype == object else np.asarray(value).dtype


def exact(game: Game, columns: int) -> tuple[float, Array, float]:
    """Return base, Shapley values [columns] and prediction, from all coalitions."""
    masks = np.arange(2**columns)
    members = (masks[:, None] >> np.arange(columns)) & 1 == 1
    worth = game.worth(members)
    sizes = members.sum(axis=1)
    weights = np.array([factorial(k) * factorial(columns - k - 1) / factorial(columns) for k in range(columns)])
    contributions = np.empty(columns)
    for column in range(columns):
        without = masks[~members[:, column]]
        contributions[column] = (weights[sizes[without]] * (worth[without | (1 << column)] - worth[without])).sum()
    return float(worth[0]), contributions, float(worth[-1])


def by_orders(game: Game, columns: int, orders: int) -> tuple[float, Array, float]:
    """Return base, estimated Shapley values [columns] and prediction, from columns that join in random orders.

    Each order is walked both ways, which takes the estimate's largest errors away; orders are the same every time.
    """
    random = np.random.default_rng(0)
    ends = game.worth(np.array([[False] * columns, [True] * columns]))
    contributions = np.zeros(columns)
    drawn = [random.permutation(columns) for _ in range(max(1, orders // 2))]
    walks = [order for one in drawn for order in (one, one[::-1])]
    for order in walks:
        joined = np.tri(columns - 1, columns, dtype=bool)[:, np.argsort(order)]  # row k: the first k + 1 of the order
        worth = np.concatenate([ends[:1], game.worth(joined), ends[1:]])
        contributions[order] += np.diff(worth)
    return float(ends[0]), contributions / len(walks), float(ends[1])


def _target(warm: WarmModel, answer: Prediction, parameters: Mapping[str, Any]) -> tuple[str, Any, Target]:
    """Return which number is explained: its output, its class if it has one, and how to take it from answers."""
    outputs = warm.manifest.signature.outputs
    place = _place(answer, parameters)

    def first(given: Prediction) -> Array:
        return given.prediction if place is None else given.prediction[:, place]

    if outputs[0].name == "value":
        if outputs[0].datatype == "BYTES":
            raise BadRequestError("this model gives text, which has no contributions")
        _refuse_class(parameters, "this model gives numbers")
        return "value", None, first
    if warm.manifest.task == "outlier-detection" and answer.others:
        _refuse_class(parameters, "what is explained is the score")
        return outputs[1].name, None, lambda given: given.others[0]
    predicted = first(answer).tolist()[0]
    wanted = parameters.get("class")
    label = predicted if wanted is None else wanted
    if answer.probabilities is not None and place is None:
        classes = warm.manifest.classes or tuple(range(answer.probabilities.shape[1]))
        index = _index(classes, label)
        return outputs[1].name, classes[index], lambda given: given.probabilities[:, index]
    if wanted is not None and warm.manifest.classes is not None:
        label = warm.manifest.classes[_index(warm.manifest.classes, wanted)]
    return outputs[0].name, label, lambda given: first(given) == label


def _place(answer: Prediction, parameters: Mapping[str, Any]) -> int | None:
    """Return which of several targets is explained, None for a model of one."""
    target = parameters.get("target")
    if answer.prediction.ndim == 1:
        if target is not None:
            raise BadRequestError("parameters.target: this model has one target")
        return None
    targets = answer.prediction.shape[1]
    if type(target) is int and 0 <= target < targets:
        return target
    raise BadRequestError(f"parameters.target: expected a number from 0 to {targets - 1}, got {shown(target)}")


def _index(classes: Sequence[Any], label: Any) -> int:
    for index, known in enumerate(classes):
        if known == label and isinstance(known, bool) == isinstance(label, bool):
            return index
    names = ", ".join(shown(known) for known in classes[:20])
    raise BadRequestError(f"parameters.class: expected one of {names}, got {shown(label)}")


def _refuse_class(parameters: Mapping[str, Any], reason: str) -> None:
    if parameters.get("class") is not None:
        raise BadRequestError(f"parameters.class: {reason}")
