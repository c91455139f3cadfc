"""The model server beside floors and beside the servers it wants to replace, on the same cores in the same run.

`python -m hack.bench serving` is the quick part, against a bare ASGI floor; `make bench-serving` (`python -m
hack.bench.serving`) is the whole comparison with MLServer, KServe and BentoML.
"""

from hack.bench.serving.quick import run

__all__ = ["run"]
