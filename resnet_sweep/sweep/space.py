"""The search space of a sweep: what varies, in which values, under which conditions."""

from __future__ import annotations

import dataclasses
import inspect
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser, create_functions
from hydra.core.override_parser.types import ChoiceSweep, Override
from omegaconf import DictConfig, OmegaConf

from resnet_sweep.faults import ConfigError, Fault
from resnet_sweep.study.canonical import bare_key, canonical
from resnet_sweep.sweep.conditions import (
    Condition,
    Lookup,
    in_order,
    lookup_in,
    parse_conditions,
)
from resnet_sweep.sweep.dimension import Choice, Dimension, dimension_of, dimension_of_choices
from resnet_sweep.sweep.encoding import encode, plain, scalar

if TYPE_CHECKING:
    from optuna import Trial

__all__ = [
    "Choice",
    "Condition",
    "Dimension",
    "Space",
    "canonical",
    "encode",
    "lookup_in",
    "scalar",
]

_MAX_GRID = 100_000
_NAMES_OF_A_PARAMETER = frozenset({"space", "when"})


@dataclass(frozen=True)
class Space:
    """What a sweep varies, and what it sets once for all trials.

    Attributes:
        dimensions: What varies; every condition's dimension comes before what depends on it.
        fixed: Overrides that are the same in every trial, as typed.
        known: What the configuration says for keys of conditions that are neither.
    """

    dimensions: tuple[Dimension, ...] = ()
    fixed: tuple[str, ...] = ()
    known: tuple[tuple[str, Any], ...] = ()

    @classmethod
    def parse(
        cls,
        params: Mapping[str, Any] | None,
        arguments: Sequence[str],
        config_loader: ConfigLoader,
        lookup: Lookup | None = None,
    ) -> Space:
        """Reads ``hydra.sweeper.params`` and the command line; the latter wins for a key.

        Args:
            params: A value for each key: a text as on the command line, such as
                ``tag(log, interval(1e-4, 1e-1))``, a plain value, or a mapping with ``space``
                (a text, a value, or a list of values) and ``when``.
            arguments: Overrides as typed.
            config_loader: Knows the names of groups, for ``glob``.
            lookup: Finds keys of conditions in the configuration (``lookup_in``); if given,
                keys that are nowhere are faults, and the space needs it no more.

        Raises:
            ConfigError: With all that is wrong.
            hydra.errors.OverrideParseException: A text does not follow Hydra's grammar.
        """
        reader = _Reader(config_loader)
        reader.read_params(params)
        reader.read_arguments(arguments)
        dimensions, faults = in_order(list(reader.dimensions()))
        space = cls(tuple(dimensions), tuple(reader.fixed()))
        faults += reader.faults
        known, unknown = space._look_up(lookup) if lookup is not None else ((), [])
        faults += unknown
        if faults:
            raise ConfigError(faults)
        return dataclasses.replace(space, known=known)

    @property
    def is_finite(self) -> bool:
        """Whether all combinations can be listed: no dimension is an interval of reals."""
        return all(dimension.is_finite for dimension in self.dimensions)

    def grid(
        self, lookup: Lookup | None = None, given: Mapping[str, Any] | None = None
    ) -> list[dict[str, Any]]:
        """Every combination of a finite space exactly once; the last key varies fastest.

        Args:
            lookup: Finds keys of conditions that nothing else has a value for.
            given: Values that are decided, of an explicit trial for instance: every point
                starts with them, and their dimensions do not vary.

        Returns:
            Values under the dimensions' keys; a dimension whose conditions do not hold is
            left out.

        Raises:
            ConfigError: There are too many, or a condition cannot be decided.
        """
        decided = {bare_key(key) for key in given or {}}
        dimensions = [one for one in self.dimensions if bare_key(one.key) not in decided]
        assert all(one.is_finite for one in dimensions), "an infinite space has no grid"
        most = math.prod(dimension.num_values() for dimension in dimensions)
        # Conditions only make it smaller; without them the number is known beforehand.
        if most > _MAX_GRID and not any(dimension.when for dimension in dimensions):
            raise self._too_large(most)
        points: list[dict[str, Any]] = [dict(given or {})]
        for dimension in dimensions:
            points = list(
                itertools.islice(self._extended(points, dimension, lookup), _MAX_GRID + 1)
            )
            if len(points) > _MAX_GRID:
                raise self._too_large(most)
        return points

    def _extended(
        self, points: list[dict[str, Any]], dimension: Dimension, lookup: Lookup | None
    ) -> Any:
        values = None
        for point in points:
            if self.active(dimension, point, lookup):
                # Listed once, and only if the dimension is small enough to be of use.
                if dimension.num_values() > _MAX_GRID:
                    raise self._too_large(dimension.num_values())
                values = dimension.values() if values is None else values
                yield from ({**point, dimension.key: value} for value in values)
            else:
                yield point

    def _too_large(self, num: int) -> ConfigError:
        keys = " x ".join(dimension.key for dimension in self.dimensions)
        rule = f"is not given, and the grid of {keys} has up to {num} points"
        fix = f"give hydra.sweeper.n_trials, or a grid of at most {_MAX_GRID}"
        return ConfigError([Fault("hydra.sweeper.n_trials", None, rule, fix=fix)])

    def size(self, lookup: Lookup | None = None) -> int | None:
        """The number of combinations, or None if there is no end of them.

        Args:
            lookup: As for ``grid``.

        Raises:
            ConfigError: As for ``grid``, if there are conditions.
        """
        if not self.is_finite:
            return None
        if any(dimension.when for dimension in self.dimensions):
            return len(self.grid(lookup))
        return math.prod(dimension.num_values() for dimension in self.dimensions)

    def active(
        self, dimension: Dimension, chosen: Mapping[str, Any], lookup: Lookup | None = None
    ) -> bool:
        """Whether all conditions of a dimension hold.

        A condition on a dimension that is itself left out does not hold: what the
        configuration says for it may belong to another choice.

        Args:
            dimension: One of ours.
            chosen: Values of the dimensions before it, under their keys.
            lookup: As for ``grid``.

        Raises:
            ConfigError: Nothing has a value for a condition's key.
        """
        return all(self._holds(dimension, c, chosen, lookup) for c in dimension.when)

    def _holds(
        self,
        dimension: Dimension,
        condition: Condition,
        chosen: Mapping[str, Any],
        lookup: Lookup | None,
    ) -> bool:
        key = bare_key(condition.key)
        for name, value in chosen.items():
            if bare_key(name) == key:
                return condition.holds(value)
        if any(bare_key(other.key) == key for other in self.dimensions):
            return False
        settled = {**dict(self.known), **_values_of(self.fixed)}
        if key in settled:
            return condition.holds(settled[key])
        try:
            if lookup is None:
                raise KeyError(key)
            return condition.holds(lookup(condition.key))
        except KeyError:
            raise ConfigError([_unknown_key(dimension, condition)]) from None

    def _look_up(self, lookup: Lookup) -> tuple[tuple[tuple[str, Any], ...], list[Fault]]:
        """Values of the conditions' keys that only the configuration has, and faults."""
        ours = {bare_key(dimension.key) for dimension in self.dimensions}
        ours |= _values_of(self.fixed).keys()
        known: dict[str, Any] = {}
        faults = []
        for dimension in self.dimensions:
            for condition in dimension.when:
                if bare_key(condition.key) not in ours:
                    try:
                        known[bare_key(condition.key)] = lookup(condition.key)
                    except KeyError:
                        faults.append(_unknown_key(dimension, condition))
        return tuple(known.items()), faults

    def suggest(self, trial: Trial, lookup: Lookup | None = None) -> dict[str, Any]:
        """Draws a value for every dimension whose conditions hold.

        Args:
            trial: Asked from an Optuna study; values that it was enqueued with are taken.
            lookup: As for ``active``.

        Returns:
            Values under the dimensions' keys.
        """
        chosen: dict[str, Any] = {}
        for dimension in self.dimensions:
            if self.active(dimension, chosen, lookup):
                chosen[dimension.key] = dimension.suggest(trial)
        return chosen

    def overrides(self, values: Mapping[str, Any]) -> list[str]:
        """The overrides of a trial: the fixed ones, then one for each value.

        Args:
            values: Of dimensions, and of any other keys, which win over fixed overrides.

        Raises:
            ConfigError: Values that cannot be written as an override.
        """
        given = {bare_key(key): (key, value) for key, value in values.items()}
        texts = [text for text in self.fixed if _assigned(text) not in given]
        for dimension in self.dimensions:
            if bare_key(dimension.key) in given:
                texts.append(dimension.override(given.pop(bare_key(dimension.key))[1]))
        texts += [f"{key}={encode(value, key)}" for key, value in given.values()]
        return texts

    def to_json(self) -> dict[str, Any]:
        """What identifies the space, as JSON: a mapping by key, in which order does not count.

        Fixed overrides are left out: they belong to the configuration of the task.
        """
        return {dimension.key: dimension.to_json() for dimension in self.dimensions}


