"""Python modules of the gRPC messages, from the `.proto` files beside them.

Why committed: images are built without a compiler, and readers and type checkers see what the messages hold. Only
messages are made; the server binds methods itself.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from grpc_tools import protoc

SOURCES = Path("images") / "runtime"
FOLDER = SOURCES / "tidemill_runtime" / "server" / "protocol" / "proto"


def modules(root: Path) -> dict[Path, str]:
    """Return the text of every generated module by path.

    Raises:
        RuntimeError: the compiler refuses a file; it has said why on stderr.
    """
    sources = sorted((root / FOLDER).glob("*.proto"))
    if not sources:
        return {}
    names = [str(path.relative_to(root / SOURCES)) for path in sources]
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        options = [f"-I{root / SOURCES}", f"--python_out={out}", f"--pyi_out={out}"]
        if protoc.main(["protoc", *options, *names]):
            raise RuntimeError(f"protoc refuses one of {', '.join(names)}")
        return {root / SOURCES / path.relative_to(out): path.read_text() for path in out.rglob("*_pb2.py*")}
