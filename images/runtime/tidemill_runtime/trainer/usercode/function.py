"""Calling the user's Python: finding the function, typing its parameters, and telling its mistakes from ours.

A failure shows the last frames of the user's own files and none of ours, as `file:line`.
"""

import contextlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from tidemill_contracts import revisions
from tidemill_contracts.training import Code
from tidemill_runtime.trainer.errors import RunError

_MAX_FRAMES = 6


@dataclass(frozen=True)
class UserCode:
    """The user's functions; `evaluate` and `features` are optional."""

    train: Callable[..., Any]
    evaluate: Callable[..., Any] | None
    features: Callable[..., Any] | None
    root: Path  # files below it are the user's


def check_digest(code: Code) -> None:
    """Refuse mounted code that is not the code that this run was decided on.

    Raises:
        RunError: UserError, CodeChanged.
    """
    if code.directory is None or not code.digest.startswith("sha256:"):
        return
    files = {file.name: file.read_bytes() for file in code_files(Path(code.directory))}
    found = revisions.code_digest(files)
    if found != code.digest:
        text = f"the mounted code has digest {found}, the run was decided for {code.digest}: it changed meanwhile"
        raise RunError("UserError", "CodeChanged", text)


def code_files(directory: Path) -> list[Path]:
    """Return the files that a ConfigMap shows at the top of its mount, without Kubernetes' hidden ones."""
    if not directory.is_dir():
        raise RunError("UserError", "CodeNotFound", f"code: there is no folder {directory}")
    return sorted(file for file in directory.iterdir() if file.is_file() and not file.name.startswith(".."))


def modules(code: Code) -> dict[str, str]:
    """Return the sources of mounted Python modules by name; none of code that an image or a program brings."""
    if code.directory is None or code.entrypoint is None:
        return {}
    found: dict[str, str] = {}
    for file in code_files(Path(code.directory)):
        if file.suffix == ".py" and file.stem.isidentifier():
            with contextlib.suppress(SyntaxError, UnicodeDecodeError):  # such a file cannot have been imported
                found[file.stem] = importlib.util.decode_source(file.read_bytes())
    return found


def load(code: Code) -> UserCode:
    """Import the entrypoint's module and return its functions.

    Raises:
        RunError: UserError; SyntaxError, ImportError, EntrypointNotFound, or CodeFailed when the module itself raises.
    """
    entrypoint = code.entrypoint or ""
    module_name, _, function = entrypoint.partition(":")
    if not module_name or not function:
        raise RunError("UserError", "EntrypointNotFound", f"entrypoint {entrypoint!r}: expected module:function")
    root = Path(code.directory) if code.directory is not None else None
    if root is not None:
        sys.path.insert(0, str(root))
        sys.dont_write_bytecode = True  # the mount is read-only
    module = _import(module_name, root, entrypoint)
    own = root or Path(module.__file__ or ".").parent
    train = getattr(module, function, None)
    if not callable(train):
        names = [
            n for n, value in vars(module).items() if inspect.isfunction(value) and value.__module__ == module_name
        ]
        text = f"there is no function {function!r} in {module_name}, which has {', '.join(names) or 'none'}"
        raise RunError("UserError", "EntrypointNotFound", f"entrypoint {entrypoint!r}: {text}")
    return UserCode(train, _optional(module, "evaluate"), _optional(module, "features"), own)


def call(function: Callable[..., Any], root: Path, *args: Any, **kwargs: Any) -> Any:
    """Call the user's function; what it raises becomes a UserError with the user's own frames.

    Raises:
        RunError: UserError, CodeFailed.
        MemoryError: as it is, it is not a mistake in the code alone.
    """
    name = getattr(function, "__name__", type(function).__name__)
    try:
        return function(*args, **kwargs)
    except MemoryError:
        raise
    except SystemExit as error:
        raise RunError("UserError", "CodeFailed", f"{name} ended the process: SystemExit: {error.code}") from error
    except Exception as error:
        raise RunError("UserError", "CodeFailed", f"{name} raised {describe(error, root)}") from error


def describe(error: BaseException, root: Path) -> str:
    """Return an exception in one paragraph: what it says, then the last user frames, the innermost last."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if _is_below(f.filename, root)][-_MAX_FRAMES:]
    said = f"{type(error).__name__}: {error}".rstrip(": ")
    places = [
        f"  {Path(f.filename).relative_to(root)}:{f.lineno} in {f.name}: {(f.line or '').strip()}" for f in frames
    ]
    return "\n".join([said, *places])


def _import(name: str, root: Path | None, entrypoint: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except SyntaxError as error:
        file = Path(error.filename or name).name
        text = f"{file}:{error.lineno}: {error.msg}: {(error.text or '').strip()}".rstrip(": ")
        raise RunError("UserError", "SyntaxError", text) from error
    except ModuleNotFoundError as error:
        if error.name == name.partition(".")[0] or error.name == name:
            where = (
                f"; the code has {', '.join(f.name for f in code_files(root))}" if root is not None else " in the image"
            )
            text = f"entrypoint {entrypoint!r}: there is no module {name!r}{where}"
            raise RunError("UserError", "EntrypointNotFound", text) from error
        raise RunError("UserError", "ImportError", describe(error, root or Path())) from error
    except ImportError as error:
        raise RunError("UserError", "ImportError", describe(error, root or Path())) from error
    except MemoryError:
        raise
    except (Exception, SystemExit) as error:
        raise RunError(
            "UserError", "CodeFailed", f"importing {name} raised {describe(error, root or Path())}"
        ) from error


def _optional(module: ModuleType, name: str) -> Callable[..., Any] | None:
    value = getattr(module, name, None)
    return value if callable(value) else None


def _is_below(filename: str, root: Path) -> bool:
    return Path(filename).is_relative_to(root)
