"""One dimension of a search space: what was typed for a key, as values that can be drawn."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.types import (
    ChoiceSweep,
    IntervalSweep,
    Override,
    RangeSweep,
    Sweep,
)

from resnet_sweep.faults import ConfigError, Fault
from resnet_sweep.study.canonical import canonical, same
from resnet_sweep.sweep.conditions import Condition
from resnet_sweep.sweep.encoding import Scalar, encode, plain, scalar

if TYPE_CHECKING:
    from optuna import Trial
    from optuna.distributions import BaseDistribution

_KNOWN_TAGS = ("log",)
_MAX_CHOICES = 100_000


@dataclass(frozen=True)
class Choice:
    """One value of a dimension.

    Attributes:
        value: What Optuna is told; a list or mapping is its text, as Optuna takes scalars only.
        text: What is typed behind ``key=``.
    """

    value: Scalar
    text: str


@dataclass(frozen=True)
class Dimension:
    """What may vary under one key: either ``choices``, or numbers from ``low`` to ``high``.

    Attributes:
        key: As typed, with its ``+`` or ``++`` and its package.
        choices: The values; empty for numbers.
        low: The least number.
        high: The greatest number, inclusive. It may be ``low``: a single value.
        step: Between numbers of a range; None for an interval.
        log: Whether numbers are drawn evenly on a logarithmic scale.
        is_int: Whether numbers are whole.
        is_descending: Whether a grid goes from high to low, as the range was typed.
        when: All must hold, else the key keeps what the configuration says.
    """

    key: str
    choices: tuple[Choice, ...] = ()
    low: int | float | None = None
    high: int | float | None = None
    step: int | float | None = None
    log: bool = False
    is_int: bool = False
    is_descending: bool = False
    when: tuple[Condition, ...] = ()

    @classmethod
    def of_values(cls, key: str, values: Sequence[Any]) -> Dimension:
        """A dimension of plain values, of explicit trials for instance; each is taken once.

        Raises:
            ConfigError: There is none, or Optuna cannot tell them apart.
        """
        dimension, faults = dimension_of_choices(key, encode(list(values), key), values)
        if dimension is None:
            raise ConfigError(faults)
        return dimension

    @property
    def _ends(self) -> tuple[int | float, int | float]:
        assert self.low is not None, "a dimension of choices has no ends"
        assert self.high is not None, "a dimension of choices has no ends"
        return self.low, self.high

    @property
    def is_finite(self) -> bool:
        """Whether the values can be listed: not so for an interval of real numbers."""
        return bool(self.choices) or self.is_int or self.step is not None or self.low == self.high

    def num_values(self) -> int:
        """How many values a finite dimension has."""
        if self.choices:
            return len(self.choices)
        low, high = self._ends
        if low == high:
            return 1
        step = Fraction(str(self.step or 1))
        return int((Fraction(str(high)) - Fraction(str(low))) / step) + 1

    def values(self) -> list[Scalar]:
        """All values of a finite dimension, in the order in which they were typed."""
        assert self.is_finite, f"{self.key} has no end of values"
        if self.choices:
            return [choice.value for choice in self.choices]
        low, step = Decimal(str(self._ends[0])), Decimal(str(self.step or 1))
        exact = [low + i * step for i in range(self.num_values())]
        values: list[Scalar] = [int(v) if self.is_int else float(v) for v in exact]
        return values[::-1] if self.is_descending else values

    def contains(self, value: Any) -> bool:
        """Whether a value could be drawn; a list or mapping may be given as it is or as text."""
        if self.choices:
            wanted = scalar(value, self.key)
            return any(same(choice.value, wanted) for choice in self.choices)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return False
        low, high = self._ends
        if not low <= value <= high:
            return False
        step = 1 if self.is_int and self.step is None else self.step
        steps = 0.0 if step is None else (value - low) / step
        # As Optuna does it: sums of steps are seldom exact.
        return abs(steps - round(steps)) < 1e-8

    def ends(self) -> list[Scalar]:
        """Values that stand for all when a plan is checked: every choice, or both ends."""
        if self.choices:
            return self.values()
        low, high = self._ends
        return [low] if low == high else [low, high]

    def distribution(self) -> BaseDistribution:
        """The same for Optuna."""
        from optuna.distributions import (
            CategoricalDistribution,
            FloatDistribution,
            IntDistribution,
        )

        if self.choices:
            return CategoricalDistribution([choice.value for choice in self.choices])
        low, high = self._ends
        if self.is_int:
            return IntDistribution(int(low), int(high), log=self.log, step=int(self.step or 1))
        return FloatDistribution(low, high, log=self.log, step=self.step)

    def suggest(self, trial: Trial) -> Scalar:
        """Draws a value for an Optuna trial."""
        if self.choices:
            drawn: Scalar = trial.suggest_categorical(self.key, self.values())
            return drawn
        low, high = self._ends
        if self.is_int:
            step = int(self.step or 1)
            return trial.suggest_int(self.key, int(low), int(high), step=step, log=self.log)
        return trial.suggest_float(self.key, low, high, step=self.step, log=self.log)

    def override(self, value: Any) -> str:
        """Writes a value as an override that Hydra reads as exactly this value.

        Args:
            value: One of ours, or any other: explicit trials need not lie in the space.

        Raises:
            ConfigError: The value cannot be written as an override.
        """
        for choice in self.choices:
            if same(choice.value, scalar(value, self.key)):
                return f"{self.key}={choice.text}"
        return f"{self.key}={encode(value, self.key)}"

    def to_json(self) -> dict[str, Any]:
        """What identifies the dimension, as JSON."""
        when = [str(condition) for condition in self.when]
        if self.choices:
            return {"choices": [choice.text for choice in self.choices], "when": when}
        numbers = {"low": self.low, "high": self.high, "step": self.step, "log": self.log}
        return {**numbers, "int": self.is_int, "when": when}


def choice_of(element: Any, key: str) -> Choice:
    """A parsed element or a plain value as a choice."""
    value = plain(element)
    return Choice(scalar(value, key), encode(value, key))


def dimension_of(
    override: Override, when: tuple[Condition, ...] = ()
) -> tuple[Dimension | None, list[Fault]]:
    """Turns a parsed override that varies, or that has conditions, into a dimension.

    Args:
        override: Parsed with a config loader, so that ``glob`` finds the names of its group.
        when: Its conditions.

    Returns:
        The dimension, or None, and what is wrong with it.
    """
    key, text = override.get_key_element(), override.get_value_string()
    if override.is_hydra_override():
        rule = "cannot vary from trial to trial: it belongs to the sweep"
        return None, [Fault(key, text, rule, fix=f"give one value: {key}=...")]
    sweep = override.value() if override.is_sweep_override() else None
    faults = _tag_faults(key, text, sweep) if isinstance(sweep, Sweep) else []
    if faults:
        return None, faults
    if isinstance(sweep, IntervalSweep):
        return _interval(key, text, sweep, when)
    if isinstance(sweep, RangeSweep) and not (sweep.shuffle or sweep.transformers):
        return _range(key, text, sweep, when)
    if sweep is None:
        return dimension_of_choices(key, text, [override.value()], when)
    elements = _elements(override, text)
    if not elements and override.config_loader is not None:
        names = tuple(override.config_loader.get_group_options(override.key_or_group))
        return None, [Fault(key, text, "matches nothing in this group", names)]
    return dimension_of_choices(key, text, elements, when)


def _tag_faults(key: str, text: str, sweep: Sweep) -> list[Fault]:
    unknown = sorted(sweep.tags - set(_KNOWN_TAGS))
    if unknown:
        return [Fault(key, text, f"has the unknown tag {unknown[0]}", _KNOWN_TAGS)]
    if "log" in sweep.tags and not isinstance(sweep, IntervalSweep):
        return [Fault(key, text, "has the tag log, which only an interval can have")]
    return []


def _elements(override: Override, text: str) -> list[Any]:
    """The elements of a choice, a glob, or a range that was cast or shuffled."""
    sweep = override.value()
    shuffled = isinstance(sweep, (ChoiceSweep, RangeSweep)) and sweep.shuffle
    if isinstance(sweep, (ChoiceSweep, RangeSweep)):
        sweep.shuffle = False
    elements = list(override.sweep_iterator())
    if shuffled:
        # The same order each time the same command is given, or a study could not be resumed.
        random.Random(f"{override.get_key_element()}={text}").shuffle(elements)  # noqa: S311
    return elements


def dimension_of_choices(
    key: str, text: object, elements: Sequence[Any], when: tuple[Condition, ...] = ()
) -> tuple[Dimension | None, list[Fault]]:
    """A dimension of the given elements, each taken once.

    Args:
        key: As typed.
        text: What was typed, for the faults.
        elements: Parsed elements or plain values.
        when: Conditions.

    Returns:
        The dimension, or None, and what is wrong with it.
    """
    choices: dict[str, Choice] = {}
    equal: dict[Scalar, Choice] = {}
    for choice in (choice_of(element, key) for element in elements):
        known = choices.setdefault(canonical({key: choice.value}), choice)
        if known.text != choice.text and isinstance(choice.value, str):
            rule = f"has a list or mapping beside the text {choice.text}"
            return None, [Fault(key, text, rule)]
        other = equal.setdefault(choice.value, known)
        if isinstance(other.value, bool) is not isinstance(known.value, bool):
            rule = f"has both {other.text} and {known.text}, which Optuna cannot tell apart"
            return None, [Fault(key, text, rule)]
    if not choices:
        return None, [Fault(key, text, "has no value to choose from")]
    return Dimension(key, choices=tuple(choices.values()), when=when), []


def _interval(
    key: str, text: str, sweep: IntervalSweep, when: tuple[Condition, ...]
) -> tuple[Dimension | None, list[Fault]]:
    low, high, log = sweep.start, sweep.end, "log" in sweep.tags
    assert low is not None, "the parser fills in both ends"
    assert high is not None, "the parser fills in both ends"
    if not (math.isfinite(low) and math.isfinite(high)):
        return None, [Fault(key, text, "must have finite ends")]
    if low > high:
        return None, [Fault(key, text, "must not end below its start")]
    if log and low <= 0:
        return None, [Fault(key, text, "must start above 0 on a logarithmic scale")]
    is_int = isinstance(low, int) and isinstance(high, int)
    return Dimension(key, low=low, high=high, log=log, is_int=is_int, when=when), []


def _range(
    key: str, text: str, sweep: RangeSweep, when: tuple[Condition, ...]
) -> tuple[Dimension | None, list[Fault]]:
    numbers = [Decimal(str(number)) for number in (sweep.start, sweep.stop, sweep.step)]
    if not all(number.is_finite() for number in numbers):
        return None, [Fault(key, text, "must have a finite start, stop and step")]
    start, stop, step = numbers
    if step == 0:
        return None, [Fault(key, text, "must have a step other than 0")]
    # The stop is exclusive, as in Hydra.
    num = math.ceil((Fraction(stop) - Fraction(start)) / Fraction(step))
    if num <= 0:
        return None, [Fault(key, text, "must contain a value; the stop is left out")]
    is_int = isinstance(sweep.range(), range)
    ends = sorted((start, start + (num - 1) * step))
    kind = int if is_int else float
    low, high, width = kind(ends[0]), kind(ends[1]), kind(abs(step))
    pairs = ((low, ends[0]), (high, ends[1]), (width, abs(step)))
    exact = all(Decimal(str(number)) == decimal for number, decimal in pairs)
    too_fine = not is_int and num > 1 and width < max(math.ulp(low), math.ulp(high))
    if not exact or too_fine:
        # Floats cannot count in such steps, but they can be listed.
        if num > _MAX_CHOICES:
            return None, [Fault(key, text, f"must have at most {_MAX_CHOICES} values")]
        return dimension_of_choices(key, text, list(sweep), when)
    descending = step < 0
    return (
        Dimension(
            key, low=low, high=high, step=width, is_int=is_int, is_descending=descending, when=when
        ),
        [],
    )
