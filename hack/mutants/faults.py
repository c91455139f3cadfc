"""Which faults can be planted in a module: found in its syntax tree, in a fixed order.

What no test has to notice is left out: texts for people (strings, f-strings, logging), annotations, decorators,
assertions, `__all__`. What would break at once whatever it does, as an attribute that is never set, is left out, too.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import CodeType

LOGGERS = frozenset({"logger", "log"})
DECLARATIONS = frozenset({"TypeVar", "NewType", "cast", "Counter", "Gauge", "Histogram"})
KEYWORDS_LEFT_OUT = frozenset({"strict", "buckets"})
COMPARISONS: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.Pow: ast.Mult,
    ast.BitOr: ast.BitAnd,
    ast.BitAnd: ast.BitOr,
}
CALLS = {"min": "max", "max": "min", "any": "all", "all": "any"}
_Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Edit:
    """The place in the tree, and what to put there instead."""

    parent: ast.AST
    name: str
    index: int | None
    planted: ast.AST

    def swap(self, node: ast.AST) -> ast.AST:
        """Put a node there and return what was there."""
        held = getattr(self.parent, self.name)
        if self.index is None:
            setattr(self.parent, self.name, node)
            return held  # type: ignore[no-any-return]
        before: ast.AST = held[self.index]
        held[self.index] = node
        return before


@dataclass(frozen=True)
class Fault:
    """One fault: `before` and `after` are the source of the lines that it changes, on one line."""

    module: str
    path: Path
    function: str  # qualified name; "" when the line is not of a function
    line: int
    lines: range  # of the statement: who executes one of them may notice
    before: str
    after: str
    edit: Edit = field(repr=False, compare=False)
    number: int = 0  # of several alike

    @property
    def name(self) -> str:
        """Return what identifies the fault as long as its function stays as it is."""
        alike = f" #{self.number + 1}" if self.number else ""
        return f"{self.module} {self.function or '(module)'}: {self.before} -> {self.after}{alike}"

    def code(self, tree: ast.Module) -> CodeType:
        """Return the module with the fault in it; `tree` is the one that the fault was found in, and stays as it is."""
        original = self.edit.swap(self.edit.planted)
        try:
            return compile(ast.fix_missing_locations(tree), str(self.path), "exec", dont_inherit=True)
        finally:
            self.edit.swap(original)


@dataclass(frozen=True)
class Module:
    """A module's source with its faults."""

    name: str
    path: Path
    tree: ast.Module
    faults: tuple[Fault, ...]


def read(name: str, path: Path) -> Module:
    """Return a module with all its faults, in the order of the source."""
    source = path.read_text(encoding="utf-8")
    tree = ast.parse(source)
    finder = _Finder(name, path, source.splitlines())
    finder.body(tree)
    alike: Counter[str] = Counter()
    numbered = []
    for fault in finder.found:
        numbered.append(replace(fault, number=alike[fault.name]))
        alike[fault.name] += 1
    return Module(name, path, tree, tuple(numbered))


