"""Which class a label names, whoever spelt it: `yes`, `True` and `"1.0"` are 1 of the classes 0 and 1.

Spellings are merged step by step, and in each step only where the classes stay distinct: of classes `A` and `a` neither
is meant by ` a `. What names no class is nobody's class, and no wrong answer.
"""

import math
from collections.abc import Callable, Iterable
from typing import Final

from tidemill_contracts.inference import Value
from tidemill_contracts.reference import category_text

_TRUE: Final = frozenset({"1", "true", "t", "yes", "y"})
_FALSE: Final = frozenset({"0", "false", "f", "no", "n"})
_EXACT: Final = 2**53  # up to which every whole number is a number of its own in 64 bits
_LONGEST: Final = 400  # a text that is longer is no number and no word: nothing is computed for it


def class_order(text: str) -> tuple[float, str]:
    """Return by what classes are sorted: as numbers where they are, as scikit-learn does it, else as texts."""
    try:
        return float(text), text
    except ValueError:
        return math.inf, text


class ClassNames:
    """The classes of one model by every spelling that means exactly one of them."""

    def __init__(self, names: Iterable[str]) -> None:
        """`names` are the classes as predictions spell them."""
        self.names = tuple(dict.fromkeys(names))
        self._steps: list[tuple[Callable[[str], str], dict[str, str]]] = [
            (step, _distinct(self.names, step)) for step in (_as_it_is, _number, _folded)
        ]
        if len(self.names) == 2 and {_truth(name) for name in self.names} == {"0", "1"}:
            self._steps.append((_truth, _distinct(self.names, _truth)))

    def find(self, value: Value) -> str | None:
        """Return the class that a label names, as predictions spell it; None when it names none."""
        if value is None or value != value:  # NaN alone differs from itself
            return None
        text = category_text(value)
        for step, classes in self._steps:
            found = classes.get(step(text))
            if found is not None:
                return found
        return None


def _distinct(names: tuple[str, ...], step: Callable[[str], str]) -> dict[str, str]:
    """Return the classes by their key in one step, without keys that more than one class has."""
    found: dict[str, str] = {}
    shared: set[str] = set()
    for name in names:
        key = step(name)
        shared |= {key} & found.keys()
        found[key] = name
    return {key: name for key, name in found.items() if key not in shared}


def _as_it_is(text: str) -> str:
    return text


def _number(text: str) -> str:
    """Return one text for a number however it is written: `1.0`, ` 1` and `1e0` are `1`."""
    if len(text) > _LONGEST or "_" in text:
        return text
    try:
        number = float(text)
    except ValueError:
        return text
    if not math.isfinite(number) or abs(number) >= _EXACT:
        return text
    return category_text(number + 0.0)  # not "-0"


def _folded(text: str) -> str:
    return text if len(text) > _LONGEST else _number(text.strip().casefold())


def _truth(text: str) -> str:
    folded = _folded(text)
    return "1" if folded in _TRUE else "0" if folded in _FALSE else folded
