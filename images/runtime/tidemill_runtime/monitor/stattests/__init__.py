"""The drift tests by name, each with the columns it suits, its usual threshold and its noise floor.

Every score is an effect size: 0 when the two samples agree, larger when they differ more, and drift from the
threshold on. None is a p-value, because a p-value calls any difference drift once the window is large enough.
A test here is a pure function of counts on the reference's bins; it must not know windows, versions or storage.
Adding one: a module with `score` and `noise_floor`, one line below, one name in `tidemill_contracts.monitoring`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from tidemill_contracts.monitoring import DriftTest
from tidemill_runtime.monitor.stattests import chi_squared, jensen_shannon, kolmogorov_smirnov, psi, wasserstein
from tidemill_runtime.monitor.stattests.sample import Bins, Counts

NUMERIC: Final = "numeric"
CATEGORICAL: Final = "categorical"


@dataclass(frozen=True)
class StatTest:
    """A drift test. `score` and `noise_floor` take reference counts, current counts and the bins' positions.

    `score` returns NaN where it is not defined. `noise_floor` returns the score that samples of these sizes
    exceed in about one window of a thousand although nothing has changed.
    """

    name: DriftTest
    kinds: frozenset[str]
    default_threshold: float
    score: Callable[[Counts, Counts, Bins], float]
    noise_floor: Callable[[Counts, Counts, Bins], float]


_ANY = frozenset({NUMERIC, CATEGORICAL})
_ORDERED = frozenset({NUMERIC})

TESTS: Final[dict[DriftTest, StatTest]] = {
    test.name: test
    for test in (
        StatTest("PSI", _ANY, 0.2, psi.score, psi.noise_floor),
        StatTest("JensenShannon", _ANY, 0.1, jensen_shannon.score, jensen_shannon.noise_floor),
        StatTest("KolmogorovSmirnov", _ORDERED, 0.1, kolmogorov_smirnov.score, kolmogorov_smirnov.noise_floor),
        StatTest("Wasserstein", _ORDERED, 0.1, wasserstein.score, wasserstein.noise_floor),
        StatTest("ChiSquared", _ANY, 0.1, chi_squared.score, chi_squared.noise_floor),
    )
}

FALLBACK: Final[DriftTest] = "PSI"
"""The test of columns that the configured test does not suit."""

__all__ = ["CATEGORICAL", "FALLBACK", "NUMERIC", "TESTS", "Bins", "Counts", "StatTest"]
