"""Runs the best trials of an earlier study as they were: what has to be set, what cannot be."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from resnet_sweep.faults import ConfigError, Fault
from resnet_sweep.study.canonical import bare_key
from resnet_sweep.study.folder import StudyFolder
from resnet_sweep.sweep.compose import Composer
from resnet_sweep.sweep.conditions import lookup_in
from resnet_sweep.sweep.decided import Change, changes, has, is_below, node_of
from resnet_sweep.sweep.earlier import Earlier, read_earlier
from resnet_sweep.sweep.encoding import encode
from resnet_sweep.sweep.explicit import key_rule
from resnet_sweep.sweep.plan import make_plan, without_hydra
from resnet_sweep.sweep.taken import Command, Taken

_MISSING = "???"
_COMPOSING = (HydraException, OmegaConfBaseException)


def take_over(command: Command) -> Taken:
    """Finds what makes a sweep's trials those of an earlier study, in every setting.

    What the command sets stays as it is, and so do keys that cannot change a result, unless
    nobody says today where something is.

    Args:
        command: The sweep.

    Raises:
        ConfigError: With everything that cannot be as it was.
    """
    return _Taker(read_earlier(command.spec, command.base), command).take()


class _Taker:
    def __init__(self, earlier: Earlier, command: Command) -> None:
        self._earlier, self._command = earlier, command
        self._decided = command.decided()
        self._lines: list[str] = []
        self._values = [dict(trial.values) for trial in earlier.trials]
        self._known: dict[tuple[str, ...], DictConfig] = {}
        self._composers: dict[tuple[str, ...], Composer] = {}

    def take(self) -> Taken:
        # What is typed twice is told of all trials at once.
        self._plan(self._values)
        self._take_choices()
        self._take_settings()
        self._verify()
        return Taken(
            self._command.asked,
            tuple(self._values),
            tuple(self._lines),
            self._earlier.directions,
            tuple(trial.objectives for trial in self._earlier.trials),
        )

    def _plan(self, trials: Sequence[Mapping[str, Any]]) -> Any:
        command = self._command
        # One ticket is enough: what is drawn beside it has been decided today.
        options = dataclasses.replace(command.options, trials=list(trials), n_trials=1)
        lines = [*self._lines, *command.arguments]
        lookup = lookup_in(command.config)
        return make_plan(options, lines, command.loader, Path(), lookup)

    # Groups.

    def _take_choices(self) -> None:
        """Chooses from the groups as each trial did; outer groups first, which bring others."""
        done: set[str] = set()
        while True:
            found = [self._other_choices(i, done) for i in range(len(self._values))]
            groups = {bare_key(key) for one in found for key in one}
            if not groups:
                return
            depth = min(group.count("/") for group in groups)
            outer = {group for group in groups if group.count("/") == depth}
            self._add([_only(one, outer) for one in found])
            done |= outer
            self._refuse_missing(outer)

    def _other_choices(self, i: int, done: Collection[str]) -> dict[str, Change]:
        """Choices of a trial that are not today's, by the key of their override."""
        then = self._earlier.trials[i]
        now, container = self._composed(i)
        own = {bare_key(key) for key in self._values[i]}
        own |= self._decided.groups.keys() | set(done)
        found: dict[str, Change] = {}
        for group in dict.fromkeys([*then.choices, *now]):
            if then.choices.get(group, _MISSING) == now.get(group, _MISSING):
                continue
            if any(group == one or group.startswith(f"{one}/") for one in own):
                continue
            node = node_of(group)
            # One that has no place of its own, a study say, shows in the settings.
            if not has(then.config, node) and not has(container, node):
                continue
            sign = "~" if group not in then.choices else "" if group in now else "+"
            found[group] = Change(group, sign, then.choices.get(group), now.get(group))
        return found

    def _composed(self, i: int) -> tuple[dict[str, Any], Mapping[Any, Any]]:
        """Today's choices and settings with those choices that are a trial's own."""
        groups = self._earlier.trials[i].choices
        own = [
            f"{key}={encode(value, key)}"
            for key, value in self._values[i].items()
            if bare_key(key) in groups
        ]
        config = self._master([*self._lines, *own])
        choices = OmegaConf.to_container(config.hydra.runtime.choices)
        assert isinstance(choices, dict)
        own_choices = {
            str(key): value
            for key, value in choices.items()
            if not str(key).startswith("hydra/") and value != _MISSING
        }
        return own_choices, _raw(config)

    def _refuse_missing(self, groups: Collection[str]) -> None:
        """Refuses choices that there are no files for today."""
        faults: dict[str, Fault] = {}
        for i in range(len(self._values)):
            try:
                self._composed(i)
            except MissingConfigException:
                for group in sorted(groups):
                    for name in _names(self._earlier.trials[i].choices.get(group)):
                        fault = self._missing(group, name)
                        if fault is not None:
                            faults[str(fault)] = fault
                if not faults:
                    raise
        if faults:
            raise ConfigError(faults.values())

    def _missing(self, group: str, name: str) -> Fault | None:
        path = f"{group.partition('@')[0]}/{name}"
        if any(source.is_config(path) for source in self._command.loader.get_sources()):
            return None
        rule = f"is what {self._earlier.name} chose, and there is no such file today"
        copies = sorted(StudyFolder(self._earlier.folder).conf.glob(f"*/{path}.yaml"))
        where = str(copies[0])[: -len(f"/{path}.yaml")] if copies else "the folder that had it"
        return Fault(group, name, rule, fix=f"add --config-dir {where}, or type another {group}=")

    # Settings.

    def _take_settings(self) -> None:
        self._add(
            [
                {f"{one.sign}{one.key}": one for one in self._changes(i)}
                for i in range(len(self._values))
            ]
        )

    def _changes(self, i: int) -> Iterator[Change]:
        """Settings of a trial that today would not be what they were, and are to be."""
        then = self._earlier.trials[i]
        now = self._trial(i)
        if now is None:
            return
        settled = self._decided.settled(then.choices)
        for one in changes(then.config, now):
            decided = is_below(one.key, settled) or any(is_below(key, [one.key]) for key in settled)
            if not decided and one.then != _MISSING and self._counts(one):
                yield one

    def _counts(self, change: Change) -> bool:
        if not is_below(change.key, self._command.free_keys):
            return True
        # Nobody says today where the data are, for instance.
        return change.now is None and isinstance(change.then, str)

    def _trial(self, i: int) -> Mapping[Any, Any] | None:
        """A trial's settings as they would be now; None if it cannot be composed."""
        plan = self._plan([self._values[i]])
        lookup = lookup_in(self._command.config)
        overrides = plan.space.overrides(plan.chosen(plan.explicit[0], lookup))
        try:
            return _raw(without_hydra(self._composer().compose(overrides)))
        except _COMPOSING:
            # The check of the plan composes it again, and tells why not.
            return None

    def _composer(self) -> Composer:
        lines = tuple(self._lines)
        if lines not in self._composers:
            self._composers[lines] = Composer(self._command.loader, self._master(lines))
        return self._composers[lines]

    def _master(self, lines: Sequence[str]) -> DictConfig:
        """The sweep's configuration with these overrides; not to be changed."""
        key = tuple(lines)
        if key not in self._known:
            self._known[key] = self._command.composed(lines)
        return self._known[key]

    def _add(self, found: Sequence[Mapping[str, Change]]) -> None:
        """Adds overrides: to all trials where they agree, else to the trials that have them."""
        shared: dict[str, str] = {}
        faults: dict[str, Fault] = {}
        for key in dict.fromkeys(key for one in found for key in one):
            having = [one.get(key) for one in found]
            try:
                lines = {None if one is None else one.line() for one in having}
            except ConfigError as error:
                faults[key] = error.faults[0]
                continue
            (line, *others) = lines
            if line is not None and not others:
                shared[key] = line
            else:
                faults |= self._add_to_some(key, having)
        for key in self._fit(shared):
            faults |= self._add_to_some(key, [one.get(key) for one in found])
        if faults:
            raise ConfigError(faults.values())

    def _fit(self, shared: Mapping[str, str]) -> list[str]:
        """Adds those overrides with which the sweep can be composed, and names the others."""
        is_group = any(key in self._earlier.trials[0].choices for key in shared)
        if is_group or self._can_be_composed([*self._lines, *shared.values()]):
            self._lines += shared.values()
            return []
        left = []
        for key, line in shared.items():
            if self._can_be_composed([*self._lines, line]):
                self._lines.append(line)
            else:
                left.append(key)
        return left

    def _can_be_composed(self, lines: Sequence[str]) -> bool:
        try:
            self._master(lines)
        except _COMPOSING:
            return False
        return True

    def _add_to_some(self, key: str, having: Sequence[Change | None]) -> dict[str, Fault]:
        """Makes an override a value of the trials that have it, unless it cannot be one."""
        for values, own in zip(self._values, having, strict=True):
            if own is not None and (own.sign == "~" or key_rule(own.key)):
                return {key: self._fault(own)}
            if own is not None:
                values[f"{own.sign}{own.key}"] = own.then
        return {}

    def _verify(self) -> None:
        """Refuses what is not as it was after all."""
        faults = {}
        for i in range(len(self._values)):
            for one in self._changes(i):
                faults[one.key] = self._fault(one)
        if faults:
            raise ConfigError(faults.values())

    def _fault(self, change: Change) -> Fault:
        name = self._earlier.name
        fix = f"type {change.key}=... to decide it"
        if change.sign == "~":
            rule = f"is a setting that {name} did not have, and it cannot be left out"
            return Fault(change.key, change.now, rule, fix=fix)
        rule = f"was the setting in {name}, and cannot be set to that today"
        return Fault(change.key, change.then, rule, fix=fix)


def _only(found: Mapping[str, Change], groups: Collection[str]) -> dict[str, Change]:
    return {key: change for key, change in found.items() if key in groups}


def _names(choice: Any) -> list[str]:
    """What was chosen from a group, which may be several or nothing."""
    if choice is None:
        return []
    return [str(one) for one in choice] if isinstance(choice, list) else [str(choice)]


def _raw(config: DictConfig) -> Mapping[Any, Any]:
    container = OmegaConf.to_container(config, resolve=False, enum_to_str=True)
    assert isinstance(container, dict)
    container.pop("hydra", None)
    return container
