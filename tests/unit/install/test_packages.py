"""Which packages which image has, by the lock; tests of processes run with these packages alone."""

import pytest
from tests.support.packages import absent_modules, distributions


@pytest.mark.slow
@pytest.mark.parametrize(
    ("extra", "present", "absent"),
    [
        ("operator", {"kopf", "aiohttp"}, {"numpy", "pandas", "scikit-learn", "pyarrow", "fastapi"}),
        ("trainer", {"scikit-learn", "pandas", "pyarrow", "skl2onnx", "onnxruntime", "aiohttp", "tqdm"}, {"fastapi"}),
        ("server", {"fastapi", "scikit-learn", "pandas", "onnxruntime"}, {"pyarrow", "tqdm", "skl2onnx", "onnx"}),
        ("monitor", {"fastapi", "numpy", "pyarrow", "obstore"}, {"pandas", "scikit-learn", "onnxruntime"}),
    ],
)
def test_an_image_has_what_it_needs_and_no_more(extra: str, present: set[str], absent: set[str]) -> None:
    found = distributions(extra)
    assert found >= present | {"pydantic", "pydantic-core"}
    assert not found & absent


@pytest.mark.slow
def test_only_what_an_image_lacks_is_hidden_from_its_processes() -> None:
    assert {"pyarrow", "tqdm", "skl2onnx", "onnx", "kopf"} <= absent_modules("server")
    assert not absent_modules("server") & {"aiohttp", "google", "numpy", "pandas", "sklearn", "opentelemetry"}
    assert {"fastapi", "uvicorn", "prometheus_client", "grpc"} <= absent_modules("trainer")
    assert not absent_modules("trainer") & {"aiohttp", "orjson", "pyarrow", "tqdm", "yarl"}
