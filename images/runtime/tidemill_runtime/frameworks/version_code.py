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

from pydantic import ValidationError

from tidemill_contracts.artifact import CODE_FILE, ModelCode
from tidemill_runtime.model.errors import StartError


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

    Raises:
        StartError: ModelLoadFailed; this program has other modules of those names, or they were imported before.
    """
    sources = code.modules
    for name in sources:
        known = sys.modules.get(name)
        if known is not None and not isinstance(known.__loader__, _Modules):
            text = f"{CODE_FILE}: {name}.py has the name of a module that is in use here: name it differently"
            raise StartError("ModelLoadFailed", text)
    for finder in [finder for finder in sys.meta_path if isinstance(finder, _Modules)]:
        sys.meta_path.remove(finder)
        for name in finder.sources:
            sys.modules.pop(name, None)
    sys.meta_path.insert(0, _Modules(sources))
