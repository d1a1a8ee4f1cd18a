"""Conditions of a search space: when a dimension is searched, and in which order to ask."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import OverrideType, ValueType
from hydra.errors import OverrideParseException
from omegaconf import DictConfig, OmegaConf

from resnet_sweep.faults import Fault
from resnet_sweep.refusals import faults_of
from resnet_sweep.study.canonical import bare_key, same
from resnet_sweep.sweep.encoding import encode

if TYPE_CHECKING:
    from resnet_sweep.sweep.dimension import Dimension

Lookup = Callable[[str], Any]


@dataclass(frozen=True)
class Condition:
    """``key`` has one of ``values``.

    Attributes:
        key: A dimension, a fixed override, or a value or group choice of the configuration.
        values: Scalars.
    """

    key: str
    values: tuple[Any, ...]

    def holds(self, value: Any) -> bool:
        """Whether ``value``, that of the key, is one of ours."""
        return any(same(value, ours) for ours in self.values)

    def __str__(self) -> str:
        if len(self.values) == 1:
            return f"{self.key}={encode(self.values[0])}"
        return f"{self.key}={encode(list(self.values))}"


def lookup_in(cfg: DictConfig) -> Lookup:
    """Looks keys of conditions up in a composed configuration.

    Args:
        cfg: Composed by Hydra, with its ``hydra`` part.

    Returns:
        A function that returns a key's group choice or value, and raises KeyError for a key
        that is neither.
    """

    def lookup(key: str) -> Any:
        choices = OmegaConf.select(cfg, "hydra.runtime.choices")
        if choices is not None and key in choices:
            return choices[key]
        unset = object()
        value = OmegaConf.select(cfg, key, default=unset, throw_on_missing=False)
        if value is unset:
            raise KeyError(key)
        return OmegaConf.to_container(value) if OmegaConf.is_config(value) else value

    return lookup


def parse_conditions(key: str, when: Any) -> tuple[tuple[Condition, ...], list[Fault]]:
    """Reads the ``when`` of a parameter.

    Args:
        key: Of the dimension that has the conditions, for the faults.
        when: One text or a list of texts that must all hold: ``other=value``, or
            ``other=[value,value]`` for one of several.

    Returns:
        The conditions and what is wrong with them.
    """
    texts = [when] if isinstance(when, str) else when
    if not isinstance(texts, Sequence) or not all(isinstance(text, str) for text in texts):
        rule = "must be a text such as optimizer=sgd, or a list of such texts"
        return (), [Fault(f"hydra.sweeper.params.{key}.when", when, rule)]
    conditions: list[Condition] = []
    faults: list[Fault] = []
    try:
        parsed = OverridesParser.create().parse_overrides(list(texts))
    except (OverrideParseException, RecursionError) as error:
        told = faults_of(error)[0]
        text = error.override if isinstance(error, OverrideParseException) else when
        return (), [Fault(f"hydra.sweeper.params.{key}.when", text, told.rule)]
    for override in parsed:
        value = override.value()
        values = value if isinstance(value, list) else [value]
        simple = (
            override.type is OverrideType.CHANGE
            and override.value_type is ValueType.ELEMENT
            and values
            and not any(isinstance(item, (list, dict)) for item in values)
        )
        if simple:
            conditions.append(Condition(override.get_key_element(), tuple(values)))
        else:
            rule = "must be key=value, or key=[value,value] for one of several"
            text = override.input_line
            faults.append(Fault(f"hydra.sweeper.params.{key}.when", text, rule))
    return tuple(conditions), faults


def in_order(dimensions: Sequence[Dimension]) -> tuple[list[Dimension], list[Fault]]:
    """Puts each dimension behind those that it depends on; else the order stays.

    Args:
        dimensions: In the order in which they were given.

    Returns:
        The dimensions in order, and faults for those whose conditions go in a circle.
    """
    waiting = {bare_key(dimension.key): dimension for dimension in dimensions}
    ordered: list[Dimension] = []
    while waiting:
        ready = next((d for d in waiting.values() if not _needs(d, waiting)), None)
        if ready is None:
            circle = _circle(waiting)
            rule = f"goes in a circle: {' needs '.join(circle)}"
            when = " ".join(map(str, waiting[circle[0]].when))
            return ordered, [Fault(f"hydra.sweeper.params.{circle[0]}.when", when, rule)]
        ordered.append(waiting.pop(bare_key(ready.key)))
    return ordered, []


def _needs(dimension: Dimension, waiting: Mapping[str, Dimension]) -> list[str]:
    return [key for condition in dimension.when if (key := bare_key(condition.key)) in waiting]


def _circle(waiting: Mapping[str, Dimension]) -> list[str]:
    """Follows the conditions from anywhere until a key comes again."""
    path = [next(iter(waiting))]
    while path[-1] not in path[:-1]:
        path.append(_needs(waiting[path[-1]], waiting)[0])
    return path[path.index(path[-1]) :]
