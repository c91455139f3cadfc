"""What ONNX Runtime calls the types of tensors, and what numpy does."""

from typing import Any, Final

import numpy as np

NUMPY: Final[dict[str, Any]] = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(bool)": np.bool_,
    "tensor(string)": np.object_,
}
