"""Population stability index: sum over bins of (r - c) ln(r / c), with r and c the shares of reference and current.

Rules of thumb in use since Siddiqi, Credit Risk Scorecards (2006): below 0.1 stable, 0.1 to 0.2 moderate, from 0.2
on a shift. An empty bin would make it infinite, so a zero share is replaced as Evidently does it: by 0.0001, or by a
millionth of the smallest share of that sample when that is 0.0001 or less; shares are not normalised again.
"""

import numpy as np

from tidemill_runtime.monitor.stattests.sample import Bins, Counts, Shares, chi_squared_quantile, effective_size, shares

_FILL = 1e-4


def score(reference: Counts, current: Counts, bins: Bins) -> float:
    """Return the index, 0 or more, in natural logarithms."""
    del bins  # the index does not depend on where bins lie
    used = (reference + current) > 0  # a bin empty in both says nothing
    r, c = _filled(shares(reference)[used]), _filled(shares(current)[used])
    return float(np.sum((r - c) * np.log(r / c)))


def noise_floor(reference: Counts, current: Counts, bins: Bins) -> float:
    """Return the 99.9 % quantile without drift: PSI × n is chi-squared with k - 1 degrees of freedom.

    Its mean is the better known (k - 1)(1/n_reference + 1/n_current); Yurdakul and Naranjo, 2020.
    """
    del bins
    return chi_squared_quantile(reference, current) / effective_size(reference, current)


def _filled(values: Shares) -> Shares:
    zero = values == 0
    if not zero.any():
        return values
    smallest = float(values[~zero].min())
    return np.where(zero, _FILL if smallest > _FILL else smallest / 1e6, values)
