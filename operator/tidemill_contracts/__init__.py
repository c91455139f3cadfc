"""What the control plane and the data plane agree on.

A leaf package: standard library and pydantic only, so that every image can hold it. It describes
documents and names; it does no I/O and knows neither Kubernetes nor a numeric library.
"""
