"""What the machine must have before anything is downloaded."""

from pathlib import Path

import pytest
from hack.localcluster.local import requirements
from hack.tools import debian


@pytest.fixture
def bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only place where this machine may have certificate authorities; they are not there yet."""
    path = tmp_path / "ca-certificates.crt"
    monkeypatch.setattr(debian, "_AUTHORITIES", (str(path),))
    monkeypatch.setattr("sys.platform", "linux")
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
    return path


def test_a_machine_without_certificate_authorities_needs_them(bundle: Path) -> None:
    assert "ca-certificates" in requirements.missing_packages()
    bundle.write_text("certificates")
    assert "ca-certificates" not in requirements.missing_packages()


def test_certificate_authorities_of_the_environment_are_enough(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/elsewhere.pem")
    assert "ca-certificates" not in requirements.missing_packages()


def test_a_missing_program_is_named_by_its_package(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requirements.shutil, "which", lambda program: None if program == "ip" else f"/bin/{program}")
    assert "iproute2" in requirements.missing_packages()
    assert "runc" not in requirements.missing_packages()
