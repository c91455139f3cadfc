"""The model server: one verified model version on an address.

Layers, outermost first: `process` (start, workers, drain, admin port) → `http`, `rpc` (transports) → `dataplane`
(predicting without a transport) → `protocol` (bytes to frames and back) → `host`, `telemetry`. The package has no
client of the cluster. scikit-learn and pandas are imported only for a model that is served natively.
"""
