"""What must not be in an image, and as whom it runs: read from the images themselves, layer by layer.

Needs the images (`make images`) but no cluster: alone, `pytest --noconftest tests/e2e/test_images.py`.
"""

import json
import re
import stat
import tarfile
from dataclasses import dataclass, field
from functools import cache
from pathlib import PurePosixPath
from typing import Any

import pytest
from hack.images.engines import choose_engine
from hack.images.inputs import TARGETS, image_name
from hack.localcluster import Progress

pytestmark = pytest.mark.e2e

PYTHON_TARGETS = [target for target in TARGETS if target != "router"]
BUILD_TOOLS = {"uv", "uvx", "pip", "pip3", "gcc", "cc", "g++", "ld", "make", "git", "with-ca", "curl", "wget"}
CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)


@dataclass
class Image:
    """The files that a container sees (path → content of small text files, else empty) and the configuration."""

    files: dict[str, bytes] = field(default_factory=dict)
    modes: dict[str, int] = field(default_factory=dict)  # of files and folders, with the bits of their kind
    configuration: dict[str, Any] = field(default_factory=dict)

    def packages(self) -> set[str]:
        """Names of importable top-level packages and modules anywhere on a Python path of the image."""
        found = set()
        for name in self.files:
            match = re.search(
                r"(?:site-packages|dist-packages|opt/tidemill/lib)/([^/]+?)(?:/|\.py$|\.[^/]*\.so$)", name
            )
            if match and not match[1].endswith((".dist-info", ".libs", "__pycache__")):
                found.add(match[1])
        return found

    def programs(self) -> set[str]:
        """Names of files in folders of programs."""
        paths = (PurePosixPath(name) for name in self.files)
        return {path.name for path in paths if path.parent.name in ("bin", "sbin", "_bin")}


def add_layer(image: Image, layer: tarfile.TarFile) -> None:
    """Lay one layer over the files so far, whiteouts included."""
    for member in layer:
        name = member.name.removeprefix("./").rstrip("/")
        folder, _, leaf = name.rpartition("/")
        if leaf.startswith(".wh."):
            hidden = folder if leaf == ".wh..wh..opq" else f"{folder}/{leaf[4:]}".lstrip("/")
            for known in [k for k in image.modes if k == hidden or k.startswith(hidden + "/")]:
                del image.modes[known]
                image.files.pop(known, None)
            continue
        kind = stat.S_IFDIR if member.isdir() else stat.S_IFLNK if member.issym() else stat.S_IFREG
        image.modes[name] = member.mode | kind
        if not member.isdir():
            content = layer.extractfile(member) if member.isreg() and member.size < 1_000_000 else None
            wanted = name.endswith((".crt", ".pem")) or name.startswith(("run/", "etc/"))
            image.files[name] = content.read() if content is not None and wanted else b""


@cache
def image_of(target: str) -> Image:
    """Read the image of a target from the engine that built it."""
    engine = choose_engine(Progress(quiet=True))
    image = Image()
    with (
        engine.stream(image_name(target)) as stream,
        tarfile.open(fileobj=stream, mode="r|", bufsize=1 << 20) as archive,
    ):
        for member in archive:
            content = archive.extractfile(member) if member.isreg() else None
            if content is None:
                continue
            if member.name.endswith(".tar"):
                with tarfile.open(fileobj=content, mode="r|", bufsize=1 << 20) as layer:
                    add_layer(image, layer)
            elif member.name.endswith(".json") and member.name != "manifest.json":
                image.configuration = json.loads(content.read())["config"]
    return image


@pytest.mark.parametrize(
    ("target", "absent", "present"),
    [
        ("operator", {"sklearn", "numpy", "scipy", "pandas", "onnxruntime", "skops", "joblib", "fastapi"}, {"aiohttp"}),
        ("trainer", {"kubernetes", "fastapi", "uvicorn"}, {"sklearn", "skops", "pyarrow", "aiohttp", "tqdm"}),
        ("server", {"kubernetes", "skl2onnx", "pyarrow", "tqdm"}, {"sklearn", "fastapi"}),
        ("monitor", {"kubernetes", "sklearn", "scipy", "pandas", "onnxruntime", "skops"}, {"fastapi", "numpy"}),
    ],
)  # fmt: skip
def test_each_plane_has_its_own_packages_only(target: str, absent: set[str], present: set[str]) -> None:
    packages = image_of(target).packages()
    assert not packages & absent
    assert packages >= present


