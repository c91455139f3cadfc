"""What the Makefile hands on: a switch that destroys or publishes is thrown by `1` on the command line only."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
SWITCHES = [
    ("uninstall", "FORCE", "--force"),
    ("images", "PUSH", "--push"),
    ("install", "FORCE_CONFLICTS", "--force-conflicts"),
]
ON_A_CLUSTER = ["cluster", "cluster-status", "images", "install", "uninstall", "demo", "demo-clean", "e2e", "bench"]


NAMES = (*(switch for _, switch, _ in SWITCHES), "CONTEXT", "TIDEMILL_CONTEXT")


def printed(*arguments: str, **environment: str) -> str:
    """What make would run. Not as the child of another make, whose command line it would inherit."""
    inherited = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", *NAMES)}
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


@pytest.mark.parametrize("target", ON_A_CLUSTER)
def test_another_cluster_is_named_on_the_command_line(target: str) -> None:
    assert "TIDEMILL_CONTEXT='prod'" in printed(target, "CONTEXT=prod")
    for found in (printed(target), printed(target, CONTEXT="prod"), printed(target, TIDEMILL_CONTEXT="prod")):
        assert "TIDEMILL_CONTEXT=''" in found, "whatever the environment has"


@pytest.mark.parametrize("target", ON_A_CLUSTER)
def test_every_command_that_uses_a_cluster_is_told_which(target: str) -> None:
    uses = ("hack.localcluster up", "hack.localcluster status", "hack.images", "hack.install", "hack.demo", "tests/e2e")
    lines = [line for line in printed(target, "CONTEXT=prod").splitlines() if any(word in line for word in uses)]
    assert lines and all("TIDEMILL_CONTEXT='prod'" in line for line in lines), lines


def test_no_target_takes_over_what_others_have_set_unless_asked() -> None:
    for target in ("install", "demo", "e2e"):
        assert "--force-conflicts" not in printed(target)
    sources = [p.read_text() for p in (ROOT / "hack").rglob("*.py")]
    assert sum(text.count('"--force-conflicts"') for text in sources) == 2, "the option, and where it is passed on"
