"""The drift tests: one row each, from which everything that names a drift test derives.

What derives: the tests that a ModelMonitor takes, the descriptions of its fields, the values in a monitor's
configuration and report, the sentences of errors, the table in docs/monitoring-statistics.md. The scores are in
`tidemill_runtime.monitor.stattests.formulas`, by the same names. Every row can be requested, and so can AUTO.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal


@dataclass(frozen=True, slots=True)
class DriftTest:
    """What everybody needs to know of a drift test; texts are for the documentation."""

    name: str
    title: str
    columns: Literal["any", "numeric"]
    threshold: float
    """The usual one."""
    because: str
    """Why it is the usual one."""
    range: str
    score: str
    """Its formula, in r and c: the shares of reference and current values per bin."""

    def suits(self, kind: str) -> bool:
        """Return whether it can judge a column of this kind of profile: "numeric" or "categorical"."""
        return self.columns in ("any", kind)


DRIFT_TESTS: Final = (
    DriftTest(
        "PSI",
        title="population stability index",
        columns="any",
        threshold=0.2,
        because="Siddiqi (2006): a shift from 0.2, a moderate one from 0.1",
        range="0 or more",
        score="Σ (r − c) ln(r / c). A zero share becomes 0.0001, or a millionth of the sample's smallest share when "
        "that is ≤ 0.0001 (as Evidently)",
    ),
    DriftTest(
        "JensenShannon",
        title="Jensen-Shannon distance",
        columns="any",
        threshold=0.1,
        because="as Evidently",
        range="0 to 0.833",
        score="square root of the divergence, natural logarithm (as `scipy.spatial.distance.jensenshannon`)",
    ),
    DriftTest(
        "KolmogorovSmirnov",
        title="Kolmogorov-Smirnov statistic",
        columns="numeric",
        threshold=0.1,
        because="a tenth of the rows lies elsewhere",
        range="0 to 1",
        score="largest distance of the cumulative shares at the edges: a lower bound of the statistic of raw values, "
        "at most one bin's share below it",
    ),
    DriftTest(
        "Wasserstein",
        title="normed Wasserstein distance",
        columns="numeric",
        threshold=0.1,
        because="as Evidently: a tenth of a standard deviation",
        range="0 or more",
        score="distance that mass moves between bins, each placed at the reference's mean in it, divided by the "
        "reference's standard deviation; error at most one bin width",
    ),
    DriftTest(
        "ChiSquared",
        title="Cramér's V of the chi-squared statistic",
        columns="any",
        threshold=0.1,
        because="a small effect in Cohen's terms (1988)",
        range="0 to 1",
        score="Cramér's V of the table sample × bin, both samples weighed alike: √(½ Σ (r − c)² / (r + c))",
    ),
    DriftTest(
        "LInfinity",
        title="largest difference of shares",
        columns="any",
        threshold=0.1,
        because="as SageMaker Model Monitor: a category or bin has gained or lost a tenth of the rows",
        range="0 to 1",
        score="max |r − c| (as `scipy.spatial.distance.chebyshev`)",
    ),
    DriftTest(
        "Hellinger",
        title="Hellinger distance",
        columns="any",
        threshold=0.1,
        because="near JensenShannon, whose threshold it shares, where both are small",
        range="0 to 1",
        score="√(½ Σ (√r − √c)²)",
    ),
)

NAMES: Final = tuple(test.name for test in DRIFT_TESTS)
BY_NAME: Final = {test.name: test for test in DRIFT_TESTS}

FALLBACK: Final = BY_NAME["PSI"]
"""The test of columns that the requested test does not suit; it counts from its usual threshold."""

AUTO: Final = "Auto"
"""Requests the test that suits the column, with its usual threshold."""
AUTO_NUMERIC: Final = BY_NAME["KolmogorovSmirnov"]
"""Auto's test of numeric columns: a score that depends on the order of values alone, so that a few huge ones hide
nothing, and the same whether a column is an amount or its logarithm."""
AUTO_OTHER: Final = BY_NAME["JensenShannon"]
"""Auto's test of all other columns: finite where a category is new or gone, without a value that stands for zero."""


def auto(kind: str, bins: int) -> DriftTest:
    """Return Auto's test for a column of this kind of profile with so many bins in use."""
    return AUTO_NUMERIC if kind == "numeric" and bins > 2 else AUTO_OTHER


if TYPE_CHECKING:
    DriftTestName = str
    RequestedDriftTest = str
else:
    DriftTestName = Literal[NAMES]
    RequestedDriftTest = Literal[(AUTO, *NAMES)]
"""The name of a drift test, and what can be requested; a validator and a schema read the allowed names from it."""
