"""What a command itself decides, as against what a sweep takes from an earlier study."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_loader import ConfigLoader
from omegaconf import DictConfig, OmegaConf

from resnet_sweep.study.canonical import bare_key, dotted, same
from resnet_sweep.sweep.encoding import encode

_NAME_OF_A_CONFIG = re.compile(r"[^\s,\[\]'\"()]+")


def is_below(key: str, keys: Iterable[str]) -> bool:
    """Whether a dotted key is one of ``keys`` or stands below one."""
    return any(key == one or key.startswith(f"{one}.") for one in keys)


def node_of(group: str) -> str:
    """The dotted key at which the choice from a group usually stands."""
    name, _, package = group.partition("@")
    return package or name.replace("/", ".")


@dataclass
class Decided:
    """Keys that a command, or a config that it names for the purpose, sets itself.

    Attributes:
        keys: Dotted; all that is below them is decided as well.
        groups: What is chosen from each group, as it was typed.
    """

    keys: set[str] = field(default_factory=set)
    groups: dict[str, str] = field(default_factory=dict)

    @classmethod
    def by_command(
        cls, config: DictConfig, loader: ConfigLoader, arguments: Sequence[str]
    ) -> Decided:
        """What the task's overrides decide.

        Args:
            config: The sweep's configuration.
            loader: Finds the files of what was chosen.
            arguments: The overrides as typed.
        """
        decided = cls()
        container = OmegaConf.to_container(config, resolve=False)
        assert isinstance(container, dict)
        for line in arguments:
            typed, _, value = line.partition("=")
            key = bare_key(typed)
            if not _is_group(loader, key):
                decided.keys.add(key)
                continue
            decided.groups[key] = value
            if not has(container, node_of(key)):
                # It has no place of its own, so what it sets is elsewhere: a study, say.
                for name in _NAME_OF_A_CONFIG.findall(value):
                    decided._read(loader, f"{key.partition('@')[0]}/{name}")
        return decided

    def _read(self, loader: ConfigLoader, path: str) -> None:
        """Adds the settings of a config file and of the files that it is made of."""
        source = next((one for one in loader.get_sources() if one.is_config(path)), None)
        if source is None:
            return
        found = source.load_config(path)
        raw = OmegaConf.to_container(found.config, resolve=False)
        assert isinstance(raw, dict)
        group = path.rpartition("/")[0]
        package = found.header.get("package") or group.replace("/", ".")
        for entry in raw.pop("defaults", []):
            self._read_default(loader, group, entry)
        raw.pop("hydra", None)
        prefix = "" if package == "_global_" else f"{package}."
        self.keys |= {f"{prefix}{key}" for key, _ in dotted(raw)}

    def _read_default(self, loader: ConfigLoader, group: str, entry: Any) -> None:
        if isinstance(entry, str):
            if entry != "_self_":
                self._read(loader, entry[1:] if entry.startswith("/") else f"{group}/{entry}")
            return
        for text, choice in entry.items():
            name = str(text).removeprefix("optional ").removeprefix("override ").strip()
            name = name[1:] if name.startswith("/") else f"{group}/{name}"
            if not name.startswith("hydra/"):
                self.groups.setdefault(name, encode(choice, name))

    def settled(self, choices: Mapping[str, Any]) -> set[str]:
        """Keys below which nothing is taken over from a trial.

        Args:
            choices: The trial's. Of the group in which it agrees the settings are its own.
        """
        others = {
            node_of(group)
            for group, text in self.groups.items()
            if group not in choices or encode(choices[group], group) != text
        }
        return self.keys | others


def _is_group(loader: ConfigLoader, key: str) -> bool:
    group = key.partition("@")[0]
    return any(source.is_group(group) for source in loader.get_sources())


def has(container: Mapping[Any, Any], key: str) -> bool:
    """Whether nested settings have a dotted key, with whatever value."""
    node: Any = container
    for part in key.split("."):
        if not isinstance(node, Mapping) or part not in node:
            return False
        node = node[part]
    return True


@dataclass(frozen=True)
class Change:
    """A setting in which a configuration is not what it was.

    Attributes:
        key: Dotted.
        sign: In front of the override that sets it: nothing, ``+`` where the key is new, ``~``
            where it has to go.
        then: What it was.
        now: What it is.
    """

    key: str
    sign: str
    then: Any = None
    now: Any = None

    def line(self) -> str:
        """The override.

        Raises:
            ConfigError: Hydra's grammar cannot write the value.
        """
        value = "" if self.sign == "~" else f"={encode(self.then, self.key)}"
        return f"{self.sign}{self.key}{value}"


def changes(then: Mapping[Any, Any], now: Mapping[Any, Any]) -> list[Change]:
    """All settings in which ``now`` is not ``then``, both nested and unresolved."""
    # Hydra resolves what it deletes, so what points to something else goes before it does.
    return sorted(_changes(then, now, ""), key=lambda one: not _points_elsewhere(one))


def _points_elsewhere(change: Change) -> bool:
    return change.sign == "~" and isinstance(change.now, str) and "${" in change.now


def _changes(then: Mapping[Any, Any], now: Mapping[Any, Any], prefix: str) -> Iterator[Change]:
    for name in dict.fromkeys([*then, *now]):
        key = f"{prefix}{name}"
        if name not in then:
            yield Change(key, "~", now=now[name])
        elif name not in now:
            for path, value in dotted({key: then[name]}):
                yield Change(path, "+", value)
        elif isinstance(then[name], Mapping) and isinstance(now[name], Mapping):
            yield from _changes(then[name], now[name], f"{key}.")
        elif _is_other_container(then[name], now[name]):
            # Neither is ever merged into the other.
            yield Change(key, "~", now=now[name])
            yield Change(key, "+", then[name])
        elif not _same(then[name], now[name]):
            yield Change(key, "", then[name], now[name])


def _is_other_container(then: Any, now: Any) -> bool:
    return {type(then), type(now)} == {dict, list}


def _same(value: Any, other: Any) -> bool:
    try:
        return same(value, other)
    except TypeError:
        # Bytes, for instance.
        return bool(value == other)
