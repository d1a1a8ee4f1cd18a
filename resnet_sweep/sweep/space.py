"""The search space of a sweep: what varies, in which values, under which conditions."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser

from resnet_sweep.faults import ConfigError, Fault
from resnet_sweep.study.canonical import bare_key, canonical
from resnet_sweep.sweep.conditions import (
    Condition,
    Lookup,
    in_order,
    lookup_in,
)
from resnet_sweep.sweep.dimension import Choice, Dimension
from resnet_sweep.sweep.encoding import encode, scalar
from resnet_sweep.sweep.reader import SpaceReader

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
            hydra.errors.OverrideParseException: An argument does not follow Hydra's grammar, which
                Hydra has refused before.
        """
        reader = SpaceReader(config_loader)
        reader.read_params(params)
        reader.read_arguments(arguments)
        dimensions, faults = in_order(list(reader.dimensions()))
        space = cls(tuple(dimensions), tuple(reader.fixed()))
        faults += reader.faults
        known, unknown = space._look_up(lookup) if lookup is not None else ((), [])
        faults += unknown + space._never_met(config_loader)
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

    def _never_met(self, loader: ConfigLoader) -> list[Fault]:
        """Faults of conditions on values that no dimension and no group has."""
        ours = {bare_key(dimension.key): dimension for dimension in self.dimensions}
        faults = []
        for dimension in self.dimensions:
            for condition in dimension.when:
                key = bare_key(condition.key)
                other = ours.get(key)
                names = tuple(loader.get_group_options(key)) if other is None else ()
                if other is not None:
                    wrong = [one for one in condition.values if not other.contains(one)]
                    names = tuple(choice.text for choice in other.choices)
                else:
                    wrong = [one for one in condition.values if names and one not in names]
                where = f"hydra.sweeper.params.{dimension.key}.when"
                faults += [
                    Fault(where, f"{condition.key}={one}", "can never hold", names[:20])
                    for one in wrong
                ]
        return faults

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
