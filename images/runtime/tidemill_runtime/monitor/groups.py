"""Groups of rows for fairness: to which group of each named column a row belongs, and what classes a group was given.

Values come from clients, so their number is bounded: stated values are groups, or else the first ones that arrive; all
others share one. Rows without a value are a group of their own. Nothing here stores or judges.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

from tidemill_contracts.fairness import GROUP_LENGTH, MAX_VALUES, FairnessConfig, GroupColumnConfig
from tidemill_contracts.inference import Value
from tidemill_contracts.reference import CategoricalProfile, category_text
from tidemill_runtime.model.label_sums import CLASS_LENGTH
from tidemill_runtime.monitor.class_names import ClassNames
from tidemill_runtime.monitor.segments import MISSING, OTHER, Name
from tidemill_runtime.monitor.values import is_missing

ANSWER: Final = "answer:"
"""What the sums of a group begin with that count its rows by predicted class."""
_GROUP: Final = "group"
Answers = Counter[tuple[Name, str]]  # (group, predicted class) -> rows


def name_of(column: str, group: str) -> Name:
    """Return the name under which a group is stored, which no segment has."""
    return (_GROUP, column, group)


def group_of(name: Sequence[str]) -> tuple[str, str] | None:
    """Return column and group of a stored name; None where it is that of a segment."""
    return (name[1], name[2]) if len(name) == 3 and name[0] == _GROUP else None


class Groups:
    """The groups of rows of one version."""

    def __init__(self, config: FairnessConfig, predictions: CategoricalProfile, *, joins: bool) -> None:
        """`joins`: whether labels are looked at, so that the groups of a row are kept until its label comes."""
        self.joins = joins
        self._columns = [_Column(column) for column in config.groups]
        self._classes = frozenset(predictions.categories)

    def of(self, columns: Mapping[str, Sequence[Value]], rows: int) -> list[list[Name]]:
        """Return for each column the group of each row."""
        nothing: list[Value] = [None] * rows
        return [column.groups(columns.get(column.name) or nothing) for column in self._columns]

    def answers(self, groups: Sequence[Sequence[Name]], predicted: Sequence[str]) -> Answers:
        """Return how many rows of each group have each predicted class."""
        classes = [text[:CLASS_LENGTH] if text in self._classes else OTHER for text in predicted]
        found: Answers = Counter()
        for column in groups:
            found.update(zip(column, classes, strict=True))
        return found

    def admitted(self, names: Sequence[Name], known: Sequence[Name]) -> dict[Name, Name]:
        """Return the group that each of some rows is counted in; `known`: those that have rows already."""
        found: dict[Name, Name] = {}
        for column in self._columns:
            found |= column.admitted(names, known)
        return found


class _Column:
    """The groups by one column."""

    def __init__(self, config: GroupColumnConfig) -> None:
        self.name = config.column
        self._is_open = not config.values
        self._stated = tuple(dict.fromkeys(text[:GROUP_LENGTH] for text in (config.privileged, *config.values)))
        self._names = ClassNames(self._stated)
        self._other, self._missing = (name_of(self.name, text) for text in (OTHER, MISSING))

    def groups(self, values: Sequence[Value]) -> list[Name]:
        known: dict[tuple[type, Value], Name] = {}  # the type, as True, 1 and 1.0 are one key
        for value in set(values):
            known[type(value), value] = self._group(value)
        return [known.get((type(value), value)) or self._group(value) for value in values]

    def _group(self, value: Value) -> Name:
        if value is None or is_missing(value):
            return self._missing
        found = self._names.find(value)
        if found is None:
            return name_of(self.name, category_text(value)[:GROUP_LENGTH]) if self._is_open else self._other
        return name_of(self.name, found)

    def admitted(self, names: Sequence[Name], known: Sequence[Name]) -> dict[Name, Name]:
        always = {self._other, self._missing, *(name_of(self.name, text) for text in self._stated)}
        mine = {name for name in known if group_of(name) and name[1] == self.name} - always
        room = MAX_VALUES - len(self._stated) - len(mine) if self._is_open else 0
        found: dict[Name, Name] = {}
        for name in dict.fromkeys(name for name in names if name[1] == self.name):
            if name not in always and name not in mine:
                room -= 1
            found[name] = self._other if room < 0 and name not in always and name not in mine else name
        return found
