"""Drift tests: pure functions of counts on the reference's bins; they know nothing of windows, versions or storage.

Every score is an effect size: 0 when the two samples agree, larger when they differ more, and drift from the
threshold on. None is a p-value, because a p-value calls any difference drift once the window is large enough.
"""
