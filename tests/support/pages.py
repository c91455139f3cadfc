"""Blocks of code in README, CONTRIBUTING, docs and samples: each runs in one kind of test, or stands in one table.

A test takes the blocks of its runner (`of`), so a new block runs without being listed anywhere. What cannot run is in
`EXCEPTED` with the reason; `tests/architecture/test_blocks.py` holds that nothing else is left out.
"""

from __future__ import annotations

import os
import re
import subprocess
import textwrap
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RUNTIME = "tests/runtime/test_documented_code.py"
INTEGRATION = "tests/integration/test_documented_commands.py"
E2E = "tests/e2e/test_samples.py"
LANGUAGES = ("http", "json", "python", "sh", "text", "yaml")
_TOOLS = threading.Lock()

EXCEPTED: dict[tuple[str, str], str] = {
    ("docs/local-cluster.md", "from hack.localcluster import control_plane"): (
        "starts a control plane; the fixture `kubeconfig` of tests/integration is this very call"
    ),
    ("docs/architecture.md", "kubectl, GitOps                       clients"): "a picture",
    ("docs/gitops.md", "metadata:"): "annotations that only Argo CD reads; parsed, and merged into no object of ours",
    ("docs/gitops.md", "spec:"): "a part of Argo CD's Application, whose CRD no cluster of the tests has; parsed",
    ("docs/gitops.md", "apiVersion: kustomize.toolkit.fluxcd.io/v1"): (
        "Flux's Kustomization, whose CRD no cluster of the tests has; tests/architecture/test_pages.py compares it "
        "with the file that tests/unit/gitops evaluates"
    ),
}
"""(page, first line) → why the block does not run."""

PROGRAMS: dict[str, str] = {
    "make": "builds images and clusters: `make -n` says whether the target and everything it needs is there",
    "aws": "AWS's client is not part of the project",
}
"""Programs of shell blocks that are not really run, and why; all others are."""


@dataclass(frozen=True)
class Block:
    """One fenced block: page (path in the repository), line of its fence, language, text without indentation."""

    page: str
    line: int
    language: str
    text: str

    @property
    def first(self) -> str:
        """Its first line, which names it in tables: lines move, the beginning rarely changes."""
        return self.text.strip().splitlines()[0].strip()

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def pages() -> list[Path]:
    """Every page for readers; those of recorded test data (tests/golden) are none."""
    docs = sorted((ROOT / "docs").rglob("*.md"))
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *docs, *sorted((ROOT / "manifests").rglob("*.md"))]


@cache
def blocks() -> tuple[Block, ...]:
    """All blocks of all pages."""
    found = []
    for page in pages():
        text = page.read_text()
        for match in re.finditer(r"^( *)```([^\n`]*)\n(.*?)^\1```[ ]*$", text, re.MULTILINE | re.DOTALL):
            line = text.count("\n", 0, match.start()) + 1
            name = str(page.relative_to(ROOT))
            found.append(Block(name, line, match[2], textwrap.dedent(match[3])))
    return tuple(found)


def runner(block: Block) -> str | None:
    """The test file that runs a block; None for one that is excepted, or whose language nothing runs."""
    if (block.page, block.first) in EXCEPTED:
        return None
    if block.language == "sh":
        if "tidemill_runtime" in block.text:
            return RUNTIME
        return E2E if "own-model" in block.text else INTEGRATION
    return {"python": RUNTIME, "json": RUNTIME, "http": RUNTIME, "yaml": INTEGRATION}.get(block.language)


def of(file: str, *languages: str) -> list[Block]:
    """The blocks that a test file runs, of some languages."""
    return [block for block in blocks() if runner(block) == file and block.language in languages]


def block(page: str, first: str) -> Block:
    """The block of a page that begins with a line. AssertionError unless there is exactly one."""
    (found,) = [b for b in blocks() if (b.page, b.first) == (page, first)]
    return found


def run(
    text: str, folder: Path, programs: Mapping[str, str], *, timeout: float = 120, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run shell text in a folder as a reader would, each command with status 0, and return how it ended.

    `programs`: name → text of a bash script that stands for it; all others are those of this machine.
    """
    tools = folder / ".programs"
    tools.mkdir(exist_ok=True)
    for name, script in programs.items():
        tool, text_of_tool = tools / name, f"#!/bin/bash\n{script}\n"
        # Another block may be running the tool at this moment, and what is open for writing cannot be started.
        with _TOOLS:
            if not tool.exists() or tool.read_text() != text_of_tool:
                tool.write_text(text_of_tool)
                tool.chmod(0o755)
    variables = {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}", **environment}
    command = ["bash", "-euo", "pipefail", "-c", text]
    return subprocess.run(
        command, cwd=folder, env=variables, capture_output=True, text=True, timeout=timeout, check=False
    )
