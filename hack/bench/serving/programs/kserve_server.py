"""KServe's scikit-learn server: its ModelServer, Model, request and response helpers around a joblib file.

The `sklearnserver` package is not on PyPI; what it adds to the kserve package is this loading and this call. Usage:
`kserve_server.py NAME FILE`, then KServe's own options (`--http_port`, …). Run in KServe's environment, not ours.
"""

import sys
from typing import Any

import joblib
from kserve import Model, ModelServer
from kserve.utils.utils import get_predict_input, get_predict_response


class ScikitLearnModel(Model):  # type: ignore[misc]
    """One fitted estimator."""

    def __init__(self, name: str, path: str) -> None:
        super().__init__(name)
        self._estimator = joblib.load(path)
        self.ready = True

    def predict(self, payload: Any, headers: Any = None, response_headers: Any = None) -> Any:
        """Answer V1 and V2."""
        del headers, response_headers
        return get_predict_response(payload, self._estimator.predict(get_predict_input(payload)), self.name)


if __name__ == "__main__":
    ModelServer().start([ScikitLearnModel(sys.argv[1], sys.argv[2])])
