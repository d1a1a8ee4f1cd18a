"""What a sweep would run, shown and not started: hydra.sweeper.plan=true."""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import optuna
from omegaconf import DictConfig, open_dict, read_write

from resnet_sweep.report.text import duration, values_text
from resnet_sweep.sweep.compose import Composer
from resnet_sweep.sweep.conditions import lookup_in
from resnet_sweep.sweep.dimension import Dimension
from resnet_sweep.sweep.job import run_job
from resnet_sweep.sweep.plan import Plan, stand_ins
from resnet_sweep.sweep.slots import num_workers
from resnet_sweep.sweep.trial import CurrentTrial, running

if TYPE_CHECKING:
    from resnet_sweep.sweep.engine import Engine
    from resnet_sweep.sweep.place import Place

log = logging.getLogger(__name__)

_MAX_SHOWN = 40


class _EnoughError(optuna.TrialPruned):
    """The probe has seen two reports; a task that can be pruned ends in order."""


class _Probe(CurrentTrial):
    """Times the first two reports of a trial, and then ends it."""

    def __init__(self) -> None:
        self.started = time.monotonic()
        self.times: list[float] = []

    def report(self, value: float, step: int) -> None:
        """See CurrentTrial."""
        self.times.append(time.monotonic() - self.started)
        if len(self.times) == 2:
            raise _EnoughError("the probe has seen enough")


def show_plan(engine: Engine, plan: Plan, place: Place) -> None:
    """Prints the trials, the workers and, where it was asked for, how long it will take."""
    options = engine.options
    count = num_workers(options, engine.num_slots, plan.num_tickets)
    num_done = 0 if place.is_new else _num_done(place)
    launcher = engine.config.hydra.runtime.choices.get("hydra/launcher")
    workers = "1 worker" if count == 1 else f"{count} workers"
    print(f"{plan.num_tickets} trials, {num_done} of them done; {workers} by {launcher}")
    for i, values in enumerate(plan.planned[:_MAX_SHOWN]):
        print(f"  {i:4d}  {values_text(values)}")
    if len(plan.planned) > _MAX_SHOWN:
        print(f"        ... and {len(plan.planned) - _MAX_SHOWN} more")
    if plan.num_drawn:
        print(f"  {plan.num_drawn} drawn from:")
        for one in plan.space.dimensions:
            if one.key not in plan.only_planned:
                print(f"        {_shown(one)}")
    if options.repeats > 1:
        print(f"  each {options.repeats} times, with {options.seed_key} counted up")
    if options.plan == "probe":
        seconds, is_least = _probe(engine, plan)
        # A study may have more than is asked for now.
        num_left = max(0, plan.num_tickets - num_done)
        total = seconds * options.repeats * num_left / count
        least = "at least " if is_least else ""
        print(f"one run takes {least}{duration(seconds)}, all of them {least}{duration(total)}")


def _shown(one: Dimension) -> str:
    if one.choices:
        text = ", ".join(choice.text for choice in one.choices)
    else:
        step = "" if one.step is None else f" in steps of {one.step}"
        text = f"{one.low} to {one.high}{step}" + (", logarithmic" if one.log else "")
    when = " and ".join(map(str, one.when))
    return f"{one.key}: {text}" + (f" when {when}" if when else "")


def _num_done(place: Place) -> int:
    from resnet_sweep.study.reading import read_study

    return read_study(place.folder.path).num_done


def _probe(engine: Engine, plan: Plan) -> tuple[float, bool]:
    """Seconds of one run, from its first two reports; and whether that is a lower bound."""
    values: Mapping[str, Any] = next(stand_ins(plan))
    chosen = plan.chosen(values, lookup_in(engine.config))
    composer = Composer(engine.context.config_loader, engine.config)
    config = composer.compose(plan.space.overrides(chosen))
    probe = _Probe()
    with tempfile.TemporaryDirectory() as folder:
        with read_write(config), open_dict(config):
            config.hydra.sweep.dir, config.hydra.sweep.subdir = folder, "probe"
            config.hydra.job.num, config.hydra.job.id = 0, "probe"

        def call(cfg: DictConfig) -> Any:
            with running(probe):
                try:
                    return engine.task(cfg)
                except _EnoughError:
                    # To Hydra a failed job, which it would report; here it is what was wanted.
                    return None

        returned = run_job(
            hydra_context=engine.context,
            task_function=call,
            config=config,
            job_dir_key="hydra.sweep.dir",
            job_subdir_key="hydra.sweep.subdir",
        )
    seconds = time.monotonic() - probe.started
    # Raises what else went wrong.
    _ = returned.return_value
    if len(probe.times) < 2:
        return seconds, False
    first, second = probe.times
    num_reports = engine.task.num_reports(config)
    if num_reports is None:
        return seconds, True
    return first + (num_reports - 1) * (second - first), False
