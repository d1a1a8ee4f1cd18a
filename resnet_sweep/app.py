"""Our application: a trial of ours for the sweep engine, and Hydra's task function."""

from __future__ import annotations

import gc
import logging
import math
import os
import sys
import time
import traceback
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, cast

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from resnet_sweep.collector import loading_modules
from resnet_sweep.config import Config, check_config, to_config, with_absolute_paths
from resnet_sweep.data.agreement import check_same
from resnet_sweep.faults import ConfigError, Fault, UserError
from resnet_sweep.files import is_disk_full
from resnet_sweep.outcome import ExitCode, Verdict
from resnet_sweep.run_end import kind_of, log_end, record_failure, shown, tell_failure, tell_trial
from resnet_sweep.study.canonical import bare_key
from resnet_sweep.sweep import current_trial
from resnet_sweep.training.continuation import FREE_KEYS
from resnet_sweep.training.failures import DiskError, RunError
from resnet_sweep.trusted import command_faults

# Only annotations: a configuration is checked before torch is loaded.
if TYPE_CHECKING:
    from resnet_sweep.data.config import DataConfig
    from resnet_sweep.data.dataset import ImageData
    from resnet_sweep.run import Ended, Run
    from resnet_sweep.training.folder import RunFolder
    from resnet_sweep.training.session import Session
    from resnet_sweep.training.signals import StopSignals
    from resnet_sweep.training.tensorboard import Label

log = logging.getLogger(__name__)

# What ends a run without a defect of its network, its step or its device.
_SOUND = (UserError, RunError, KeyboardInterrupt)


class TrialTask:
    """One training of ours, as the sweep engine asks for it; see sweep.task.Task.

    Keeps the opened data and the prepared step from trial to trial.
    """

    free_keys: Collection[str] = FREE_KEYS

    def __init__(self) -> None:
        self._session: Session | None = None
        # A run that has come to its end, as long as the study may not know of it.
        self._finished: Run | None = None

    def prepare(self) -> None:
        """Loads torch, which takes seconds."""
        if "resnet_sweep.run" in sys.modules:
            return  # The second time there would only be a run's own objects to set aside.
        with loading_modules():
            import resnet_sweep.run
            import resnet_sweep.training.loop  # noqa: F401

    def __call__(self, cfg: DictConfig) -> float:
        """One run in Hydra's output folder.

        A trial that was lost or interrupted goes on from its last checkpoint.

        Args:
            cfg: The composed configuration, without Hydra's own part.

        Returns:
            The objective.

        Raises:
            optuna.TrialPruned: The pruner gave the trial up; result.json says PRUNED.
            Stopped: SIGINT or SIGTERM came; the last finished epoch is saved.
            Exception: Whatever went wrong, after it is in train.log and result.json.
        """
        from resnet_sweep.training.folder import RunFolder
        from resnet_sweep.training.signals import StopSignals

        # Of repeats: that the next one begins means that the study knows.
        self._remove_checkpoints()
        folder = RunFolder(Path(HydraConfig.get().runtime.output_dir))
        signals = StopSignals()
        try:
            # Of a folder that another process has nothing is touched.
            with folder.claimed():
                ended = self._run(cfg, folder, signals)
        except BaseException as error:
            tell_failure(error, folder)
            raise
        tell_trial(ended)
        if ended.pruned is not None:
            raise ended.pruned
        signals.pass_on()
        return ended.result.objective

    def check(self, cfg: DictConfig) -> list[Fault]:
        """Everything that is wrong with a composed configuration; loads no torch."""
        try:
            return check_config(to_config(cfg))
        except UserError as error:
            return list(error.faults)
        except OmegaConfBaseException as error:
            return [_fault_of(error)]

    def failure_kind(self, error: BaseException) -> str:
        """See kind_of; "device" means that this process should end."""
        return kind_of(error)

    def num_reports(self, cfg: DictConfig) -> int:
        """One an epoch."""
        return int(cfg.trainer.epochs)

    def after_trial(self, failed: bool) -> None:
        """Lets go of what a trial needs no more: its checkpoints, or memory where it failed."""
        if not failed:
            self._remove_checkpoints()
            return  # Nothing holds the memory any more, and the next trial will use it.
        self._finished = None
        gc.collect()
        if "torch" in sys.modules:
            sys.modules["torch"].cuda.empty_cache()

    def discard(self, folder: Path) -> None:
        """Removes the best weights of a finished trial, of all its repeats.

        And checkpoints, if a worker was killed just before it would have removed them.
        """
        from resnet_sweep.training.folder import RunFolder

        for path in (folder, *folder.glob("[0-9]*")):
            if path.is_dir():
                run = RunFolder(path)
                run.best_checkpoint.unlink(missing_ok=True)
                run.last_checkpoint.unlink(missing_ok=True)

    def close(self) -> None:
        """Forgets the opened data and the prepared step."""
        self._session = None

    def _run(self, cfg: DictConfig, folder: RunFolder, signals: StopSignals) -> Ended:
        """One run in a folder of its own; a failure is recorded there."""
        started = time.monotonic()
        # What an earlier attempt has written must not outlive the start of this one.
        folder.result_json.unlink(missing_ok=True)
        folder.rerun_yaml.unlink(missing_ok=True)
        config: Config | None = None
        run: Run | None = None
        try:
            config = with_absolute_paths(to_config(cfg), Path(HydraConfig.get().runtime.cwd))
            faults = command_faults(cast(DictConfig, HydraConfig.instance().cfg)) + check_config(
                config
            )
            if faults:
                raise ConfigError(faults)
            run = self._make_run(config, folder)
            reporter = TrialReporter(config.objective.metric, config.trainer.epochs)
            ended = run.train(reporter, signals)
        except BaseException as error:
            record_failure(error, folder, config, run, time.monotonic() - started)
            # Who catches it may keep it, and its frames hold the network and its optimizer.
            traceback.clear_frames(error.__traceback__)
            # A run that diverged, was pruned or stopped leaves a sound step for the next one.
            if self._session is not None and not isinstance(error, _SOUND):
                self._session.forget_step()
            if isinstance(error, OSError) and is_disk_full(error):
                raise DiskError.of(error) from error
            raise
        self._finished = run
        log_end(ended, config.objective.metric, folder)
        return ended

    def _remove_checkpoints(self) -> None:
        """Removes what a finished run went on from.

        Not when it ends: of a worker that is killed before the study knows of that, the trial
        is tried again, and goes on from there.
        """
        if self._finished is not None:
            self._finished.remove_checkpoints()
            self._finished = None

    def _make_run(self, config: Config, folder: RunFolder) -> Run:
        if config.trainer.profile:
            # Read when torch is loaded: its profiler tells on stderr what it does not find.
            os.environ.setdefault("KINETO_LOG_LEVEL", "6")
        self.prepare()  # torch is loaded from here on.
        from resnet_sweep.run import Run
        from resnet_sweep.training.session import Session

        self._session = self._session or Session(_admit)
        return Run(
            config,
            folder,
            self._session,
            previous=current_trial().previous_folders,
            choices=HydraConfig.get().runtime.choices,
            shows_bar=_shows_bar(),
            label=_label(folder) if config.trainer.tensorboard else None,
        )


