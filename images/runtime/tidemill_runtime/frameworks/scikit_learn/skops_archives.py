"""What a skops archive would construct, and whether it may.

The trainer asks before it writes, the server before it loads.
"""

from collections.abc import Collection
from typing import Any
from zipfile import ZipFile

from tidemill_runtime.frameworks.scikit_learn.skops_types import IN_PARTIAL, PARTIAL, is_vetted


class RefusedTypesError(Exception):
    """An archive would construct types that are not vetted; the message lists them."""


def load(source: Any, modules: Collection[str] = ()) -> Any:
    """Return what a skops archive holds; `source` and `modules` as for `judged`.

    Raises:
        RefusedTypesError: nothing was constructed.
        Exception: as `judged`.
    """
    from skops import io as skops_io

    unknown, refused = judged(source, modules)
    if refused:
        raise RefusedTypesError(", ".join(refused))
    return skops_io.load(source, trusted=unknown)


def judged(source: Any, modules: Collection[str] = ()) -> tuple[list[str], list[str]]:
    """Return the types of an archive that skops does not trust by itself, and those of them that are refused.

    `source` is a path or a binary file; functions and classes of `modules` are allowed. Constructs nothing. A
    `functools.partial` is a call in waiting: it is vetted only around one of the listed functions, or of `modules`.

    Raises:
        Exception: the archive is none, or broken; skops and the standard library raise many types.
    """
    from skops.io._audit import get_tree  # as skops' own get_untrusted_types, which keeps the tree to itself
    from skops.io._utils import read_schema

    with ZipFile(source, "r") as archive:
        schema, context = read_schema(archive)
        tree = get_tree(schema, load_context=context, trusted=None)
        unknown = sorted(tree.get_unsafe_set())
    refused = [name for name in unknown if not is_vetted(name) and module_of(name) not in modules]
    if PARTIAL in unknown:
        called = {name for name in _in_partials(tree) if name not in IN_PARTIAL and module_of(name) not in modules}
        refused += sorted(f"{PARTIAL} of {name}" for name in called)
    return unknown, refused


def module_of(name: str) -> str:
    """Return the module in a qualified name as skops has it: module and name at its top level."""
    return name.rpartition(".")[0]


def _in_partials(tree: Any) -> set[str]:
    """Return the qualified names of what partials call; a node is looked at as skops would construct it."""
    found: set[str] = set()
    seen: set[int] = set()
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, (list, tuple)):
            waiting.extend(node)
        elif isinstance(node, dict):
            waiting.extend(node.values())
        elif hasattr(node, "children") and id(node) not in seen:
            seen.add(id(node))
            waiting.append(node.children)
            if f"{node.module_name}.{node.class_name}" == PARTIAL:
                found.add(_called(node))
    return found


def _called(node: Any) -> str:
    function = node.func if type(node).__name__ == "PartialNode" else None
    cached = getattr(function, "cached", function)  # the second use of one object is a reference to the first
    if cached is None or type(cached).__name__ != "FunctionNode":
        return f"a {type(cached).__name__}"
    return f"{cached.module_name}.{cached.class_name}"