def _unknown_key(dimension: Dimension, condition: Condition) -> Fault:
    return Fault(
        f"hydra.sweeper.params.{dimension.key}.when",
        str(condition),
        f"is about {condition.key}, which is neither searched nor in the configuration",
    )


def _assigned(text: str) -> str | None:
    """The key that an override gives a value to, without its prefix; None if it deletes one."""
    return None if text.startswith("~") else bare_key(text.partition("=")[0])


@lru_cache(maxsize=8)
def _values_of(fixed: tuple[str, ...]) -> dict[str, Any]:
    parsed = OverridesParser.create().parse_overrides(list(fixed))
    return {bare_key(o.get_key_element()): o.value() for o in parsed if not o.is_delete()}


class _Reader:
    """Collects dimensions and fixed overrides; what comes later wins for its key."""

    def __init__(self, config_loader: ConfigLoader) -> None:
        self.faults: list[Fault] = []
        self._entries: dict[str, Dimension | str] = {}
        self._parser = OverridesParser(_functions_with_null(), config_loader)

    def dimensions(self) -> list[Dimension]:
        return [entry for entry in self._entries.values() if isinstance(entry, Dimension)]

    def fixed(self) -> list[str]:
        return [entry for entry in self._entries.values() if isinstance(entry, str)]

    def read_params(self, params: Mapping[str, Any] | None) -> None:
        if isinstance(params, DictConfig):
            container = OmegaConf.to_container(params, resolve=True, throw_on_missing=True)
            assert isinstance(container, dict)
            params = {str(key): value for key, value in container.items()}
        for key, value in (params or {}).items():
            if isinstance(value, Mapping):
                self._read_conditional(key, value)
            else:
                self._read_line(_line(key, value))

    def read_arguments(self, arguments: Sequence[str]) -> None:
        for override in self._parser.parse_overrides(list(arguments)):
            self._read(override)

    def _read_line(self, line: str, when: tuple[Condition, ...] = ()) -> None:
        for override in self._parser.parse_overrides([line]):
            self._read(override, when)

    def _read_conditional(self, key: str, parameter: Mapping[str, Any]) -> None:
        if "space" not in parameter or not parameter.keys() <= _NAMES_OF_A_PARAMETER:
            rule = "must be a value, a text such as interval(0, 1), or have space and when"
            self.faults.append(Fault(f"hydra.sweeper.params.{key}", dict(parameter), rule))
            return
        when, faults = parse_conditions(key, parameter.get("when", []))
        self.faults += faults
        space = parameter["space"]
        if isinstance(space, list):
            self._add(key, *dimension_of_choices(key, space, space, when))
        else:
            self._read_line(_line(key, space), when)

    def _read(self, override: Override, when: tuple[Condition, ...] = ()) -> None:
        key, line = override.get_key_element(), override.input_line
        assert line is not None, "the parser fills it in"
        if override.is_delete():
            self._delete(key, line)
        elif override.is_sweep_override() or when:
            self._add(key, *dimension_of(override, when))
        else:
            self._fix(key, line)

    def _add(self, key: str, dimension: Dimension | None, faults: list[Fault]) -> None:
        self.faults += faults
        if dimension is not None:
            self._forget(key, lambda entry: True)
            self._entries[key] = dimension

    def _fix(self, key: str, line: str) -> None:
        # "+a=1 a=2" is good Hydra, so two fixed ones stay unless they are typed alike.
        self._forget(key, lambda entry: isinstance(entry, Dimension))
        self._entries[key] = line

    def _delete(self, key: str, line: str) -> None:
        self._forget(key, lambda entry: isinstance(entry, Dimension))
        self._entries[key] = line

    def _forget(self, key: str, if_it: Any) -> None:
        """Drops other spellings of a key; the same spelling keeps its place, as in Hydra."""
        for other in list(self._entries):
            same_target = bare_key(other) == bare_key(key) and not other.startswith("~")
            if same_target and other != key and if_it(self._entries[other]):
                del self._entries[other]


def _line(key: str, value: Any) -> str:
    if key.startswith("~") and value is None:
        return key
    # A text is taken as on the command line; anything else is a value.
    return f"{key}={value if isinstance(value, str) else encode(value, key)}"


def _functions_with_null() -> Any:
    """Hydra's functions of the override grammar, but ``choice`` takes null and keeps quotes.

    Hydra's own refuses null, which stands among the values of a choice without ``choice()``.
    """

    def choice(*args):  # type: ignore[no-untyped-def]  # an annotation would be checked
        if len(args) == 1 and isinstance(args[0], ChoiceSweep):
            return original(*args)
        if not args:
            raise ValueError("empty choice is not legal")
        return ChoiceSweep(list=[plain(value) for value in args])

    functions = create_functions()
    original = functions.functions["choice"]
    functions.functions["choice"] = choice
    functions.definitions["choice"] = inspect.signature(choice)
    return functions
