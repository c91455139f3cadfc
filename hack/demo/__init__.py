"""The loop, told: from nothing to a retrain that monitoring asked for, on a real cluster, by kubectl alone.

`python -m hack.demo` tells it and exits non-zero when a step did not happen; `python -m hack.demo clean`
removes what it made. The end-to-end tests run the same story and look at the cluster after each step.
"""
