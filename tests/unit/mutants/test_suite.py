"""The tests without a fault: what `make mutants` compares with."""

import subprocess
import sys
from pathlib import Path

import pytest
from hack.mutants import suite

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.slow
def test_a_test_that_fails_without_any_fault_is_named(tmp_path: Path) -> None:
    answer, tests = tmp_path / "answer.json", tmp_path / "test_it.py"
    assert suite.failed(answer) == []
    tests.write_text("def test_good():\n    pass\n\n\ndef test_bad():\n    assert False\n")
    program = "import sys; from pathlib import Path; from hack.mutants import suite; tests, answer = sys.argv[1:]\n"
    program += "print(suite.record([tests], Path(tests).parent, Path(answer)))"
    subprocess.run([sys.executable, "-c", program, str(tests), str(answer)], check=True, cwd=ROOT, capture_output=True)
    assert [name.rpartition("::")[2] for name in suite.failed(answer)] == ["test_bad"]
