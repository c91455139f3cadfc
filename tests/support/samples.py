"""The samples of manifests/samples: which there are, and the commands of their headers.

A header is the comment that a file begins with. Lines of it that are indented by three spaces are commands, for a
shell whose folder is the clone of the repository.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "manifests" / "samples"

ELSEWHERE: dict[str, str] = {
    "quickstart": "tests/e2e/test_loop.py, step by step, as `make demo` does",
    "job-predict-s3": "tests/e2e/test_data.py, with the data and the model that are in its bucket",
}
"""Samples that another test of tests/e2e applies, and which."""

NEEDS: dict[str, tuple[str, ...]] = {
    "own-model": (),
    "modelimport-notebook": (),
    "modelimport-from-staging": ("trainingpipeline-schedule-s3",),
}
"""What is applied before a sample; own-model unless something else stands here."""

ALONE = ("modeldeployment-quota",)
"""Samples that change what every pod of the namespace may do: nothing else runs meanwhile."""


@dataclass(frozen=True)
class Sample:
    """One sample: its name, and the file whose header has its commands."""

    name: str
    file: Path

    @property
    def is_folder(self) -> bool:
        """Whether it is applied with `-k`."""
        return self.file.name == "kustomization.yaml"

    @property
    def place(self) -> str:
        """Its path in the repository, as commands name it."""
        return str((self.file.parent if self.is_folder else self.file).relative_to(ROOT))

    @property
    def needs(self) -> tuple[str, ...]:
        """The samples that must have been applied."""
        return NEEDS.get(self.name, ("own-model",))

    @property
    def header(self) -> list[str]:
        """The lines of the comment that the file begins with, without their signs."""
        found = re.match(r"(?:#.*\n)*", self.file.read_text())
        return [line.removeprefix("#") for line in (found[0] if found else "").splitlines()]

    @property
    def commands(self) -> str:
        """The commands of the header, one a line."""
        return "\n".join(line.strip() for line in self.header if line.startswith("   "))

    def __str__(self) -> str:
        return self.name


def samples() -> list[Sample]:
    """All samples, those that others need first."""
    files = [*FOLDER.glob("*.yaml"), *FOLDER.glob("*/kustomization.yaml")]
    found = {name: Sample(name, file) for file in files for name in [_name(file)]}
    first = [name for sample in found.values() for name in sample.needs]
    return sorted(found.values(), key=lambda s: (s.name != "own-model", s.name not in first, s.name in ALONE, s.name))


def _name(file: Path) -> str:
    return file.parent.name if file.name == "kustomization.yaml" else file.stem
