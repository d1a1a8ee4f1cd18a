"""What a user can get wrong, and how it is told: key, value, rule, choices, all at once."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong with a configuration or with the data it names.

    Attributes:
        key: Dotted key of the configuration, as it is typed on the command line.
        value: What the key is set to.
        rule: What must hold, as a phrase: "must be greater than 0".
        choices: What the key may be set to, where there is a list of it.
        fix: What to type or do, where it can be said.
    """

    key: str
    value: object
    rule: str
    choices: tuple[str, ...] = ()
    fix: str = ""

    def __str__(self) -> str:
        text = f"{_shown(self.key)}={_shown(self.value)}: {_printable(self.rule)}"
        if self.choices:
            text += f"; choose one of: {', '.join(map(_printable, self.choices))}"
        if self.fix:
            text += f"; {_printable(self.fix)}"
        return text


# Longer values lose their middle: somebody has to find the rule behind them.
_MAX_SHOWN = 300


def _shown(value: object) -> str:
    """A value as it is typed, in one line that a terminal can bear."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int) and abs(value) >= 10**_MAX_SHOWN:
        # Python itself writes none of more than 4300 digits.
        return "a number of more than 300 digits"
    text = _printable(str(value)).replace("\n", "\\n")
    half = _MAX_SHOWN // 2
    return text if len(text) <= _MAX_SHOWN else f"{text[:half]}…{text[-half:]}"


def _printable(text: str) -> str:
    """The text without what a terminal would obey; its lines stay."""
    return "".join(
        char if char.isprintable() or char == "\n" else char.encode("unicode_escape").decode()
        for char in text
    )


class UserError(ValueError):
    """Something that the user can mend; told without a traceback, exit code 2."""

    title = "cannot run"

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = tuple(faults)
        assert self.faults, "an error without a fault says nothing"
        count = "1 fault" if len(self.faults) == 1 else f"{len(self.faults)} faults"
        super().__init__(
            "\n".join([f"{self.title} ({count}):", *(f"  {fault}" for fault in self.faults)])
        )

    def __reduce__(self) -> tuple[type[UserError], tuple[tuple[Fault, ...]]]:
        # Errors cross processes; the default would call __init__ with the message.
        return type(self), (self.faults,)


class ConfigError(UserError):
    """The configuration breaks its own rules; found before anything is loaded."""

    title = "the configuration is refused"


class ResultsError(ConfigError):
    """There are no results where somebody looks for them."""

    title = "there are no results to read"


class DataError(UserError):
    """The data on disk is not what the configuration needs."""

    title = "the data cannot be used"


class StorageError(ConfigError):
    """What a study is kept in cannot be reached or written now; nothing is wrong with a trial.

    Raised only after it was waited for. The same command goes on with the study later.
    """

    title = "the study's storage cannot be used"


def storage_error_in(error: BaseException) -> StorageError | None:
    """The StorageError that an error is, or that it was raised for."""
    seen: set[int] = set()
    found: BaseException | None = error
    while found is not None and id(found) not in seen:
        if isinstance(found, StorageError):
            return found
        seen.add(id(found))
        found = found.__cause__ or found.__context__
    return None


def one_of(key: str, value: str, choices: Sequence[str]) -> list[Fault]:
    """Faults of a value that must be one of ``choices``."""
    return [] if value in choices else [Fault(key, value, "is not known", tuple(choices))]


def in_range(
    key: str,
    value: float | None,
    *,
    above: float | None = None,
    at_least: float | None = None,
    at_most: float | None = None,
    below: float | None = None,
) -> list[Fault]:
    """Faults of a number that must be finite and inside its bounds; None has none.

    Args:
        key: The dotted key.
        value: The number, or None for "not set", which is never a fault here.
        above: Exclusive lower bound.
        at_least: Inclusive lower bound.
        at_most: Inclusive upper bound.
        below: Exclusive upper bound.
    """
    if value is None:
        return []
    rules = [
        ("must be a finite number", math.isfinite(value)),
        (f"must be greater than {above}", above is None or value > above),
        (f"must be at least {at_least}", at_least is None or value >= at_least),
        (f"must be at most {at_most}", at_most is None or value <= at_most),
        (f"must be less than {below}", below is None or value < below),
    ]
    broken = [rule for rule, holds in rules if not holds]
    # A number that is not finite breaks its bounds as well; one rule says enough.
    return (
        [Fault(key, value, broken[0] if not math.isfinite(value) else " and ".join(broken))]
        if (broken)
        else []
    )
