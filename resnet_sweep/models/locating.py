"""Why a dotted path leads to nothing, in words that say what to do."""

from __future__ import annotations

import difflib
import sys

from resnet_sweep.faults import Fault


def locating_fault(key: str, target: str, error: Exception) -> Fault | None:
    """The fault of a target that is not there or cannot be imported; None for another error.

    Args:
        key: Of the setting that has the target.
        target: A dotted path.
        error: What Hydra raised.
    """
    if str(error) != f"Error locating target '{target}'":
        return None
    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    missing = cause.name if isinstance(cause, ModuleNotFoundError) else None
    if missing is None or not f"{target}.".startswith(f"{missing}."):
        # A module that is there, and imports another that is not, for instance.
        return Fault(key, target, f"cannot be imported: {one_line(cause)}")
    module, _, name = missing.rpartition(".")
    if module:
        near = difflib.get_close_matches(name, dir(sys.modules.get(module)), n=1)
        fix = f"did you mean {module}.{near[0]}?" if near else ""
        return Fault(key, target, f"is not there: {module} has no {name}", fix=fix)
    fix = f"type PYTHONPATH=FOLDER in front, with the folder that {missing} lies in, or install it"
    return Fault(key, target, f"is not there: Python finds no module {missing}", fix=fix)


def one_line(error: BaseException) -> str:
    """Type and message of an error and of its cause, without their line breaks."""
    message = " ".join(str(error).split())
    line = f"{type(error).__name__}: {message}" if message else type(error).__name__
    return line if error.__cause__ is None else f"{line} ({one_line(error.__cause__)})"
