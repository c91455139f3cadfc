"""The drift tests: one row each, from which everything that names a drift test derives.

What derives: the tests that a ModelMonitor takes, the descriptions of its fields, the values in a monitor's
configuration and report, the sentences of errors, the table in docs/monitoring-statistics.md. The scores and noise
floors are in `tidemill_runtime.monitor.stattests.formulas`, by the same names. Every row can be requested.
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
    noise: str
    """Where the noise floor comes from: what the score is distributed as without drift. n is the effective size."""

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
        noise="n × score is χ² with k − 1 degrees of freedom; rare bins apart",
    ),
    DriftTest(
        "JensenShannon",
        title="Jensen-Shannon distance",
        columns="any",
        threshold=0.1,
        because="as Evidently",
        range="0 to 0.833",
        score="square root of the divergence, natural logarithm (as `scipy.spatial.distance.jensenshannon`)",
        noise="8 n × score² is χ² with k − 1 degrees of freedom; rare bins apart",
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
        noise="√n × score has Kolmogorov's distribution",
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
        noise="the difference of cumulative shares at every edge is normal, corrected for skewness; a bound",
    ),
    DriftTest(
        "ChiSquared",
        title="Cramér's V of the chi-squared statistic",
        columns="any",
        threshold=0.1,
        because="a small effect in Cohen's terms (1988)",
        range="0 to 1",
        score="Cramér's V of the table sample × bin, both samples weighed alike: √(½ Σ (r − c)² / (r + c))",
        noise="4 n × score² is χ² with k − 1 degrees of freedom",
    ),
    DriftTest(
        "LInfinity",
        title="largest difference of shares",
        columns="any",
        threshold=0.1,
        because="as SageMaker Model Monitor: a category or bin has gained or lost a tenth of the rows",
        range="0 to 1",
        score="max |r − c| (as `scipy.spatial.distance.chebyshev`)",
        noise="the difference of every bin is normal, corrected for skewness; a bound for all bins together",
    ),
    DriftTest(
        "Hellinger",
        title="Hellinger distance",
        columns="any",
        threshold=0.1,
        because="near JensenShannon, whose threshold it shares, where both are small",
        range="0 to 1",
        score="√(½ Σ (√r − √c)²)",
        noise="8 n × score² is χ² with k − 1 degrees of freedom; rare bins apart",
    ),
)

NAMES: Final = tuple(test.name for test in DRIFT_TESTS)
BY_NAME: Final = {test.name: test for test in DRIFT_TESTS}

FALLBACK: Final = BY_NAME["PSI"]
"""The test of columns that the requested test does not suit; it counts from its usual threshold."""

if TYPE_CHECKING:
    DriftTestName = str
else:
    DriftTestName = Literal[NAMES]
"""The name of a drift test; a validator and a schema read the allowed names from it."""
