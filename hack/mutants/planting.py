"""Puts a fault into this process: into functions that exist already, or into a module that is still to be imported."""

from __future__ import annotations

import gc
import importlib.abc
import importlib.machinery
import importlib.util
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import CodeType, FunctionType, ModuleType

from hack.mutants.faults import Fault, Module

Place = tuple[str, int]
"""Qualified name and first line of a function."""


class LiveFunctions:
    """The functions of some files that exist in this process, however they are held: by modules, classes, closures."""

    def __init__(self, paths: frozenset[str]) -> None:
        """Look once, after everything was imported."""
        self._of: dict[str, list[FunctionType]] = {path: [] for path in paths}
        for found in gc.get_objects():
            if isinstance(found, FunctionType) and found.__code__.co_filename in paths:
                self._of[found.__code__.co_filename].append(found)

    def plant(self, fault: Fault, module: Module) -> bool:
        """Give the faulty function its faulty code; False when that cannot be: the module must be imported anew."""
        codes: dict[Place, list[CodeType]] = {}
        for code in _functions(fault.code(module.tree)):
            codes.setdefault((code.co_qualname, code.co_firstlineno), []).append(code)
        planted = False
        for function in self._of[str(fault.path)]:
            old = function.__code__
            found = codes.get((old.co_qualname, old.co_firstlineno), [])
            if old in found:
                continue
            if len(found) != 1 or found[0].co_freevars != old.co_freevars:
                return False  # two lambdas of one line, or a closure that would need other variables
            function.__code__ = found[0]
            planted = True
        return planted


def _functions(code: CodeType) -> Iterator[CodeType]:
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield constant
            yield from _functions(constant)


class FaultyImport(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports one module with a fault in it."""

    def __init__(self, fault: Fault, module: Module) -> None:
        """Install with `sys.meta_path.insert(0, ...)` before the module is imported."""
        if fault.module in sys.modules:
            raise RuntimeError(f"{fault.module} is imported already")
        self._name, self._path = fault.module, fault.path
        self._code = fault.code(module.tree)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Answer for the one module only."""
        del path, target
        if fullname != self._name:
            return None
        packages = [str(self._path.parent)] if self._path.name == "__init__.py" else None
        return importlib.util.spec_from_file_location(
            fullname, self._path, loader=self, submodule_search_locations=packages
        )

    def exec_module(self, module: ModuleType) -> None:
        """Run the faulty code."""
        exec(self._code, module.__dict__)


def module_name(path: Path, root: Path) -> str:
    """Return the dotted name of a file below a folder of packages."""
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
