"""ONNX graphs: the second form of models of other families, and models that a program wrote as ONNX alone."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from tidemill_contracts.artifact import ModelManifest
from tidemill_contracts.formats import Format
from tidemill_runtime.frameworks.base import Description, FileModel, Framework, ServedModel
from tidemill_runtime.model.frame import Schema

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd


class Onnx(Framework):
    """See the module. `load` gives a graph's bytes: what it is is seen with the columns that it is asked."""

    name = "ONNX"

    def describe(self, trained: Any, features: pd.DataFrame, target: pd.Series[Any] | None = None) -> Description:
        """Return what a graph is: a classifier of the target's classes where its first output is no float."""
        from tidemill_runtime.frameworks.onnx import estimator

        return estimator.describe(trained, features, target)

    def load(self, form: Format, content: bytes, modules: Collection[str] = ()) -> bytes:
        """Return the graph as it is."""
        return content

    def from_file(self, form: Format, path: Path) -> FileModel:
        """Return the graph in a file, with the columns and classes that it names."""
        from tidemill_runtime.frameworks.onnx import from_file

        return from_file.read(path)

    def open(self, form: Format, path: Path, schema: Schema, manifest: ModelManifest, threads: int) -> ServedModel:
        """Return the graph in a file, computed by ONNX Runtime."""
        from tidemill_runtime.frameworks.onnx.served_model import OnnxModel

        return OnnxModel(path, schema, manifest, threads)


FRAMEWORK = Onnx()
