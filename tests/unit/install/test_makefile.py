"""What the Makefile hands on: a switch that destroys or publishes is thrown by `1` on the command line only."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
SWITCHES = [("uninstall", "FORCE", "--force"), ("images", "PUSH", "--push")]


def printed(*arguments: str, **environment: str) -> str:
    """What make would run. Not as the child of another make, whose command line it would inherit."""
    inherited = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "FORCE", "PUSH")}
    command = ["make", "--dry-run", *arguments]
    done = subprocess.run(
        command, cwd=ROOT, env=inherited | environment, capture_output=True, text=True, check=True, timeout=30
    )
    return done.stdout


@pytest.mark.parametrize(("target", "switch", "option"), SWITCHES)
def test_one_on_the_command_line_throws_it(target: str, switch: str, option: str) -> None:
    assert option in printed(target, f"{switch}=1")


@pytest.mark.parametrize(("target", "switch", "option"), SWITCHES)
@pytest.mark.parametrize("value", ["", "0", "no", "false", "11", "01"])
def test_no_other_value_does(target: str, switch: str, option: str, value: str) -> None:
    assert option not in printed(target, f"{switch}={value}")


@pytest.mark.parametrize(("target", "switch", "option"), SWITCHES)
def test_the_environment_does_not(target: str, switch: str, option: str) -> None:
    assert option not in printed(target, **{switch: "1"})
    assert option not in printed("--environment-overrides", target, **{switch: "1"})
