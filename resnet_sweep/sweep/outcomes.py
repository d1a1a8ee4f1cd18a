"""How a trial ended: its objectives, or what went wrong, in words that any table can show."""

from __future__ import annotations

import logging
import math
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from optuna.trial import TrialState

log = logging.getLogger(__name__)

# A message is a cell of a table, a traceback a screenful; somebody prints a tensor in his own.
_MAX_MESSAGE, _MAX_TRACE, _MAX_VALUE = 2000, 50_000, 200


@dataclass
class Outcome:
    """How a trial ended.

    Attributes:
        values: Objectives of a COMPLETE one.
        kind: Of a failure.
        error: One line for tables.
        trace: The whole traceback.
    """

    state: TrialState
    values: Sequence[float] = ()
    kind: str = ""
    error: str = ""
    trace: str = ""


class TaskExitError(RuntimeError):
    """The task wanted to end the process."""


def left_with(left: BaseException) -> TaskExitError:
    """What a task has done that raised something which ends processes.

    Args:
        left: No Exception.
    """
    if isinstance(left, SystemExit):
        return TaskExitError(f"the task called sys.exit({_shown(left.code)})")
    return TaskExitError(f"the task raised what is no Exception: {_named(left)}")


def failure(kind: str, error: BaseException) -> Outcome:
    """The end of a trial that an exception has ended, without what its frames hold.

    Args:
        kind: A short name for tables.
        error: What was raised.
    """
    trace = _legible("".join(traceback.format_exception(error)), _MAX_TRACE)
    # Its frames hold what the trial held: a network, its optimizer, images.
    traceback.clear_frames(error.__traceback__)
    return Outcome(TrialState.FAIL, (), kind, _named(error), trace)


def completed(value: Any, num_objectives: int, takes_infinity: bool) -> Outcome:
    """What a task returned, as objectives.

    Args:
        value: Anything.
        num_objectives: How many there must be.
        takes_infinity: An infinite objective is a value like others.

    Returns:
        COMPLETE, or a failure of the kind ``bad_value``.
    """
    if isinstance(value, str | bytes):
        # float() reads numbers in them, and each digit would be an objective.
        return _bad_value(f"returned {_shown(value)}, which is no number")
    try:
        # An iterator may have no end; one value too many says enough.
        some = [value] if num_objectives == 1 else list(islice(value, num_objectives + 1))
        values = [float(one) for one in some]
    except Exception:
        # Objects of the user's answer with whatever they like.
        return _bad_value(f"returned {_shown(value)}, which is no number")
    if len(values) != num_objectives:
        count = len(values) if len(values) < num_objectives else f"more than {num_objectives}"
        return _bad_value(f"returned {count} values for {num_objectives} directions")
    is_taken = takes_infinity and not any(map(math.isnan, values))
    if not is_taken and not all(map(math.isfinite, values)):
        return _bad_value(f"returned {_shown(value)}, which is not finite")
    return Outcome(TrialState.COMPLETE, values)


def _bad_value(error: str) -> Outcome:
    log.error("the task %s", error)
    return Outcome(TrialState.FAIL, kind="bad_value", error=error)


def _shown(value: object) -> str:
    try:
        text = repr(value)
    except Exception:
        text = f"a {type(value).__name__}"
    return _one_line(text, _MAX_VALUE)


def _named(error: BaseException) -> str:
    """``ValueError: its message``."""
    name = type(error).__name__
    try:
        text = str(error)
    except Exception as second:
        text = f"(its message cannot be had: {type(second).__name__})"
    text = _one_line(text, _MAX_MESSAGE)
    return f"{name}: {text}" if text else name


def _one_line(text: str, limit: int) -> str:
    # Cut before it is looked at letter by letter: it may be of any length.
    return _legible(" ".join(text[: 2 * limit].split()), limit)


def _legible(text: str, limit: int) -> str:
    """The text without its middle, if it is long, and without what no file or terminal takes."""
    if len(text) > limit:
        text = f"{text[: limit // 2]} ... {text[-limit // 2 :]}"
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        char
        if char.isprintable() or char in "\n\t"
        else char.encode("unicode_escape").decode("ascii")
        for char in text
    )
