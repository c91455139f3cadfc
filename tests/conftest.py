"""What every test shares: the one Hypothesis profile.

Equal code draws equal examples, here and in continuous integration, and nothing is judged by the clock: machines are
slow now and then. `TIDEMILL_RANDOM_EXAMPLES=1` draws other examples each time, to look for more.
"""

from __future__ import annotations

import gc
import os

from hypothesis import HealthCheck, settings

PROFILE = "tidemill"

settings.register_profile(
    PROFILE,
    derandomize=not os.environ.get("TIDEMILL_RANDOM_EXAMPLES"),
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    print_blob=True,
)
settings.load_profile(PROFILE)

gc.set_threshold(50_000, 20, 20)  # with the usual 700 a tenth of the unit tests' time goes into collections
