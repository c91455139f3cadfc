"""Functions and classes of the training code inside a model: the modules that a version brings, made importable.

A model names them by module, as `train.AddRatio`. A server has not the training code; the version brings it in
`code.json`, which was verified with everything else before it is read here. Whoever calls `install` has seen that the
deployment's author allows the version's code: importing a module runs it.
"""

import ast
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.abc import InspectLoader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_loader
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic import ValidationError

from tidemill_contracts.artifact import CODE_FILE, ModelCode
from tidemill_runtime.model.errors import StartError

_OURS = ("tidemill_runtime", "tidemill_contracts")


class _Modules(MetaPathFinder, InspectLoader):
    """Finds modules in memory, also those that are imported only when a model is asked."""

    def __init__(self, sources: Mapping[str, str]) -> None:
        self.sources = sources

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return where a module of the version comes from, None for any other."""
        del path, target
        if fullname not in self.sources:
            return None
        return spec_from_loader(fullname, self, origin=f"{CODE_FILE}/{fullname}.py")

    def get_source(self, fullname: str) -> str:
        """Return a module's source, which tracebacks show."""
        return self.sources[fullname]

    def is_package(self, fullname: str) -> bool:
        """Return that a module is none."""
        del fullname
        return False

    def exec_module(self, module: ModuleType) -> None:
        """Run a module's source."""
        name = module.__name__
        exec(compile(self.sources[name], f"{CODE_FILE}/{name}.py", "exec"), module.__dict__)  # noqa: S102  allowed


def needed(names: Iterable[str], sources: Mapping[str, str]) -> ModelCode:
    """Return the modules that some of them need, themselves included, of the training code's `sources`.

    What a module imports of the code, wherever in it, goes along; the rest of the code has no business in a server. An
    import of another kind (`importlib`) is not seen: whoever stores a model tries to load it with these alone.
    """
    found: dict[str, str] = {}
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name in sources and f"{name}.py" not in found:
            found[f"{name}.py"] = sources[name]
            waiting += _imported(sources[name])
    return ModelCode(files=dict(sorted(found.items())))


def _imported(source: str) -> Iterator[str]:
    try:
        tree = ast.parse(source)
    except SyntaxError:  # what imports it cannot have done so
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module is not None:
            yield node.module


def read(folder: Path) -> ModelCode:
    """Return the code in the folder of a verified version.

    Raises:
        StartError: ModelLoadFailed; the version has none, or what it has is none.
    """
    try:
        return ModelCode.from_json((folder / CODE_FILE).read_bytes())
    except FileNotFoundError:
        raise StartError("ModelLoadFailed", f"the version has no {CODE_FILE}") from None
    except ValidationError as error:
        raise StartError("ModelLoadFailed", f"{CODE_FILE}: {error.errors()[0]['msg']}") from error


def install(code: ModelCode) -> None:
    """Let the modules of a version be imported by their names from now on, in place of another version's.

    They never stand in for a module that this program has, whether it was imported yet or not.

    Raises:
        StartError: ModelLoadFailed; this program has other modules of those names, or they are no names of modules.
    """
    sources = code.modules
    others = [finder for finder in sys.meta_path if not isinstance(finder, _Modules)]
    for name in sources:
        problem = _problem(name, others)
        if problem is not None:
            raise StartError("ModelLoadFailed", f"{CODE_FILE}: {name}.py has {problem}: name it differently")
    for finder in [finder for finder in sys.meta_path if isinstance(finder, _Modules)]:
        sys.meta_path.remove(finder)
        for name in finder.sources:
            sys.modules.pop(name, None)
    sys.meta_path.insert(0, _Modules(sources))  # before a folder of that name, which is a module, too


def _problem(name: str, others: Iterable[Any]) -> str | None:
    """Return why a module of a version may not have this name, None where it may."""
    if not name.isidentifier():  # numpy.x would be a part of numpy
        return "a name that is none of a module"
    known = sys.modules.get(name)
    if known is not None and not isinstance(known.__loader__, _Modules):
        return "the name of a module that is in use here"
    if name in sys.stdlib_module_names or name in _OURS:
        return "the name of a module of Python or Tidemill"
    specs = (finder.find_spec(name, None) for finder in others)
    if any(spec is not None and spec.loader is not None for spec in specs):  # without a loader: only a folder
        return "the name of a module that is installed here"
    return None
