"""The tests without a fault: what `make mutants` compares with."""

import subprocess
import sys
from pathlib import Path

import pytest
from hack.mutants import suite

ROOT = Path(__file__).resolve().parents[3]


def recorded(tests: Path, answer: Path, faulty: Path) -> list[str]:
    program = (
        "import sys; from pathlib import Path; from hack.mutants import suite; tests, faulty, answer = sys.argv[1:]\n"
    )
    program += "print(suite.record([tests], Path(tests).parent, {faulty}, Path(answer)))"
    arguments = [sys.executable, "-c", program, str(tests), str(faulty), str(answer)]
    subprocess.run(arguments, check=True, cwd=ROOT, capture_output=True)
    return suite.failed(answer)


@pytest.mark.slow
def test_a_test_that_fails_without_any_fault_is_named(tmp_path: Path) -> None:
    answer, tests = tmp_path / "answer.json", tmp_path / "test_it.py"
    assert suite.failed(answer) == []
    tests.write_text("def test_good():\n    pass\n\n\ndef test_bad():\n    assert False\n")
    assert [name.rpartition("::")[2] for name in recorded(tests, answer, tests)] == ["test_bad"]


@pytest.mark.slow
def test_a_shared_fixture_may_execute_no_line_that_will_be_faulty(tmp_path: Path) -> None:
    tests, faulty, other = tmp_path / "test_it.py", tmp_path / "faulty.py", tmp_path / "other.py"
    for module in (faulty, other):
        module.write_text("def double(x):\n    return 2 * x\n")
    tests.write_text(
        "import sys\nimport pytest\nsys.path.insert(0, __file__.rpartition('/')[0])\nimport faulty, other\n"
        "@pytest.fixture(scope='module')\ndef shared():\n    return other.double(2)\n"
        "def test_it(shared):\n    assert faulty.double(shared) == 8\n"
    )
    answer = tmp_path / "answer.json"
    assert recorded(tests, answer, faulty) == []
    executed = suite.baseline(answer).executed[str(faulty)]
    assert [name.rpartition("::")[2] for name in executed[2]] == ["test_it"]
    assert recorded(tests, answer, other) == ["shared fixture shared"]
