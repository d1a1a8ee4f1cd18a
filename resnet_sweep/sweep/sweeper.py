"""The Hydra plugin ``hydra/sweeper=study``: a thin shell, since every application scans it."""

from __future__ import annotations

import signal
import sys
from dataclasses import fields
from typing import Any

from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from resnet_sweep.faults import ConfigError, Fault, UserError
from resnet_sweep.sweep import groups  # noqa: F401  (registers samplers and pruners)
from resnet_sweep.sweep.config import Options

_BAD_CONFIG = 2


class StudySweeper(Sweeper):
    """Runs the trials of a study by workers that take one after another, without a barrier.

    With the settings of hydra-optuna-sweeper alone it means what they mean there.
    """

    def __init__(
        self,
        sampler: Any,
        direction: Any,
        storage: str | None,
        study_name: str | None,
        n_trials: int | None,
        n_jobs: int | None,
        max_failure_rate: float,
        custom_search_space: str | None,
        params: DictConfig | None,
        **native: Any,
    ) -> None:
        """Takes the settings as Hydra has composed them.

        Args:
            sampler: Configuration of an Optuna sampler.
            direction: minimize, maximize or a list of them.
            storage: See StudySweeperConf, as for all others.
            study_name: Names the study.
            n_trials: Trials in total.
            n_jobs: Workers.
            max_failure_rate: Share of failed trials that is put up with.
            custom_search_space: Dotted path of a function that suggests more.
            params: The search space.
            **native: What hydra-optuna-sweeper does not have.
        """
        self.hydra_context: HydraContext | None = None
        self.task_function: TaskFunction | None = None
        self.config: DictConfig | None = None
        # Told with all else that is wrong, when the sweep begins.
        known = {one.name for one in fields(Options)} - {"is_drop_in"}
        self.unknown = {key: native.pop(key) for key in list(native) if key not in known}
        self.options = Options(
            sampler=_plain(sampler),
            direction=_plain(direction),
            storage=storage,
            study_name=study_name,
            n_trials=n_trials,
            n_jobs=n_jobs,
            max_failure_rate=max_failure_rate,
            custom_search_space=custom_search_space,
            params=_plain(params) or {},
            is_drop_in=not native,
            **{key: _plain(value) for key, value in native.items()},
        )

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Keeps what the sweep is made of.

        Args:
            hydra_context: How a job's configuration is loaded and run.
            task_function: The application's, which a trial calls.
            config: Of the sweep, with Hydra's part.
        """
        self.hydra_context = hydra_context
        self.task_function = task_function
        self.config = config

    def sweep(self, arguments: list[str]) -> None:
        """Runs the study to its total.

        Args:
            arguments: Overrides of the task, with and without several values.

        Raises:
            SystemExit: With 2 when the settings, the space or the folder are refused, which is
                told without a traceback. Natively also with 3 or 4 when trials have failed,
                and 130 or 143 after a signal.
            SweepFailedError: As a drop-in, when more than max_failure_rate have failed.
        """
        from resnet_sweep.sweep.engine import Engine

        assert self.hydra_context is not None
        assert self.task_function is not None
        assert self.config is not None
        try:
            self._refuse_unknown()
            engine = Engine(self.options, self.hydra_context, self.task_function, self.config)
            engine.run(arguments)
        except UserError as error:
            print(error, file=sys.stderr)
            raise SystemExit(_BAD_CONFIG) from None
        except KeyboardInterrupt as error:
            if self.options.is_drop_in:
                raise
            raise SystemExit(128 + getattr(error, "signum", signal.SIGINT)) from None

    def _refuse_unknown(self) -> None:
        if self.unknown:
            rule = "is no setting of the sweeper; nothing would read it"
            raise ConfigError(
                Fault(f"hydra.sweeper.{key}", _plain(value), rule)
                for key, value in self.unknown.items()
            )


def _plain(value: Any) -> Any:
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
