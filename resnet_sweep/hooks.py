"""Our Hydra callbacks: before anything runs everything is checked, after a sweep comes its table.

Hydra turns an exception in a callback into a warning; what has to end the process
is therefore told here and ends in SystemExit, which Hydra lets through.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from resnet_sweep.config import Config, check_config, to_config
from resnet_sweep.faults import ConfigError, Fault, UserError
from resnet_sweep.outcome import ExitCode, Verdict, tell
from resnet_sweep.training.continuation import config_differences

log = logging.getLogger(__name__)


class CheckFirst(Callback):
    """Refuses a bad configuration before a folder is made or anything is loaded."""

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Checks the configuration of a single run."""
        try:
            checked = to_config(config)
        except (UserError, OmegaConfBaseException) as error:
            _refuse(error)
        faults = check_config(checked) or _folder_faults(Path(config.hydra.run.dir), checked)
        if faults:
            _refuse(ConfigError(faults))

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Checks every combination of a sweep over lists; other sweepers draw theirs later."""
        folder = Path(config.hydra.sweep.dir)
        if (folder / "multirun.yaml").exists() or (folder / "results.csv").exists():
            # Numbers start at 0 again, so its trials would be overwritten.
            rule = "holds a sweep already"
            _refuse(
                ConfigError([Fault("hydra.sweep.dir", folder, rule, fix="choose another folder")])
            )
        if not str(config.hydra.sweeper._target_).endswith(".BasicSweeper"):
            return
        try:
            # Trials that share a fault tell it once.
            faults = {
                str(fault): fault
                for job in _combinations(config)
                for fault in check_config(to_config(job))
            }
        except (UserError, HydraException, OmegaConfBaseException) as error:
            _refuse(error)
        if faults:
            _refuse(ConfigError(faults.values()))


class TableLast(Callback):
    """Prints the table of a sweep and writes it, however the sweep ended."""

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Reads the folders of the trials and gives the verdict."""
        folder = Path(config.hydra.sweep.dir)
        if not folder.is_dir():
            return  # Refused before it began.
        # pandas takes a moment to load, and a refusal needs none of it.
        from resnet_sweep.report.table import load_sweep, render

        try:
            table = load_sweep(folder)
            path = folder / "results.csv"
            table.to_csv(path, index=False)
            print(f"\n{render(table)}\n\n{path}")
        except Exception:
            log.exception("the table of %s could not be made", folder)
            raise SystemExit(1) from None
        num_complete = int((table["state"] == "COMPLETE").sum())
        if num_complete == len(table) > 0:
            Verdict.exit_code = ExitCode.ALL_ENDED
        else:
            Verdict.exit_code = ExitCode.SOME_FAILED if num_complete else ExitCode.NOTHING_COMPLETED


def _refuse(error: Exception) -> NoReturn:
    tell(error)
    raise SystemExit(ExitCode.BAD_CONFIG)


def _folder_faults(folder: Path, config: Config) -> list[Fault]:
    """Faults of starting a run in a folder that holds one already."""
    if config.trainer.resume == "never":
        return []
    result, saved = folder / "result.json", folder / ".hydra" / "config.yaml"
    if result.exists() and json.loads(result.read_text()).get("state") == "COMPLETE":
        return [
            Fault(
                "hydra.run.dir",
                folder,
                "holds a finished run",
                fix="choose another folder, or type trainer.resume=never to run it again",
            )
        ]
    if (folder / "last.pt").exists() and saved.exists():
        old = OmegaConf.to_container(OmegaConf.load(saved), resolve=True)
        assert isinstance(old, dict)
        return config_differences(
            {str(key): value for key, value in old.items()}, dataclasses.asdict(config)
        )
    return []


def _combinations(config: DictConfig) -> Iterator[DictConfig]:
    """The composed configuration of every trial that the basic sweeper will run.

    Raises:
        ConfigError: The sweep is over an interval, which has no list of trials.
    """
    loader = GlobalHydra.instance().config_loader()
    params = config.hydra.sweeper.get("params") or {}
    lines = [*(f"{key}={value}" for key, value in params.items()), *config.hydra.overrides.task]
    choices: list[list[str]] = []
    for override in OverridesParser.create(config_loader=loader).parse_overrides(lines):
        key = override.get_key_element()
        if override.is_discrete_sweep():
            choices.append([f"{key}={value}" for value in override.sweep_string_iterator()])
        elif override.is_sweep_override():
            raise ConfigError(
                [
                    Fault(
                        key,
                        str(override.input_line).partition("=")[2],
                        "is no list, and hydra/sweeper=basic runs lists only",
                        fix="type values with commas between them, or hydra/sweeper=optuna",
                    )
                ]
            )
        else:
            assert override.input_line is not None
            choices.append([override.input_line])
    for job in itertools.product(*choices):
        yield loader.load_sweep_config(config, list(job))
