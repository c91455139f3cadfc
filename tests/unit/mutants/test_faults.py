"""Which faults are planted, which are left out, and that a planted one works in functions that exist already."""

import importlib.util
import sys
import textwrap
from pathlib import Path
from types import ModuleType

import pytest
from hack.mutants import listed
from hack.mutants.__main__ import PARTS, modules
from hack.mutants.faults import Module, read
from hack.mutants.planting import FaultyImport, LiveFunctions


def written(folder: Path, source: str, name: str = "planted") -> Module:
    path = folder / f"{name}.py"
    path.write_text(textwrap.dedent(source))
    return read(name, path)


def changes(folder: Path, source: str) -> list[str]:
    return [f"{fault.before} -> {fault.after}" for fault in written(folder, source).faults]


def imported(module: Module) -> ModuleType:
    spec = importlib.util.spec_from_file_location(module.name, module.path)
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


@pytest.mark.parametrize(
    ("line", "planted"),
    [
        ("return a < b", ["return a <= b", "return a >= b", "return None"]),
        ("return a is b", ["return a is not b", "return None"]),
        ("return not a", ["return a", "return None"]),
        ("return a and b", ["return a or b", "return None"]),
        ("return a + b", ["return a - b", "return None"]),
        ("return min(a, b)", ["return max(a, b)", "return None"]),
        ("return 3", ["return 4", "return 2", "return None"]),
        ("return False", ["return True"]),
        ("return [x for x in a if x]", ["return [x for x in a if not x]", "return None"]),
        ("a(b)", ["pass"]),
        ("a.x = b", ["pass"]),
        ("a += b", ["pass", "a -= b"]),
        ("del a[b]", ["pass"]),
        ("raise a", ["pass"]),
        ("yield a", ["if False: yield a"]),
    ],
)
def test_the_faults_of_a_line(tmp_path: Path, line: str, planted: list[str]) -> None:
    found = changes(tmp_path, f"def f(a, b):\n    {line}\n")
    assert sorted(found) == sorted(f"{line} -> {other}" for other in planted)


def test_the_result_of_a_function_that_says_yes_or_no_is_negated(tmp_path: Path) -> None:
    assert changes(tmp_path, "def f(a) -> bool:\n    return a.b\n") == ["return a.b -> return not a.b"]


def test_numbers_of_a_module_and_defaults_have_faults(tmp_path: Path) -> None:
    found = changes(tmp_path, "LIMIT = 5\ndef f(a=True):\n    pass\n")
    assert found == ["LIMIT = 5 -> LIMIT = 6", "LIMIT = 5 -> LIMIT = 4", "def f(a=True): -> def f(a=False):"]


@pytest.mark.parametrize(
    "source",
    [
        '"""Of 1 module."""\n',
        "__all__ = ['a' + 'b']\n",
        "Either = dict[str, int] | None\n",
        "def f(a: 'Literal[1]') -> 'Literal[2]':\n    assert a == 1\n",
        "def f(a):\n    logger.info('%s', a + 1)\n",
        "def f(a):\n    b = f'{a + 1}'\n",
        "def f(a):\n    b = 'of one' if a == 1 else 'of many'\n",
        "@cached(size=3)\ndef f(a):\n    pass\n",
        "class A:\n    def __init__(self, a):\n        self.a = a\n",
        "def f(a):\n    return\n",
    ],
)
def test_what_nobody_has_to_notice_is_left_out(tmp_path: Path, source: str) -> None:
    assert changes(tmp_path, source) in ([], ["b = 'of one' if a == 1 else 'of many' -> pass"])


def test_equal_faults_of_one_function_have_different_names(tmp_path: Path) -> None:
    names = [fault.name for fault in written(tmp_path, "def f(a):\n    a()\n    a()\n").faults]
    assert names == ["planted f: a() -> pass", "planted f: a() -> pass #2"]


def test_a_fault_reaches_a_function_whoever_holds_it(tmp_path: Path) -> None:
    source = """
        import functools

        def small(a):
            return a < 3

        held = [functools.partial(small)]

        class Kept:
            @property
            def size(self):
                return 7
        """
    module = written(tmp_path, source)
    made = imported(module)
    live = LiveFunctions(frozenset({str(module.path)}))
    faults = {fault.after: fault for fault in module.faults}
    assert live.plant(faults["return a <= 3"], module)
    assert made.held[0](3)
    assert live.plant(faults["return 8"], module)
    assert made.Kept().size == 8
    assert not made.small(3), "the tree had kept the fault before"


def test_a_fault_of_the_module_itself_needs_an_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = written(tmp_path, "LIMIT = 5\n", "planted_anew")
    fault = module.faults[0]
    assert not LiveFunctions(frozenset({str(module.path)})).plant(fault, module)
    monkeypatch.setattr(sys, "meta_path", [FaultyImport(fault, module), *sys.meta_path])
    try:
        assert importlib.import_module(module.name).LIMIT == 6
        with pytest.raises(RuntimeError, match="imported already"):
            FaultyImport(fault, module)
    finally:
        sys.modules.pop(module.name, None)


@pytest.mark.slow
def test_what_is_listed_as_equivalent_exists_and_has_a_reason() -> None:
    found = listed.equivalent()
    faults = [fault for part in PARTS.values() for module in modules(part).values() for fault in module.faults]
    assert listed.unknown(found, faults) == []
    assert all(len(reason) > 20 for reason in found.values())


def test_an_entry_that_names_no_fault_is_told(tmp_path: Path) -> None:
    file = tmp_path / "list.toml"
    entry = {"module": "planted", "function": "f", "before": "return 3", "after": "return 4", "reason": "none"}
    file.write_text("[[equivalent]]\n" + "\n".join(f'{name} = "{value}"' for name, value in entry.items()))
    faults = written(tmp_path, "def f():\n    return 3\n").faults
    assert listed.unknown(listed.equivalent(file), faults) == []
    others = [fault for fault in faults if fault.after != "return 4"]
    assert listed.unknown(listed.equivalent(file), others) == ["planted | f | return 3 | return 4"]
