"""scikit-learn, and whatever has its methods: stored with skops, or with joblib where that is allowed."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tidemill_contracts.artifact import ModelManifest
from tidemill_contracts.formats import FORMATS, Format
from tidemill_runtime.frameworks.base import (
    NO_CODE,
    Converted,
    Description,
    FileModel,
    FittedModel,
    Framework,
    ServedModel,
    StoredModel,
    Verify,
)
from tidemill_runtime.model.frame import Array, Schema

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd


class ScikitLearn(Framework):
    """See the module."""

    name = "scikit-learn"
    expects = "a fitted scikit-learn estimator (an object with a predict or transform method)"
    packages = ("scikit-learn", "scipy", "skops", "skl2onnx", "onnx")

    def recognises(self, trained: object) -> bool:
        """Return whether it is an object with a predict or transform method."""
        methods = (getattr(trained, name, None) for name in ("predict", "transform"))
        return not isinstance(trained, type) and any(map(callable, methods))

    def describe(self, trained: Any, features: pd.DataFrame, target: pd.Series[Any] | None = None) -> Description:
        """Return what a fitted estimator is."""
        from tidemill_runtime.frameworks.scikit_learn import describing

        return describing.describe(trained, features)

    def store(self, estimator: Any, *, allow_pickle: bool, code: Mapping[str, str] = NO_CODE) -> StoredModel:
        """Return skops' archive whenever it can hold the model, otherwise a pickle where that is allowed."""
        from tidemill_runtime.frameworks.scikit_learn import storing

        return storing.store(estimator, allow_pickle=allow_pickle, code=code)

    def canonical(self, form: Format, content: bytes) -> bytes:
        """Return the canonical form of a skops archive; a pickle has none."""
        from tidemill_runtime.frameworks.scikit_learn.canonical_skops import canonical

        return canonical(content) if form == "skops" else content

    def load(self, form: Format, content: bytes, modules: Collection[str] = ()) -> Any:
        """Return the estimator."""
        from tidemill_runtime.frameworks.scikit_learn import storing

        return storing.load(form, content, modules)

    def from_file(self, form: Format, path: Path) -> FileModel:
        """Return the estimator in a skops archive, with the columns that it and its encoders know."""
        from tidemill_runtime.frameworks.scikit_learn import from_file

        return from_file.read(form, path)

    def convert(self, model: FittedModel, holdout: pd.DataFrame, verify: Verify | None = None) -> Converted:
        """Return the ONNX form that skl2onnx makes, with converters of our own."""
        from tidemill_runtime.frameworks.scikit_learn.onnx_form import convert

        return convert.convert(model, holdout, verify)

    def thresholds(self, estimator: Any, names: Sequence[str]) -> list[Array]:
        """Return where trees split, binarizers and bins cut, and what encoders know."""
        from tidemill_runtime.frameworks.scikit_learn import thresholds

        return thresholds.thresholds(estimator, names)

    def unused(self, estimator: Any, names: Sequence[str]) -> tuple[str, ...]:
        """Return the columns that no column transformer in front of everything else selects."""
        from tidemill_runtime.frameworks.scikit_learn import selections

        return selections.unused(estimator, names)

    def refused_categories(self, error: Exception) -> str | None:
        """Return the values that an encoder refused."""
        from tidemill_runtime.frameworks.scikit_learn import estimators

        return estimators.refused_categories(error)

    def known_categories(self, estimator: Any) -> set[str]:
        """Return every text that an encoder inside the estimator knows."""
        from tidemill_runtime.frameworks.scikit_learn import estimators

        return estimators.known_categories(estimator)

    def serve(self, estimator: Any, schema: Schema, manifest: ModelManifest) -> ServedModel:
        """Return a loaded estimator as servers ask it."""
        from tidemill_runtime.frameworks.scikit_learn.native_model import NativeModel

        return NativeModel(estimator, schema, manifest)

    def open(self, form: Format, path: Path, schema: Schema, manifest: ModelManifest, threads: int) -> ServedModel:
        """Return the model in a file; estimators compute on one thread each."""
        from tidemill_runtime.frameworks.scikit_learn import native_model

        if not manifest.signature.frame:
            native_model.import_without_pandas()
        if FORMATS[form].is_pickle:
            estimator = native_model.load_joblib(path)
        else:
            estimator = native_model.load_skops(path, has_code=FORMATS[form].has_code)
        return native_model.NativeModel(estimator, schema, manifest)


FRAMEWORK = ScikitLearn()
