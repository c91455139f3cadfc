"""What a family of models is to the trainer, to servers and to the parity check: one `Framework` object.

The trainer judges a fitted model by its methods (`estimator_methods`), whatever library it comes from; all else that it
needs to know about the library is asked of the family. What a family has no use for keeps its default here. Methods
import their libraries when they are called: a server imports only the family that it serves, and no pandas for it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

from tidemill_contracts.artifact import ModelManifest, ParityReport, Task
from tidemill_contracts.formats import Format
from tidemill_runtime.model.errors import StartError
from tidemill_runtime.model.frame import Array, Schema
from tidemill_runtime.model.prediction import Predictor

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd


NO_CODE: Mapping[str, str] = MappingProxyType({})


class FrameworkError(Exception):
    """A family cannot take, store or load a model; `reason` is one PascalCase word, the message is for its author."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class ServedModel(Predictor, Protocol):
    """A model as a server asks it; `platform` is the Open Inference Protocol's name of what computes."""

    platform: str


class FittedModel(Protocol):
    """A fitted model as the trainer knows it."""

    @property
    def estimator(self) -> Any:
        """The family's object, with the methods that `estimator_methods` names."""

    @property
    def task(self) -> Task:
        """What it does."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that it takes, in its order."""

    @property
    def frame(self) -> bool:
        """Whether it takes a DataFrame, not a matrix."""

    def outputs(self, features: pd.DataFrame) -> dict[str, Array]:
        """Return every output by name in the order of the signature, the prediction first."""


@dataclass(frozen=True)
class Description:
    """What a family says about a fitted model: its `FittedModel` properties, and a classifier's classes."""

    estimator: Any
    task: Task
    columns: tuple[str, ...]
    frame: bool
    classes: Array | None  # of a classifier of one target


@dataclass(frozen=True)
class StoredModel:
    """A model as bytes, in the main format of its version."""

    form: Format
    file: str
    content: bytes
    code: bytes | None = None  # the content of `code.json`, where the model needs code that the version brings


@dataclass(frozen=True)
class Converted:
    """ONNX bytes that passed the parity check, or None; the report says why."""

    content: bytes | None
    report: ParityReport


@dataclass(frozen=True)
class FileColumn:
    """A column that a model in a file takes, as far as the file tells."""

    name: str
    datatype: Literal["FP64", "INT64", "BOOL", "BYTES"]
    values: tuple[Any, ...] = ()  # that the model knows, where it takes known ones; (): any


@dataclass(frozen=True)
class FileModel:
    """A model in a file that nothing else is known of."""

    trained: Any  # for `describe`
    columns: tuple[FileColumn, ...]
    classes: Array | None = None  # of a classifier, where `describe` cannot tell them from `trained`
    has_names: bool = True  # False: the names of the columns are made up


Verify = Callable[[bytes], ParityReport]
"""Compares a graph with the native form, both behind the server's rules."""


class Framework:
    """A family of models; as it is here, one of which nothing can be loaded."""

    name = "another format"
    expects = ""
    """What training code returns for this family, for messages; "": it cannot."""
    packages: tuple[str, ...] = ()
    """Distributions whose versions are recorded in the lineage of its models, beside those that are in every one."""

    def recognises(self, trained: object) -> bool:
        """Return whether what training code returned is a model of this family."""
        return False

    def describe(self, trained: Any, features: pd.DataFrame, target: pd.Series[Any] | None = None) -> Description:
        """Return what a model is; `features` are rows for it, `target` the truth of the training rows.

        Raises:
            FrameworkError: it is none that can be asked, or takes columns that `features` has not.
        """
        raise FrameworkError("Unservable", f"models of {self.name} are not loaded")

    def store(self, estimator: Any, *, allow_pickle: bool, code: Mapping[str, str] = NO_CODE) -> StoredModel:
        """Return the native form: the same bytes for the same model, in any process.

        `code`: sources of the training code's modules by name; those that the model needs may go along.

        Raises:
            FrameworkError: UntrustedType, servers would not load it; Unservable, it cannot be stored.
        """
        raise FrameworkError("Unservable", f"models of {self.name} are not stored")

    def canonical(self, form: Format, content: bytes) -> bytes:
        """Return the bytes to store for a model that a program wrote."""
        return content

    def load(self, form: Format, content: bytes, modules: Collection[str] = ()) -> Any:
        """Return the model in a stored form, for `describe`. Whoever loads a pickle has seen that spec allows it.

        `modules`: names of those, importable here, whose functions and classes it may hold.

        Raises:
            FrameworkError: UntrustedType, it holds what is not loaded.
            Exception: it is broken; of any type.
        """
        raise FrameworkError("Unservable", f"models of {self.name} are not loaded")

    def from_file(self, form: Format, path: Path) -> FileModel:
        """Return the model in a file that was made elsewhere, with the columns that it takes. Runs no code of it.

        Raises:
            FrameworkError: UntrustedType (it holds what is not loaded), Unservable (it does not say what it takes).
            ExpansionError: it becomes too large.
            Exception: it is broken; of any type.
        """
        raise FrameworkError("Unservable", f"a file of {self.name} does not say what its model takes")

    def convert(self, model: FittedModel, holdout: pd.DataFrame, verify: Verify | None = None) -> Converted:
        """Return the ONNX form of a model; a graph that repeats its answers is given to `verify`, which decides."""
        return Converted(None, ParityReport(passed=False, rows=0, reason="there is no converter"))

    def thresholds(self, estimator: Any, names: Sequence[str]) -> list[Array]:
        """Return for each input column the values at which the model changes its answer by a step, sorted."""
        return [np.empty(0) for _ in names]

    def unused(self, estimator: Any, names: Sequence[str]) -> tuple[str, ...]:
        """Return those of the input columns, all of which `names` has in order, that the model never looks at."""
        return ()

    def refused_categories(self, error: Exception) -> str | None:
        """Return the values that a model refused as unknown categories, as it lists them; None for other errors."""
        return None

    def known_categories(self, estimator: Any) -> set[str]:
        """Return every text that the model knows as a category."""
        return set()

    def serve(self, estimator: Any, schema: Schema, manifest: ModelManifest) -> ServedModel:
        """Return a loaded model as servers ask it.

        Raises:
            StartError: FormatUnsupported.
        """
        raise StartError("FormatUnsupported", f"models of {self.name} are not served")

    def open(self, form: Format, path: Path, schema: Schema, manifest: ModelManifest, threads: int) -> ServedModel:
        """Return the model in a verified file as servers ask it; it may compute on that many threads.

        Raises:
            StartError: ModelLoadFailed, or FormatUnsupported (it holds what is not loaded).
        """
        raise StartError("FormatUnsupported", f"models of {self.name} are not served")
