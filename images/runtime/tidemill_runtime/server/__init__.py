"""The model server: one verified model version on an address.

Layers, outermost first: `lifecycle` (process) → `http`, `application`, `admin` (adapters) →
`protocol_v1`, `protocol_v2` (bytes to frames and back) → `dataplane` (transport-free) → `models`,
`predictionlog`. The package holds no cluster client, and scikit-learn and pandas are imported only when
a model is served natively.
"""
