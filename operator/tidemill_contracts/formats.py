"""The formats of a model version: one row each, with all that either plane asks about it.

The trainer stores, servers load, the operator says what may be registered and who serves, and the API describes by
these rows. What a family of models does with its formats is in `tidemill_runtime.frameworks`.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

Format = Literal["skops", "skops-code", "onnx", "joblib", "program"]
Runtime = Literal["ONNX", "Native"]


@dataclass(frozen=True, slots=True)
class ModelFormat:
    """One way to store a model."""

    framework: str  # module of `tidemill_runtime.frameworks` that stores and loads it
    file: str  # its file in the version's folder; "": whatever the program called it
    runtime: Runtime | None  # value of spec.server.runtime that loads it; None: no server does
    is_pickle: bool = False  # loading it runs code: stored, and loaded, only where spec says allowPickle
    has_code: bool = False  # it has functions or classes of the training code: loaded only where spec says allowCode
    is_from_programs: bool = False  # only a program (spec.code.command) may register it


FORMATS: dict[Format, ModelFormat] = {
    "skops": ModelFormat("scikit_learn", "model.skops", "Native"),
    "skops-code": ModelFormat("scikit_learn", "model.skops", "Native", has_code=True),
    "onnx": ModelFormat("onnx", "model.onnx", "ONNX"),
    "joblib": ModelFormat("scikit_learn", "model.joblib", "Native", is_pickle=True),
    "program": ModelFormat("program", "", None, is_from_programs=True),
}
"""By name, in order of preference: of several native forms the first one serves, of the files that a program left the
first one is its model, and what training code returned belongs to the first family that recognises it. Rows of other
families stand above those of scikit-learn, which takes whatever has its methods."""


def loadable(
    runtime: Runtime, formats: Collection[str] | None = None, *, allow_pickle: bool, allow_code: bool = False
) -> tuple[Format, ...]:
    """Return the formats (of those given) that a runtime loads, the preferred one first."""
    return tuple(
        name
        for name, row in FORMATS.items()
        if row.runtime == runtime
        and (formats is None or name in formats)
        and (allow_pickle or not row.is_pickle)
        and (allow_code or not row.has_code)
    )


def pickles(formats: Collection[str]) -> tuple[Format, ...]:
    """Return those of some formats that are pickles."""
    return tuple(name for name, row in FORMATS.items() if row.is_pickle and name in formats)


def with_code(formats: Collection[str]) -> tuple[Format, ...]:
    """Return those of some formats that hold functions or classes of the training code."""
    return tuple(name for name, row in FORMATS.items() if row.has_code and name in formats)
