"""From the strings of spec.parameters to the types that a function's annotations ask for."""

import inspect
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any, Literal, Union

from tidemill_runtime.trainer.errors import RunError

_TRUE = frozenset({"true", "yes", "1"})
_FALSE = frozenset({"false", "no", "0"})
_NONE = frozenset({"none", "null", ""})


def bind(function: Callable[..., Any], given: Mapping[str, str], seed: int) -> dict[str, Any]:
    """Return the keyword arguments for `train`: each parameter typed, and the seed where it is accepted.

    A parameter without annotation takes the type of its default; without both it stays text.

    Raises:
        RunError: UserError; UnknownParameter, MissingParameter or InvalidParameter, each naming the parameter.
    """
    try:
        signature = inspect.signature(function)
        hints = typing.get_type_hints(function)
    except (NameError, TypeError, ValueError) as error:
        raise RunError("UserError", "InvalidSignature", f"train: its annotations cannot be read: {error}") from error
    accepted = _accepted(signature)
    open_ended = any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values())
    if "seed" in given:
        raise RunError("UserError", "UnknownParameter", "parameters.seed: the seed is spec.seed, not a parameter")
    arguments: dict[str, Any] = {}
    for name, text in given.items():
        if name not in accepted and not open_ended:
            known = ", ".join(n for n in accepted if n != "seed") or "none"
            raise RunError(
                "UserError", "UnknownParameter", f"parameters.{name}: train takes no {name!r}; it takes {known}"
            )
        arguments[name] = _convert(name, text, _annotation(accepted.get(name), hints.get(name)))
    if "seed" in accepted:
        arguments["seed"] = seed
    for name, parameter in accepted.items():
        if parameter.default is parameter.empty and name not in arguments:
            raise RunError("UserError", "MissingParameter", f"parameters.{name}: train needs it and it has no default")
    return arguments


def _accepted(signature: inspect.Signature) -> dict[str, inspect.Parameter]:
    """Return the parameters after data and target that can be given by name."""
    ordered = list(signature.parameters.values())
    variadic = any(p.kind is p.VAR_POSITIONAL for p in ordered)
    positional = [p for p in ordered if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    if len(positional) < 2 and not variadic:
        text = f"train{signature}: expected train(data, target, *, …)"
        raise RunError("UserError", "InvalidSignature", text)
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    taken = {p.name for p in positional[:2]}
    return {p.name: p for p in ordered if p.kind in named and p.name not in taken}


def _annotation(parameter: inspect.Parameter | None, hint: Any) -> Any:
    if hint is not None:
        return hint
    if parameter is None or parameter.default is parameter.empty or parameter.default is None:
        return str
    return type(parameter.default)


def _convert(name: str, text: str, wanted: Any) -> Any:
    origin = typing.get_origin(wanted)
    if origin in (Union, types.UnionType):
        options = [option for option in typing.get_args(wanted) if option is not type(None)]
        if len(options) < len(typing.get_args(wanted)) and text.strip().lower() in _NONE:
            return None
        return _first_that_fits(name, text, options)
    if origin is Literal:
        for value in typing.get_args(wanted):
            if text == str(value):
                return value
        raise _invalid(name, text, f"one of {', '.join(str(value) for value in typing.get_args(wanted))}")
    if wanted is str or wanted is Any:
        return text
    if wanted is bool:
        if text.strip().lower() in _TRUE | _FALSE:
            return text.strip().lower() in _TRUE
        raise _invalid(name, text, "bool (true or false)")
    if wanted in (int, float):
        try:
            return wanted(text)
        except ValueError as error:
            raise _invalid(name, text, wanted.__name__) from error
    supported = "int, float, bool, str, Optional or Literal"
    raise RunError(
        "UserError", "InvalidParameter", f"parameters.{name}: train annotates it {wanted}; supported are {supported}"
    )


def _first_that_fits(name: str, text: str, options: list[Any]) -> Any:
    # Text fits everything, so it is tried last, whatever the order in the annotation.
    for option in sorted(options, key=lambda option: option is str):
        try:
            return _convert(name, text, option)
        except RunError:
            continue
    raise _invalid(name, text, " or ".join(getattr(option, "__name__", str(option)) for option in options))


def _invalid(name: str, text: str, wanted: str) -> RunError:
    return RunError("UserError", "InvalidParameter", f"parameters.{name}: {text!r} is not {wanted}")
