"""What a sweep is going to run: planned tickets, what is drawn, and whether all of it can be."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.config_loader import ConfigLoader
from omegaconf import DictConfig, open_dict, read_write

from resnet_sweep.faults import ConfigError, Fault
from resnet_sweep.refusals import REFUSED, faults_of, loose_booleans, with_owners
from resnet_sweep.sweep.compose import Composer
from resnet_sweep.sweep.config import Options
from resnet_sweep.sweep.encoding import scalar
from resnet_sweep.sweep.explicit import read_trials
from resnet_sweep.sweep.samplers import is_grid
from resnet_sweep.sweep.space import Dimension, Space
from resnet_sweep.sweep.task import Task

log = logging.getLogger(__name__)

Values = Mapping[str, Any]

# So many take seconds to be checked.
_MANY = 1000
# Nobody reads more; what is left shows when these are mended.
_MAX_FAULTS = 100


@dataclass(frozen=True)
class Plan:
    """The tickets of a study.

    Attributes:
        space: All dimensions, those of explicit trials included.
        planned: Values of the planned tickets, in order.
        num_tickets: Planned and drawn together.
        only_planned: Keys that only planned tickets set.
        explicit: Values of all explicit trials, those beyond num_tickets included.
    """

    space: Space
    planned: tuple[Values, ...]
    num_tickets: int
    only_planned: frozenset[str] = frozenset()
    explicit: tuple[Values, ...] = ()

    @property
    def num_drawn(self) -> int:
        """Tickets whose values a sampler draws."""
        return self.num_tickets - len(self.planned)

    def space_of(self, planned: Values | None) -> Space:
        """The dimensions that a ticket has: what a planned one leaves out is not its own."""
        given = planned or {}
        left_out = self.only_planned - given.keys()
        if not left_out:
            return self.space
        kept = tuple(one for one in self.space.dimensions if one.key not in left_out)
        return dataclasses.replace(self.space, dimensions=kept)

    def chosen(self, values: Values, lookup: Callable[[str], Any]) -> dict[str, Any]:
        """Those of a ticket's values whose conditions hold."""
        chosen: dict[str, Any] = {}
        for one in self.space_of(values).dimensions:
            if one.key in values and self.space.active(one, chosen, lookup):
                chosen[one.key] = values[one.key]
        return chosen


def make_plan(
    options: Options,
    arguments: Sequence[str],
    loader: ConfigLoader,
    base: Path,
    lookup: Callable[[str], Any],
) -> Plan:
    """Turns settings and command line into tickets.

    Args:
        options: The sweeper's settings.
        arguments: Overrides of the task.
        loader: Knows which groups there are.
        base: What relative paths are relative to.
        lookup: Finds what a key is set to where no dimension sets it.

    Raises:
        ConfigError: All that is wrong with the space, the explicit trials and the budget.
    """
    space = Space.parse(options.params, arguments, loader, lookup)
    explicit = [
        {key: scalar(value, key) for key, value in values.items()}
        for values in read_trials(options.trials, base)
    ]
    if explicit:
        return _explicit_plan(options, space, explicit)
    draws_all = options.custom_search_space is not None and not space.dimensions
    if draws_all and options.n_trials is None:
        rule = "must say how many trials hydra.sweeper.custom_search_space is to draw"
        fix = "type hydra.sweeper.n_trials=20"
        raise ConfigError([Fault("hydra.sweeper.n_trials", None, rule, fix=fix)])
    if options.n_trials is not None and not is_grid(options.sampler):
        return Plan(space, (), options.n_trials)
    _refuse_intervals(space.dimensions, is_grid(options.sampler))
    grid = tuple(space.grid())
    if options.n_trials is not None:
        grid = grid[: options.n_trials]
    return Plan(space, grid, len(grid))


def _refuse_intervals(dimensions: Sequence[Dimension], is_grid_sampler: bool) -> None:
    fix = "type hydra.sweeper.n_trials=20, or values with commas between them"
    rule = "is no list of values, so somebody must say how many trials to draw"
    if is_grid_sampler:
        fix = "type values with commas between them, or another hydra/sweeper/sampler"
        rule = "is no list of values, and the grid sampler needs lists"
    faults = [
        Fault(one.key, f"{one.low} to {one.high}", rule, fix=fix)
        for one in dimensions
        if _is_interval(one)
    ]
    if faults:
        raise ConfigError(faults)


def _is_interval(dimension: Dimension) -> bool:
    """Whether somebody gave two ends and no list, whole numbers between them or not."""
    single = dimension.low == dimension.high
    return not dimension.choices and dimension.step is None and not single


