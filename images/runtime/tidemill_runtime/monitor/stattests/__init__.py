"""Drift tests: pure functions of counts on the reference's bins; they know nothing of windows, versions or storage.

Every score is an effect size: 0 when the two samples agree, larger when they differ more. Drift is a score from the
threshold on (`formulas`) whose difference is also significant (`significance`), at a level that keeps a stated number
of false alarms (`false_alarms`). Neither is enough alone: in small windows any score is reached by chance, in large
ones any difference is significant.
"""
