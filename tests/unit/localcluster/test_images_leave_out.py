"""What is taken out of images, on a tree like that of a Debian; the images themselves: tests/e2e/test_images.py."""

import importlib.util
import os
import stat
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parents[3] / "images" / "leave-out"


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script, with a folder for the root of the file system."""
    loader = SourceFileLoader("leave_out", str(SCRIPT))
    spec = importlib.util.spec_from_loader("leave_out", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setattr("sys.dont_write_bytecode", True)
    loader.exec_module(module)
    for name in ("FOLDERS", "TREES", "FILES", "SYSTEM", "SHARED"):
        monkeypatch.setattr(module, name, tuple(str(tmp_path) + path for path in getattr(module, name)))
    monkeypatch.setattr(module, "ROOT", str(tmp_path))
    return module


def make(root: Path, path: str, mode: int = 0o755) -> Path:
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("x")
    file.chmod(mode)
    return file


def test_what_stays_and_what_goes(script: ModuleType, tmp_path: Path) -> None:
    goes = ("usr/bin/dash", "usr/bin/perl5.40.1", "usr/bin/apt-get", "usr/sbin/unix_chkpwd", "usr/bin/su")
    goes += ("usr/lib/apt/methods/http", "usr/share/perl5/x.pm", "opt/tidemill/venv/.lock", "var/lib/dpkg/info/a.list")
    stays = ("usr/bin/python3.13", "usr/local/bin/python3", "usr/sbin/ldconfig", "opt/tidemill/venv/bin/kopf")
    stays += ("var/lib/dpkg/status", "etc/ssl/certs/ca-certificates.crt", "usr/lib/x86_64-linux-gnu/libc.so.6")
    for path in (*goes, *stays):
        make(tmp_path, path)
    (tmp_path / "bin").symlink_to("usr/bin")
    (tmp_path / "usr/bin/sh").symlink_to("dash")
    script.main()
    assert [path for path in (*goes, "usr/bin/sh") if os.path.lexists(tmp_path / path)] == []
    assert [path for path in stays if not (tmp_path / path).is_file()] == []


def test_no_right_is_raised_and_nothing_is_everybodys(script: ModuleType, tmp_path: Path) -> None:
    helper, lock = make(tmp_path, "usr/lib/helper", 0o6755), make(tmp_path, "opt/some.lock", 0o666)
    shared, mail, scratch = (tmp_path / name for name in ("tmp", "var/mail", "run/lock"))
    for folder, mode in ((shared, 0o1777), (mail, 0o2775), (scratch, 0o1777)):
        folder.mkdir(parents=True)
        folder.chmod(mode)
    inside = make(tmp_path, "proc/1/mem", 0o666)
    script.main()
    found = {path: stat.S_IMODE(path.stat().st_mode) for path in (helper, lock, shared, mail, scratch, inside)}
    assert list(found.values()) == [0o755, 0o664, 0o1777, 0o775, 0o775, 0o666]
