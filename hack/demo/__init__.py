"""The loop on a real cluster, by kubectl alone: from nothing to a retrain that monitoring requested.

`python -m hack.demo` runs it and exits non-zero when a step fails; `python -m hack.demo clean` removes what it made.
The end-to-end tests run the same scenario and look at the cluster after each step.
"""
