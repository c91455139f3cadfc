"""Libraries that the image has for batch prediction, kept out of processes that serve.

pandas imports pyarrow where it finds it, for nothing that serving needs: 34 MiB in each process and slower strings.
Must be called before pandas is imported. A None in `sys.modules` would not do: scikit-learn takes that for the module.
"""

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

NOT_SERVING = frozenset({"pyarrow"})


class _Absent(MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Say that there is no such module."""
        del path, target
        if fullname.partition(".")[0] in NOT_SERVING:
            raise ModuleNotFoundError(f"{fullname} is not for processes that serve", name=fullname)
        return None


def keep_out() -> None:
    """Let imports of these libraries fail from now on, as if they were not installed."""
    sys.meta_path.insert(0, _Absent())