class _Finder:
    def __init__(self, module: str, path: Path, source: list[str]) -> None:
        self.found: list[Fault] = []
        self._module, self._path, self._source = module, path, source
        self._scope: list[str] = []
        self._function: _Function | ast.Lambda | None = None
        self._statement: ast.stmt | None = None

    def body(self, node: ast.AST) -> None:
        """Look at all that is below a node."""
        for name, value in ast.iter_fields(node):
            if name == "annotation":
                continue
            if isinstance(value, ast.AST):
                self._look(value, node, name, None)
            elif isinstance(value, list):
                for index, item in enumerate(value):
                    if isinstance(item, ast.AST):
                        self._look(item, node, name, index)

    def _look(self, node: ast.AST, parent: ast.AST, name: str, index: int | None) -> None:
        if _is_no_place(node):
            return
        outer = self._statement, self._function
        if isinstance(node, ast.stmt):
            self._statement = node
        if isinstance(node, ast.stmt | ast.expr):
            for planted in self._planted(node, parent, name):
                self._add(node, Edit(parent, name, index, planted))
        if isinstance(node, _Function | ast.ClassDef | ast.Lambda):
            self._enter(node)
        else:
            self.body(node)
        self._statement, self._function = outer

    def _enter(self, node: _Function | ast.ClassDef | ast.Lambda) -> None:
        if isinstance(node, _Function | ast.Lambda):
            self.body(node.args)  # defaults are of the scope around
            self._scope.append(node.name if isinstance(node, _Function) else "<lambda>")
            self._function = node
        else:
            self._scope.append(node.name)
        body = [node.body] if isinstance(node, ast.Lambda) else node.body
        for index, item in enumerate(body):
            self._look(item, node, "body", None if isinstance(node, ast.Lambda) else index)
        self._scope.pop()

    def _add(self, node: ast.stmt | ast.expr, edit: Edit) -> None:
        statement = self._statement
        assert statement is not None
        first, last = node.lineno, node.end_lineno or node.lineno
        source = self._source[first - 1 : last]
        head = source[0].encode()[: node.col_offset].decode().lstrip()
        tail = source[-1].encode()[node.end_col_offset :].decode().rstrip()
        before, after = " ".join(line.strip() for line in source), f"{head}{_unparsed(edit.planted)}{tail}"
        function = ".".join(self._scope) if self._function is not None else ""
        lines = range(statement.lineno, last + 1)
        self.found.append(Fault(self._module, self._path, function, first, lines, before, after, edit))

    def _planted(self, node: ast.AST, parent: ast.AST, name: str) -> Iterator[ast.AST]:
        """What may stand in place of a node."""
        if isinstance(node, ast.stmt):
            yield from self._statements(node, parent)
        elif isinstance(node, ast.Compare):
            for index, operator in enumerate(node.ops):
                for other in COMPARISONS[type(operator)]:
                    operators = [*node.ops[:index], other(), *node.ops[index + 1 :]]
                    yield ast.Compare(node.left, operators, node.comparators)
        elif isinstance(node, ast.BoolOp):
            yield ast.BoolOp(ast.Or() if isinstance(node.op, ast.And) else ast.And(), node.values)
        elif isinstance(node, ast.BinOp) and type(node.op) in OPERATORS and not _is_text(node):
            yield ast.BinOp(node.left, OPERATORS[type(node.op)](), node.right)
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            yield node.operand
        elif isinstance(node, ast.Constant):
            yield from _constants(node)
        elif isinstance(node, ast.Name) and isinstance(parent, ast.Call) and name == "func" and node.id in CALLS:
            yield ast.Name(CALLS[node.id], ast.Load())
        truths = ast.Attribute | ast.Call | ast.Name | ast.NamedExpr | ast.Subscript | ast.Await
        if isinstance(node, truths) and _is_condition(parent, name):
            yield ast.UnaryOp(ast.Not(), node)

    def _statements(self, node: ast.stmt, parent: ast.AST) -> Iterator[ast.stmt]:
        match node:
            case ast.Expr(value=ast.Call() | ast.Await()) | ast.Raise() | ast.Break() | ast.Continue():
                yield ast.Pass()
            case ast.Expr(value=ast.Yield() | ast.YieldFrom()):
                yield ast.If(ast.Constant(False), [node], [])  # still a generator
            case ast.Assign(targets=[target]) | ast.AnnAssign(target=target) if self._is_replaceable(target):
                yield ast.Pass()
            case ast.AugAssign():
                yield ast.Pass()
                if type(node.op) in OPERATORS:
                    yield ast.AugAssign(node.target, OPERATORS[type(node.op)](), node.value)
            case ast.Delete(targets=[ast.Subscript() | ast.Attribute()]):
                yield ast.Pass()
            case ast.Return():
                is_last = isinstance(parent, _Function) and parent.body[-1] is node
                yield from self._returns(node, is_last)

    def _returns(self, node: ast.Return, is_last: bool) -> Iterator[ast.stmt]:
        if node.value is None:
            if not is_last:
                yield ast.Pass()
        elif isinstance(self._function, _Function) and _says_bool(self._function):
            if isinstance(node.value, ast.Call | ast.Name | ast.Attribute | ast.IfExp | ast.Await):
                yield ast.Return(ast.UnaryOp(ast.Not(), node.value))
        elif not _is_nothing(node.value):
            yield ast.Return(ast.Constant(None))

    def _is_replaceable(self, target: ast.expr) -> bool:
        """Whether a program without an assignment to it might still run: not names, not what a constructor sets."""
        in_constructor = bool(self._scope) and self._scope[-1] == "__init__"
        return isinstance(target, ast.Attribute | ast.Subscript) and not in_constructor