def _explicit_plan(options: Options, space: Space, explicit: Sequence[Values]) -> Plan:
    """Explicit trials, each with every combination of the lists that it does not set itself."""
    keys = list(dict.fromkeys(key for values in explicit for key in values))
    faults = _explicit_faults(space, explicit)
    if faults:
        raise ConfigError(faults)
    known = {one.key for one in space.dimensions}
    only_planned = frozenset(key for key in keys if key not in known)
    added = tuple(
        Dimension.of_values(key, [values[key] for values in explicit if key in values])
        for key in keys
        if key in only_planned
    )
    free = [one for one in space.dimensions if one.key not in keys]
    lists = tuple(one for one in space.dimensions if not _is_interval(one))
    multiplied = dataclasses.replace(space, dimensions=lists)
    planned = tuple(point for values in explicit for point in multiplied.grid(given=values))
    whole = dataclasses.replace(space, dimensions=(*added, *space.dimensions))
    if options.n_trials is None:
        _refuse_intervals(free, is_grid_sampler=False)
        return Plan(whole, planned, len(planned), only_planned, planned)
    if options.n_trials > len(planned) and not space.dimensions:
        rule = f"is more than the {len(planned)} explicit trials, and there is nothing to draw"
        raise ConfigError([Fault("hydra.sweeper.n_trials", options.n_trials, rule)])
    first = planned[: options.n_trials]
    return Plan(whole, first, options.n_trials, only_planned, planned)


def _explicit_faults(space: Space, explicit: Sequence[Values]) -> list[Fault]:
    faults = []
    fixed = {line.partition("=")[0].lstrip("+~") for line in space.fixed}
    dimensions = {one.key: one for one in space.dimensions}
    for i, values in enumerate(explicit):
        for key, value in values.items():
            name = f"hydra.sweeper.trials[{i}].{key}"
            if key.lstrip("+~") in fixed:
                rule = "is set on the command line or in hydra.sweeper.params as well"
                faults.append(Fault(name, value, rule, fix=f"leave out {key}= there"))
            elif key in dimensions and not dimensions[key].contains(value):
                faults.append(Fault(name, value, f"is not among the values of {key}"))
    return faults


def stand_ins(plan: Plan) -> Iterator[Values]:
    """Values that stand for all trials of a plan.

    Every planned ticket; of what is drawn the first value of each dimension, then every other
    choice and the other end of every interval, one at a time.
    """
    yield from plan.planned
    if plan.num_drawn == 0:
        return
    dimensions = [one for one in plan.space.dimensions if one.key not in plan.only_planned]
    first = {one.key: one.ends()[0] for one in dimensions}
    yield first
    for one in dimensions:
        for value in one.ends()[1:]:
            yield {**first, one.key: value}


def check_plan(plan: Plan, composer: Composer, task: Task, lookup: Callable[[str], Any]) -> None:
    """Composes and checks every trial that can be foreseen, before the first starts.

    Raises:
        ConfigError: With every fault once, of trials that cannot be composed as well.
    """
    faults: dict[str, Fault] = {}
    if len(plan.planned) > _MANY:
        log.info("checks %d trials before the first starts", len(plan.planned))
    for values in stand_ins(plan):
        overrides = plan.space.overrides(plan.chosen(values, lookup))
        # Keyed by what is wrong, so that trials which share it tell it once.
        for fault in _faults_of_trial(overrides, composer, task):
            faults.setdefault(str(fault), fault)
        if len(faults) > _MAX_FAULTS:
            break
    if faults:
        raise ConfigError(with_owners(one, composer.compose) for one in faults.values())


def _faults_of_trial(overrides: Sequence[str], composer: Composer, task: Task) -> list[Fault]:
    """What is wrong with a trial; of one that cannot be composed it is the first thing."""
    try:
        job = composer.compose(overrides)
    except REFUSED as error:
        found = faults_of(error, _refused(error, overrides, composer))
        typed = " ".join(overrides)
        return [
            Fault("trial", typed, one.rule, one.choices, one.fix) if one.key == "overrides" else one
            for one in found
        ]
    loose = loose_booleans(job)
    return loose + list(task.check(without_hydra(job)))


def _refused(error: Exception, overrides: Sequence[str], composer: Composer) -> str:
    """The override that a trial is refused for, where the error itself does not say it."""
    if str(error).startswith("Config group override"):
        for override in overrides:
            try:
                composer.compose([override])
            except ValueError:
                return override
    return ""


def without_hydra(config: DictConfig) -> DictConfig:
    """The task's own part of a composed configuration, which is changed."""
    with read_write(config), open_dict(config):
        config.pop("hydra", None)
    return config
