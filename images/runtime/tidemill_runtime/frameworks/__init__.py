"""Model families: how the models of each are recognised, stored, loaded, asked and converted to ONNX.

One module (or package) a family, with an object `FRAMEWORK`; the rows of `tidemill_contracts.formats` name the modules.
"""

import importlib
from collections.abc import Iterator, Mapping

from tidemill_contracts.formats import FORMATS, Format
from tidemill_runtime.frameworks.base import Framework, FrameworkError


class _Frameworks(Mapping[str, Framework]):
    """Families by the names of their modules, in the order of the formats; imported when they are looked up."""

    _names = tuple(dict.fromkeys(row.framework for row in FORMATS.values()))

    def __getitem__(self, name: str) -> Framework:
        if name not in self._names:
            raise KeyError(name)
        found: Framework = importlib.import_module(f"{__name__}.{name}").FRAMEWORK
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


FRAMEWORKS: Mapping[str, Framework] = _Frameworks()


def of_format(form: Format) -> Framework:
    """Return the family that loads a format."""
    return FRAMEWORKS[FORMATS[form].framework]


def recognised(trained: object) -> Framework:
    """Return the family of what training code returned.

    Raises:
        FrameworkError: NotAnEstimator; it is a model of none.
    """
    for framework in FRAMEWORKS.values():
        if framework.recognises(trained):
            return framework
    what = f"the class {trained.__name__}" if isinstance(trained, type) else type(trained).__name__
    expected = " or ".join(framework.expects for framework in FRAMEWORKS.values() if framework.expects)
    raise FrameworkError("NotAnEstimator", f"train returned {what}, expected {expected}")
