"""Environments of the peers: each from a lock with hashes, in the user's cache, with the Python that runs this.

`locks/NAME.in` holds the requirements, `locks/NAME.txt` pins everything; `python -m hack.bench.serving.environments`
writes the locks anew. Those that serve have the scikit-learn that fitted the models; Evidently is the monitor's peer.
"""

import hashlib
import subprocess
import sys
import sysconfig
from pathlib import Path

from hack.tools.paths import REPOSITORY, cache_folder
from hack.tools.pypi import TOOLS

LOCKS = Path(__file__).with_name("locks")
# Beyond these the peer, or public client, does not install.
NEWEST_PYTHON = {
    "mlserver": (3, 12),
    "kserve": (3, 12),
    "bentoml": (3, 13),
    "tritonclient": (3, 14),
    "evidently": (3, 13),
}
_UV = TOOLS / "bin" / "uv"
# BentoML 1.4.40 asks for certificate authorities newer than the newest release; serving on loopback needs none.
_OVERRIDES = LOCKS / "overrides.txt"


class PeerError(RuntimeError):
    """A peer cannot be installed on this machine; says why."""


def complete(name: str) -> Path:
    """Return the file that is there when the environment of a peer's present lock is complete.

    Raises:
        PeerError: this Python is too new for the peer.
    """
    if sys.version_info[:2] > NEWEST_PYTHON[name]:
        newest = ".".join(map(str, NEWEST_PYTHON[name]))
        raise PeerError(f"{name} needs Python {newest} or older, this is {sys.version_info[0]}.{sys.version_info[1]}")
    lock = LOCKS / f"{name}.txt"
    python = f"{sys.version_info[0]}.{sys.version_info[1]}"
    digest = hashlib.sha256(lock.read_bytes() + python.encode()).hexdigest()[:16]
    return cache_folder() / "peers" / f"{name}-{digest}" / "complete"


def environment(name: str) -> Path:
    """Return a peer's Python, its environment installed when the lock is new.

    Raises:
        PeerError: this Python is too new for the peer, or the installation failed.
    """
    mark = complete(name)
    program = mark.with_name("bin") / "python"
    if not mark.exists():
        _run([str(_UV), "venv", "--quiet", "--clear", "--python", sys.executable, str(mark.parent)])
        # Compiled as an image build would: cold starts are not to pay for it.
        options = ["--require-hashes", "--no-deps", "--compile-bytecode", "-r", str(LOCKS / f"{name}.txt")]
        _run([str(_UV), "pip", "install", "--quiet", "--python", str(program), *options])
        mark.touch()
    return program


def compile_own() -> None:
    """Compile this environment and our sources to bytecode, as our images are and as the peers' environments are.

    uv does not do it unless asked, and where Python is set to write no bytecode each start would compile everything.
    """
    folders = [sysconfig.get_path("purelib"), REPOSITORY / "operator", REPOSITORY / "images" / "runtime"]
    command = [sys.executable, "-m", "compileall", "-q", "-j", "0", *map(str, folders)]
    # Packages ship examples that do not compile; they are listed on standard output and are not ours.
    subprocess.run(command, capture_output=True, check=False, stdin=subprocess.DEVNULL)


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        raise PeerError(f"`{' '.join(command)}` failed: {done.stderr.strip()[-1500:]}")


def version(name: str, package: str) -> str:
    """Return the version of a package that the lock was made for."""
    for line in (LOCKS / f"{name}.in").read_text().splitlines():
        if line.startswith(f"{package}=="):
            return line.removeprefix(f"{package}==").split()[0]
    raise PeerError(f"{name}.in pins no {package}")


def lock() -> None:
    """Resolve every peer's requirements anew and write the locks."""
    for name in NEWEST_PYTHON:
        options = ["--quiet", "--universal", "--python-version", "3.11", "--generate-hashes", "--no-emit-index-url"]
        header = ["--custom-compile-command", "python -m hack.bench.serving.environments"]
        source, target = LOCKS / f"{name}.in", LOCKS / f"{name}.txt"
        _run(
            [
                str(_UV),
                "pip",
                "compile",
                *options,
                *header,
                "--override",
                str(_OVERRIDES),
                str(source),
                "-o",
                str(target),
            ]
        )
        print(f"wrote {target}", file=sys.stderr)


if __name__ == "__main__":
    lock()