class TrialReporter:
    """Tells the current trial how every epoch went; outside a sweep nobody listens.

    Args:
        metric: Which one the objective is made of.
        num_epochs: Of the whole run.
    """

    def __init__(self, metric: str, num_epochs: int) -> None:
        self._metric = metric
        self._num_epochs = num_epochs

    def report(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """Tells one epoch.

        Raises:
            optuna.TrialPruned: The pruner gives the trial up, while there is something to save.
        """
        from resnet_sweep.run import is_pruned

        try:
            current_trial().report(metrics[self._metric], epoch)
        except Exception as error:
            if not is_pruned(error) or epoch < self._num_epochs:
                raise


# One for each process: basic sweeps run their trials one after another in this one.
_task = TrialTask()


def run_trial(cfg: DictConfig) -> float:
    """Hydra's task function, for single runs and for sweepers that are not ours.

    Args:
        cfg: The composed configuration, without Hydra's own part.

    Returns:
        The objective; NaN, which is none for every sweeper, for a run that failed for a
        reason of its own (a bad configuration, data that cannot be used, a loss that is not
        finite), which is told in the log and in result.json.

    Raises:
        Stopped: SIGINT or SIGTERM came.
        Exception: Whatever else went wrong, after it is in train.log and result.json.
    """
    try:
        objective = _task(cfg)
    except (UserError, RunError) as error:
        is_user = isinstance(error, UserError)
        _set_verdict(ExitCode.BAD_CONFIG if is_user else ExitCode.NOTHING_COMPLETED)
        return math.nan
    except Exception:
        _set_verdict(ExitCode.NOTHING_COMPLETED)
        _task.after_trial(failed=True)
        raise
    except BaseException:
        # A run that had its end when the signal came needs its checkpoint no more.
        _task.after_trial(failed=False)
        raise
    _task.after_trial(failed=False)
    _set_verdict(ExitCode.ALL_ENDED)
    return objective


def _admit(config: DataConfig, data: ImageData) -> None:
    """Refuses images that are not those of the study's other trials."""
    trial = current_trial()
    typed = {bare_key(line.partition("=")[0]) for line in HydraConfig.get().overrides.task}
    check_same(config, data, trial.agree, typed - trial.swept)


def _fault_of(error: OmegaConfBaseException) -> Fault:
    """What OmegaConf says, in our form: its own text names the key a second time."""
    rule = (error.msg or str(error)).splitlines()[0]
    return Fault(error.full_key or str(error.key), error.value, rule)


def _label(folder: RunFolder) -> Label:
    """What TensorBoard shows of the run: what was typed or swept and can change its numbers."""
    from resnet_sweep.training.tensorboard import Label

    hparams: dict[str, bool | float | str] = {}
    parser = OverridesParser.create()
    for override in parser.parse_overrides(list(HydraConfig.get().overrides.task)):
        key = override.key_or_group
        if override.is_delete() or key in FREE_KEYS:
            continue
        value = override.value()
        if isinstance(value, str) or (isinstance(value, int | float) and math.isfinite(value)):
            hparams[key] = value
        else:
            hparams[key] = override.get_value_element_as_str()
    return Label(shown(folder), hparams)


def _shows_bar() -> bool:
    """Whether a bar makes sense: a person looks, and one run at a time draws."""
    launcher = HydraConfig.get().launcher._target_
    alone = HydraConfig.get().mode == RunMode.RUN or launcher.endswith(".BasicLauncher")
    return alone and sys.stderr.isatty()


def _set_verdict(code: ExitCode) -> None:
    # The verdict of a sweep is given by its table, at its end.
    if HydraConfig.get().mode == RunMode.RUN:
        Verdict.exit_code = code
