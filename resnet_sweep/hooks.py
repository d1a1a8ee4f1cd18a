"""Our Hydra callbacks: before anything runs everything is checked, after a sweep comes its table.

Hydra turns an exception in a callback into a warning; what has to end the process
is therefore told here and ends in SystemExit, which Hydra lets through.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import logging
import math
import os
import shlex
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NoReturn

from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from resnet_sweep.config import Config, composed_faults, to_config
from resnet_sweep.faults import ConfigError, Fault, UserError
from resnet_sweep.outcome import ExitCode, Typed, Verdict
from resnet_sweep.refusals import REFUSED, faults_of
from resnet_sweep.training.continuation import config_differences
from resnet_sweep.trusted import command_faults
from resnet_sweep.yaml_files import CONFIG_ERRORS, config_of

log = logging.getLogger(__name__)


class CheckFirst(Callback):
    """Refuses a bad configuration before a folder is made or anything is loaded."""

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Checks the configuration of a single run."""
        study = config.hydra.runtime.choices.get("study")
        if study is not None:
            rule = "is a whole study, which a single run is not"
            _refuse(ConfigError([Fault("study", study, rule, fix=f"type {_multirun_command()}")]))
        faults = command_faults(config) + composed_faults(config)
        faults = faults or _folder_faults(Path(config.hydra.run.dir), to_config(config))
        if faults:
            _refuse(ConfigError(faults))

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Checks the trials of a stock sweep: all of a list, the ends of what is drawn."""
        if _is_ours(config):
            return  # Its sweeper does so itself.
        folder = Path(config.hydra.sweep.dir)
        if (folder / "multirun.yaml").exists() or (folder / "results.csv").exists():
            # Numbers start at 0 again, so its trials would be overwritten.
            rule = "holds a sweep already"
            _refuse(
                ConfigError([Fault("hydra.sweep.dir", folder, rule, fix="choose another folder")])
            )
        try:
            # Trials that share a fault tell it once.
            faults = {
                str(fault): fault for job in _trials(config) for fault in composed_faults(job)
            }
        except REFUSED as error:
            _refuse(ConfigError(faults_of(error)))
        if faults:
            _refuse(ConfigError(faults.values()))


class TableLast(Callback):
    """Prints the table of a sweep and writes it, however the sweep ended."""

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Reads the folders of the trials and gives the verdict."""
        if _is_ours(config):
            return  # Its sweeper does so itself.
        folder = Path(config.hydra.sweep.dir)
        if Verdict.exit_code == ExitCode.BAD_CONFIG or not folder.is_dir():
            return  # Refused before it began.
        # pandas takes a moment to load, and a refusal needs none of it.
        from resnet_sweep.report.folders import multirun_source
        from resnet_sweep.report.report import Report
        from resnet_sweep.report.terminal import tell_and_write
        from resnet_sweep.study.folder import StudyFolder

        try:
            report = Report([multirun_source(folder, is_over=True)])
            tell_and_write(report, StudyFolder(folder), width=None, base=Path.cwd())
        except Exception:
            log.exception("the table of %s could not be made", folder)
            raise SystemExit(1) from None
        table = report.runs
        if table.empty:
            return  # Whatever stopped the sweep before its first trial is for main to tell.
        num_complete = int((table["state"] == "COMPLETE").sum())
        if num_complete == len(table):
            Verdict.exit_code = ExitCode.ALL_ENDED
        else:
            Verdict.exit_code = ExitCode.SOME_FAILED if num_complete else ExitCode.NOTHING_COMPLETED


def _is_ours(config: DictConfig) -> bool:
    return str(config.hydra.sweeper._target_).startswith("resnet_sweep.")


def _multirun_command() -> str:
    return shlex.join([*Typed.program, "-m", *Typed.arguments])


def _refuse(error: UserError) -> NoReturn:
    print(error, file=sys.stderr)
    Verdict.exit_code = ExitCode.BAD_CONFIG
    raise SystemExit(ExitCode.BAD_CONFIG)


