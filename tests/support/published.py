"""Data sets of published monitoring figures: those that the package of NannyML brings, of which its docs print results.

The wheel is no dependency: only its data files are taken, once a machine, by `make test-programs`.
"""

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import pandas as pd
from hack.tools.go import built_once
from hack.tools.paths import cache_folder
from hack.tools.pypi import TOOLS
from tests.support.programs import needed

VERSION = "0.13.1"
SHA256 = "cf5f4a33489834ae6773cb1baa33a0f98c0a3ee6ed9b43049478b25ce22fe869"
_PARTS = "nannyml/datasets/data/"
CAR_LOAN = (
    "synthetic_car_loan_reference.csv",
    "synthetic_car_loan_analysis.csv",
    "synthetic_car_loan_analysis_target.csv",
)
CENSUS = ("employment_MA_reference.pq", "employment_MA_analysis.pq", "employment_MA_analysis_target.pq")


def car_loan() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the reference and the analysed rows of the synthetic car loan data, both with the label `repaid`."""
    reference, analysis, labels = (pd.read_csv(_file(name)) for name in CAR_LOAN)
    return reference, analysis.merge(labels, on="id", validate="one_to_one")


def census() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return 2015, and 2016 to 2018, of the US Census employment data of Massachusetts, with the label `employed`."""
    reference, analysis, labels = (pd.read_parquet(_file(name)) for name in CENSUS)
    return reference, analysis.merge(labels, on="id", validate="one_to_one")


def fetch() -> None:
    """Bring the data sets into the user's cache when they are not there yet (24 MB).

    Raises:
        RuntimeError: pip failed, or the wheel is another one; the message is what pip said.
    """
    built_once(_complete(), _fetch)


def _file(name: str) -> Path:
    return needed("the data of published figures", _complete()).parent / name


def _complete() -> Path:
    return cache_folder() / "datasets" / f"nannyml-{VERSION}" / "complete"


def _fetch(complete: Path) -> None:
    sys.stderr.write(f"fetching the data sets of nannyml {VERSION} (once)\n")
    with tempfile.TemporaryDirectory(dir=complete.parent) as folder:
        wanted = Path(folder) / "wanted.txt"
        wanted.write_text(f"nannyml=={VERSION} --hash=sha256:{SHA256}\n", encoding="utf-8")
        # Its data files suit any Python, whatever its code needs.
        options = ["--no-deps", "--require-hashes", "--only-binary=:all:", "--ignore-requires-python", "--quiet"]
        command = [
            str(TOOLS / "bin" / "python"),
            "-m",
            "pip",
            "download",
            *options,
            "--dest",
            folder,
            "--requirement",
            str(wanted),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
        wheels = list(Path(folder).glob("*.whl"))
        if done.returncode != 0 or len(wheels) != 1:
            raise RuntimeError(f"`{' '.join(command)}` failed: {done.stderr.strip()[-2000:]}")
        if hashlib.sha256(wheels[0].read_bytes()).hexdigest() != SHA256:
            raise RuntimeError(f"{wheels[0].name} is not the wheel of nannyml {VERSION} that is pinned")
        with zipfile.ZipFile(wheels[0]) as archive:
            for name in (*CAR_LOAN, *CENSUS):
                (complete.parent / name).write_bytes(archive.read(_PARTS + name))
    complete.touch()