def _is_no_place(node: ast.AST) -> bool:
    """Whether nothing is planted in a node and below it."""
    match node:
        case ast.JoinedStr() | ast.Assert() | ast.Import() | ast.ImportFrom():
            return True
        case ast.If(test=ast.Name(id="TYPE_CHECKING")):
            return True
        case ast.Expr(value=ast.Constant()):
            return True
        case ast.Assign(targets=[ast.Name(id=name)]) if name in ("__all__", "__slots__"):
            return True
        case ast.Assign(value=ast.BinOp() | ast.Subscript() as value) if _is_type(value):
            return True
        case ast.Call(func=ast.Attribute(value=ast.Name(id=name))) if name in LOGGERS:
            return True
        case ast.Expr(value=ast.Call(func=ast.Attribute(value=ast.Name(id=name)))) if name in LOGGERS:
            return True
        case ast.Call(func=ast.Name(id=name)) if name in DECLARATIONS:
            return True
        case ast.keyword(arg=name) if name in KEYWORDS_LEFT_OUT:
            return True
        case ast.IfExp(body=body, orelse=other) if _is_sentence(body) and _is_sentence(other):
            return True
    return False


def _is_type(node: ast.expr | None) -> bool:
    """`A | B` and `dict[str, Any]`: names of types begin with a capital or are built in."""
    match node:
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return _is_type(left) and _is_type(right)
        case ast.Subscript(value=value):
            return _is_type(value)
        case ast.Name(id=name):
            return name in ("dict", "list", "tuple", "set", "type") or (name[:1].isupper() and not name.isupper())
        case ast.Constant(value=None):
            return True
    return False


def _is_sentence(node: ast.expr) -> bool:
    is_constant = isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value
    return is_constant or isinstance(node, ast.JoinedStr)


def _is_text(node: ast.BinOp) -> bool:
    sides = (node.left, node.right)
    texts = any(
        isinstance(s, ast.JoinedStr) or (isinstance(s, ast.Constant) and isinstance(s.value, str)) for s in sides
    )
    return texts or _is_type(node)


def _constants(node: ast.Constant) -> Iterator[ast.Constant]:
    if isinstance(node.value, bool):
        yield ast.Constant(not node.value)
    elif isinstance(node.value, int | float):
        yield ast.Constant(node.value + 1)
        yield ast.Constant(node.value - 1)


def _is_condition(parent: ast.AST, name: str) -> bool:
    """Whether only the truth of a node counts there."""
    if isinstance(parent, ast.If | ast.While | ast.IfExp):
        return name == "test"
    return isinstance(parent, ast.comprehension) and name == "ifs"


def _says_bool(function: _Function) -> bool:
    return isinstance(function.returns, ast.Name) and function.returns.id == "bool"


def _is_nothing(node: ast.expr) -> bool:
    """Whether None would be as good: what is as false as it."""
    if isinstance(node, ast.Constant):
        return not node.value
    if isinstance(node, ast.List | ast.Tuple | ast.Set):
        return not node.elts
    return isinstance(node, ast.Dict) and not node.keys


def _unparsed(node: ast.AST) -> str:
    return " ".join(ast.unparse(ast.fix_missing_locations(node)).split())