def _folder_faults(folder: Path, config: Config) -> list[Fault]:
    """Faults of starting a run in a folder that holds one already."""
    if reason := _why_not_made(folder):
        rule = f"cannot be made: {reason}"
        return [Fault("hydra.run.dir", folder, rule, fix="choose another folder")]
    if config.trainer.resume == "never":
        return []
    result, saved = folder / "result.json", folder / ".hydra" / "config.yaml"
    rule = ""
    try:
        if result.exists() and json.loads(result.read_text())["state"] == "COMPLETE":
            rule = "holds a finished run"
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        # It may be somebody's only record of a run, so it is not written over.
        rule = "holds a result.json that cannot be read"
    if rule:
        fix = "choose another folder, or type trainer.resume=never to run it again"
        return [Fault("hydra.run.dir", folder, rule, fix=fix)]
    if (folder / "last.pt").exists() and saved.exists():
        try:
            old = OmegaConf.to_container(config_of(saved), resolve=True)
        except CONFIG_ERRORS as error:
            rule = f"holds a .hydra/config.yaml that cannot be read: {' '.join(str(error).split())}"
            fix = "choose another folder, or type trainer.resume=never to start it anew"
            return [Fault("hydra.run.dir", folder, rule, fix=fix)]
        assert isinstance(old, dict)
        return config_differences(
            {str(key): value for key, value in old.items()}, dataclasses.asdict(config)
        )
    return []


def _why_not_made(folder: Path) -> str:
    """Why there can be no such folder; nothing if it is there now."""
    try:
        above = next(path for path in (folder, *folder.absolute().parents) if path.exists())
        if not above.is_dir():
            return f"{above} is no folder"
        if not os.access(above, os.W_OK | os.X_OK):
            return f"{above} may not be written into"
        # As Hydra will in a moment: rights alone do not tell.
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        return getattr(error, "strerror", None) or str(error)
    return ""


def _trials(config: DictConfig) -> Iterator[DictConfig]:
    """Composed configurations that stand for all trials of a sweep.

    Every one of the basic sweeper's. Of a sweeper that draws: the first value of every list
    and the lower end of every interval, and then each other value and end one at a time.

    Raises:
        ConfigError: The basic sweeper is to run an interval, which has no list of trials; an
            interval is empty; there is no trial to run.
    """
    loader = GlobalHydra.instance().config_loader()
    is_basic = str(config.hydra.sweeper._target_).endswith(".BasicSweeper")
    params = config.hydra.sweeper.get("params") or {}
    lines = [*(f"{key}={value}" for key, value in params.items()), *config.hydra.overrides.task]
    overrides = OverridesParser.create(config_loader=loader).parse_overrides(lines)
    faults = _interval_faults(overrides, is_basic) + _budget_faults(config)
    if faults:
        raise ConfigError(faults)
    choices = [_choices(override) for override in overrides]
    jobs: Iterable[tuple[str, ...]]
    jobs = itertools.product(*choices) if is_basic else _one_at_a_time(choices)
    for job in jobs:
        yield loader.load_sweep_config(config, list(job))


def _choices(override: Override) -> list[str]:
    """An override for every value of a list, both ends of an interval, or the one that it is."""
    key = override.get_key_element()
    if override.is_discrete_sweep():
        return [f"{key}={value}" for value in override.sweep_string_iterator()]
    if override.is_sweep_override():
        interval = override.value()
        assert isinstance(interval, IntervalSweep)
        return [f"{key}={interval.start}", f"{key}={interval.end}"]
    assert override.input_line is not None
    return [override.input_line]


def _one_at_a_time(choices: list[list[str]]) -> Iterator[tuple[str, ...]]:
    first = [values[0] for values in choices]
    yield tuple(first)
    for i, values in enumerate(choices):
        for value in values[1:]:
            yield (*first[:i], value, *first[i + 1 :])


def _interval_faults(overrides: Iterable[Override], is_basic: bool) -> list[Fault]:
    faults = []
    for override in overrides:
        if not override.is_sweep_override() or override.is_discrete_sweep():
            continue
        key, typed = override.get_key_element(), str(override.input_line).partition("=")[2]
        interval = override.value()
        if is_basic:
            rule = "is no list, and hydra/sweeper=basic runs lists only"
            fix = "type values with commas between them, or hydra/sweeper=optuna"
            faults.append(Fault(key, typed, rule, fix=fix))
        elif isinstance(interval, IntervalSweep) and not _number(interval.start) < _number(
            interval.end
        ):
            faults.append(Fault(key, typed, "must go from the smaller number to the larger"))
    return faults


def _number(end: float | None) -> float:
    return math.nan if end is None else end


def _budget_faults(config: DictConfig) -> list[Fault]:
    num_trials = config.hydra.sweeper.get("n_trials", 1)
    if isinstance(num_trials, int) and num_trials >= 1:
        return []
    return [Fault("hydra.sweeper.n_trials", num_trials, "must be a whole number from 1 on")]
