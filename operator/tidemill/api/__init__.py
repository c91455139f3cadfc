"""The resources of Tidemill as pydantic types: the one source of the CRDs, of validation and of `kubectl explain`.

A description here is what a person reads in the terminal. No I/O, no decisions.
"""
