"""Is the candidate good?"""

import pytest
from tests.unit.serving.make import ANALYSIS, NOW, figures, measurement, version

from tidemill.api.v1alpha1.model_deployment import Analysis
from tidemill.serving.policy import analysis
from tidemill.serving.snapshot import version_child

STABLE, CANDIDATE = version_child("churn", version(1)), version_child("churn", version(2))

CASES = {
    "few errors pass": ([{"metric": "ErrorRatio", "max": 0.01}], figures(1000), figures(100, 1), "Successful"),
    "many errors fail": ([{"metric": "ErrorRatio", "max": 0.01}], figures(1000), figures(100, 2), "Failed"),
    "slow fails": ([{"metric": "LatencyP99Milliseconds", "max": 50}], figures(100), figures(100, 0, 100), "Failed"),
    "fast passes": ([{"metric": "LatencyP99Milliseconds", "max": 50}], figures(100), figures(100, 0, 10), "Successful"),
    "slower than the stable version": (
        [{"metric": "LatencyP99Milliseconds", "maxRatioToStable": 1.3}],
        figures(100, 0, 10),
        figures(100, 0, 50),
        "Failed",
    ),
    "as fast as the stable version": (
        [{"metric": "LatencyP50Milliseconds", "max": 500, "maxRatioToStable": 1.3}],
        figures(100, 0, 50),
        figures(100, 0, 50),
        "Successful",
    ),
    "a limit fails before the ratio is asked": (
        [{"metric": "LatencyP95Milliseconds", "max": 5, "maxRatioToStable": 9}],
        figures(1),
        figures(100, 0, 50),
        "Failed",
    ),
    "nothing to compare with": (
        [{"metric": "LatencyP95Milliseconds", "maxRatioToStable": 2}],
        figures(3),
        figures(100),
        "Inconclusive",
    ),
    "one error beside a perfect stable version is within the ratio": (
        [{"metric": "ErrorRatio", "maxRatioToStable": 2}],
        figures(100),
        figures(100, 1),
        "Successful",
    ),
    "more errors than a perfect stable version": (
        [{"metric": "ErrorRatio", "maxRatioToStable": 2}],
        figures(100),
        figures(100, 3),
        "Failed",
    ),
    "too few requests": ([{"metric": "ErrorRatio", "max": 0.01}], figures(1000), figures(49, 49), "Inconclusive"),
    "no request": ([{"metric": "ErrorRatio", "max": 0.01}], figures(0), figures(0), "Inconclusive"),
    "the worst of several counts": (
        [{"metric": "ErrorRatio", "max": 0.01}, {"metric": "LatencyP99Milliseconds", "max": 5}],
        figures(100),
        figures(100, 0, 50),
        "Failed",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_judge(name: str) -> None:
    checks, stable, candidate, want = CASES[name]
    wanted = Analysis.model_validate({**ANALYSIS, "checks": checks})
    found = measurement(stable=(1, stable), candidate=(2, candidate))
    got = analysis.judge(wanted, found, STABLE, CANDIDATE, NOW)
    assert got.verdict == want
    assert got.message and got.time == NOW and got.since == found.start
    assert got.requests == candidate.requests


def test_unreadable_figures_are_an_error_and_name_the_pod() -> None:
    found = measurement(stable=(1, figures(100)), candidate=(2, figures(100)), missing=("router-1: no answer",))
    got = analysis.judge(Analysis.model_validate(ANALYSIS), found, STABLE, CANDIDATE, NOW)
    assert got.verdict == "Error" and "router-1: no answer" in got.message


def test_message_tells_value_limit_and_sample() -> None:
    found = measurement(stable=(1, figures(100)), candidate=(2, figures(100, 5)))
    got = analysis.judge(Analysis.model_validate(ANALYSIS), found, STABLE, CANDIDATE, NOW)
    assert got.message == "ErrorRatio 0.05 is above 0.01 (100 requests in 15 s)"
    assert (got.checks[0].value, got.checks[0].limit) == (0.05, 0.01)