def test_code_of_one_plane_is_not_in_the_other() -> None:
    assert image_of("operator").packages() >= {"tidemill", "tidemill_contracts"}
    assert "tidemill_runtime" not in image_of("operator").packages()
    for target in ("trainer", "server", "monitor"):
        assert image_of(target).packages() >= {"tidemill_runtime", "tidemill_contracts"}
        assert "tidemill" not in image_of(target).packages()


@pytest.mark.parametrize("target", TARGETS)
def test_no_build_tools_and_no_development_packages(target: str) -> None:
    image = image_of(target)
    assert not image.programs() & BUILD_TOOLS
    assert not image.packages() & {"pip", "setuptools", "wheel", "pytest", "mypy", "ruff", "hypothesis"}
    assert not [name for name in image.files if "/.git/" in name or name.startswith(("opt/uv/", "src/"))]


@pytest.mark.parametrize("target", PYTHON_TARGETS)
def test_no_program_but_pythons(target: str) -> None:
    """No shell, Perl, apt or dpkg, wherever they may lie; Debian's list of packages stays for scanners."""
    image = image_of(target)
    folders = re.compile(r"^(?!opt/tidemill/venv/)(.*/)?s?bin/([^/]+)$")
    system = {found[2] for name in image.files if (found := folders.match(name))}
    assert {name for name in system if not name.startswith(("python", "ldconfig"))} == set()
    unwanted = re.compile(r"(^|/)(perl[^/]*|apt|dpkg|bash|dash|busybox|su|sudo|mount)(/|$)")
    assert [n for n in image.files if unwanted.search(n) and not n.startswith("var/lib/dpkg/")] == []


@pytest.mark.parametrize("target", TARGETS)
def test_nothing_raises_rights_and_nothing_is_everybodys_to_write(target: str) -> None:
    modes = {name: mode for name, mode in image_of(target).modes.items() if not stat.S_ISLNK(mode)}
    assert [name for name, mode in modes.items() if mode & (stat.S_ISUID | stat.S_ISGID)] == []
    writable = [name for name, mode in modes.items() if mode & stat.S_IWOTH]
    assert writable == ["tmp"]
    assert modes["tmp"] & stat.S_ISVTX


@pytest.mark.parametrize("target", PYTHON_TARGETS)
def test_certificates_are_those_of_the_distribution(target: str) -> None:
    """A build behind a TLS-inspecting proxy trusts the proxy; the image must not."""
    files = image_of(target).files
    assert not [name for name in files if name.startswith(("usr/local/share/ca-certificates/", "run/secrets/"))]
    shipped = {name: text.decode() for name, text in files.items() if name.startswith("usr/share/ca-certificates/")}
    known = {found for text in shipped.values() for found in CERTIFICATE.findall(text.strip())}
    assert len(known) > 50
    bundle = files["etc/ssl/certs/ca-certificates.crt"].decode()
    assert set(CERTIFICATE.findall(bundle)) <= known


def test_router_is_envoy_and_its_libraries() -> None:
    files = image_of("router").files
    assert "usr/local/bin/envoy" in files
    assert len(files) < 25
    assert not [name for name in files if name.endswith((".pem", ".crt", "/sh", "/bash"))]


@pytest.mark.parametrize("target", TARGETS)
def test_runs_as_an_ordinary_user_from_a_program_without_a_shell(target: str) -> None:
    configuration = image_of(target).configuration
    assert configuration["User"] == "65532:65532"
    assert configuration["Entrypoint"][0] in ("python", "envoy")
    assert "HOME=/tmp" in configuration["Env"]


@pytest.mark.parametrize("target", PYTHON_TARGETS)
def test_bytecode_is_there_so_that_a_read_only_root_starts_quickly(target: str) -> None:
    image = image_of(target)
    assert "PYTHONDONTWRITEBYTECODE=1" in image.configuration["Env"]
    for root in ("opt/tidemill/lib/tidemill_contracts", "opt/tidemill/venv/lib"):
        sources = [name for name in image.files if name.startswith(root) and name.endswith(".py")]
        compiled = [name for name in image.files if name.startswith(root) and name.endswith(".pyc")]
        assert len(compiled) >= 0.95 * len(sources) > 0
