"""What a configuration with ``_target_`` builds, and everything that is wrong with it."""

from __future__ import annotations

import inspect
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from omegaconf import OmegaConf

from resnet_sweep.faults import Fault

# What a wrong configuration raises when it is built.
BUILD_ERRORS = (ValueError, TypeError, ImportError)
_SCALARS: Mapping[str, type | tuple[type, ...]] = {
    "int": int,
    "float": (int, float),
    "bool": bool,
    "str": str,
    "None": type(None),
}


def plain(config: Any) -> dict[str, Any]:
    """A configuration as a plain container, interpolations resolved; empty if it is none."""
    if OmegaConf.is_config(config):
        config = OmegaConf.to_container(config, resolve=True)
    return dict(config) if isinstance(config, Mapping) else {}


def deferred(config: Mapping[str, Any], allowed: Sequence[str]) -> Callable[..., Any]:
    """What a configuration names, its parameters given, ready to be called any number of times.

    Args:
        config: A plain container with ``_target_``.
        allowed: Patterns of what it may name, beside those that the application allows.

    Raises:
        HydraException: It names what it may not, or what does not exist.
    """
    from hydra.utils import instantiate

    # What it contains is built already.
    with quiet():
        built: Callable[..., Any] = instantiate(
            dict(config), _partial_=True, _convert_="all", _execution_whitelist_=list(allowed)
        )
    return built


@contextmanager
def quiet(*, also_deprecations: bool = False) -> Iterator[None]:
    """Keeps Optuna's notes on what is experimental from the terminal.

    Args:
        also_deprecations: And what it says of deprecated parameters. Leaving this context makes
            Python forget which warnings it has shown, so that it would show them every time.
    """
    from optuna.exceptions import ExperimentalWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        if also_deprecations:
            warnings.simplefilter("ignore", FutureWarning)
        yield


def build_faults(
    key: str,
    config: Any,
    allowed: Sequence[str],
    kind: type,
    choices: Sequence[str],
    build: Callable[[dict[str, Any]], Any] | None = None,
) -> list[Fault]:
    """Everything that is wrong with a configuration, by building what it names.

    Args:
        key: Its dotted key.
        config: With ``_target_``.
        allowed: Patterns of what it may name.
        kind: The class that it must build.
        choices: Names of the group that it is chosen from.
        build: Builds it; None calls what it names.
    """
    from hydra.errors import HydraException

    given = plain(config)
    if given.get("_target_") in (None, "???"):
        fix = f"type {key.replace('.', '/')}=NAME"
        return [Fault(key, config or None, "names nothing to build", tuple(choices), fix)]
    faults = []
    for name, value in given.items():
        if isinstance(value, Mapping) and "_target_" in value:
            faults += build_faults(f"{key}.{name}", value, allowed, object, (), build)
    target = str(given["_target_"])
    try:
        call = deferred(given, allowed) if not faults else None
    except HydraException as error:
        return [Fault(f"{key}._target_", target, refusal(error), tuple(choices))]
    if call is None:
        return faults
    faults = option_faults(key, given, call)
    if faults or given.get("_partial_"):
        return faults
    try:
        with quiet():
            built = build(given) if build else call()
    except BUILD_ERRORS as error:
        return [_blamed(key, given, error)]
    if not isinstance(built, kind):
        return [Fault(f"{key}._target_", target, f"is no {kind.__name__}", tuple(choices))]
    return []


def refusal(error: Exception) -> str:
    """Why Hydra does not build what is named, without its advice to those who write programs."""
    if "whitelist" in str(error):
        return (
            "is not among what may be named here; an application allows more with "
            "hydra.main(execution_whitelist=[...])"
        )
    if "Error locating target" in str(error):
        return "cannot be found: there is no such module, or nothing of that name in it"
    return one_line(error)


def option_faults(key: str, given: Mapping[str, Any], call: Callable[..., Any]) -> list[Fault]:
    """Parameters that what is called does not know, or of a type that it does not take."""
    parameters = inspect.signature(getattr(call, "func", call)).parameters
    takes_any = any(one.kind is one.VAR_KEYWORD for one in parameters.values())
    faults = []
    for name, value in given.items():
        if name.startswith("_") and name.endswith("_"):
            continue
        where = f"{key}.{name}"
        if value == "???":
            faults.append(Fault(where, value, "must be given"))
        elif name in parameters:
            rule = _type_rule(value, parameters[name].annotation)
            faults += [Fault(where, value, rule)] if rule else []
        elif not takes_any:
            known = tuple(one for one in parameters if one != "self")
            faults.append(Fault(where, value, "is no parameter of it", known))
    return faults


def _type_rule(value: object, annotation: object) -> str:
    """What a value's type breaks; empty for what is right or not a plain type."""
    # Strings in modules that postpone annotations, types in others.
    text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    names = [name.strip() for name in text.split("|")]
    if any(name not in _SCALARS for name in names):
        return ""
    if isinstance(value, bool):
        # Python counts it among the whole numbers.
        right = "bool" in names
    else:
        right = any(isinstance(value, _SCALARS[name]) for name in names)
    return "" if right else f"must be {' or '.join(names)}".replace("None", "null")


def _blamed(key: str, given: Mapping[str, Any], error: Exception) -> Fault:
    """An error as a fault of the one parameter that it speaks of, else of the whole."""
    text = one_line(error)
    spoken_of = [name for name in given if re.search(rf"\b{re.escape(name)}\b", text)]
    if len(spoken_of) == 1:
        return Fault(f"{key}.{spoken_of[0]}", given[spoken_of[0]], text)
    return Fault(key, str(given["_target_"]).rpartition(".")[2], text)


def one_line(error: BaseException) -> str:
    """What an error says, without line breaks and the full stop at its end."""
    return " ".join(str(error).split()).rstrip(".")
