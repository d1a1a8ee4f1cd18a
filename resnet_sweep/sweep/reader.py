"""Reads a search space: parameters of a configuration and overrides, as dimensions."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser, create_functions
from hydra.core.override_parser.types import ChoiceSweep, Override
from hydra.errors import OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from resnet_sweep.faults import ConfigError, Fault
from resnet_sweep.refusals import faults_of
from resnet_sweep.study.canonical import bare_key
from resnet_sweep.sweep.conditions import Condition, parse_conditions
from resnet_sweep.sweep.dimension import Dimension, dimension_of, dimension_of_choices
from resnet_sweep.sweep.encoding import encode, plain

_NAMES_OF_A_PARAMETER = frozenset({"space", "when"})


class SpaceReader:
    """Collects dimensions and fixed overrides; what comes later wins for its key.

    Attributes:
        faults: All that is wrong with what was read.
    """

    def __init__(self, config_loader: ConfigLoader) -> None:
        """Makes a reader that has read nothing.

        Args:
            config_loader: Knows the names of groups, for ``glob``.
        """
        self.faults: list[Fault] = []
        self._entries: dict[str, Dimension | str] = {}
        self._parser = OverridesParser(_functions_with_null(), config_loader)

    def dimensions(self) -> list[Dimension]:
        """What varies."""
        return [entry for entry in self._entries.values() if isinstance(entry, Dimension)]

    def fixed(self) -> list[str]:
        """What is the same in every trial, as typed."""
        return [entry for entry in self._entries.values() if isinstance(entry, str)]

    def read_params(self, params: Mapping[str, Any] | None) -> None:
        """Reads ``hydra.sweeper.params``."""
        if isinstance(params, DictConfig):
            try:
                container = OmegaConf.to_container(params, resolve=True, throw_on_missing=True)
            except OmegaConfBaseException as error:
                self.faults += faults_of(error)
                return
            assert isinstance(container, dict)
            params = {str(key): value for key, value in container.items()}
        for name, value in (params or {}).items():
            # YAML makes numbers and switches of 5 and of no.
            key = str(name)
            if isinstance(value, Mapping):
                self._read_conditional(key, value)
            else:
                self._read_value(key, value)

    def read_arguments(self, arguments: Sequence[str]) -> None:
        """Reads overrides, as typed."""
        for override in self._parser.parse_overrides(list(arguments)):
            self._read(override)

    def _read_line(self, line: str, when: tuple[Condition, ...] = ()) -> None:
        key, _, value = line.partition("=")
        try:
            parsed = self._parser.parse_overrides([line])
        except (OverrideParseException, RecursionError) as error:
            rule = faults_of(error, line)[0].rule
            self.faults.append(Fault(f"hydra.sweeper.params.{key}", value, rule))
            return
        for override in parsed:
            self._read(override, when)

    def _read_conditional(self, key: str, parameter: Mapping[Any, Any]) -> None:
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
            self._read_value(key, space, when)

    def _read_value(self, key: str, value: Any, when: tuple[Condition, ...] = ()) -> None:
        try:
            line = _line(key, value)
        except ConfigError as error:
            self.faults += error.faults
        else:
            self._read_line(line, when)

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
