"""One run of ours: from a composed configuration to files and the objective."""

from __future__ import annotations

import dataclasses
import gc
import logging
import math
import os
import shlex
import sys
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from resnet_sweep.config import Config, check_config, to_config, with_absolute_paths
from resnet_sweep.faults import ConfigError, UserError
from resnet_sweep.models.config import model_name
from resnet_sweep.outcome import ExitCode, Typed, Verdict
from resnet_sweep.training.failures import RunError, failure_kind

# Only annotations: the composed configuration of a run is checked before torch is loaded.
if TYPE_CHECKING:
    from resnet_sweep.training.folder import RunFolder
    from resnet_sweep.training.loop import FitResult, Trainer
    from resnet_sweep.training.session import Session
    from resnet_sweep.training.signals import StopSignals

log = logging.getLogger(__name__)


# One for each process: basic sweeps run their trials one after another in this one.
_session: Session | None = None


def run_trial(cfg: DictConfig) -> float:
    """Hydra's task function: one run in its output folder.

    Args:
        cfg: The composed configuration, without Hydra's own part.

    Returns:
        The objective; NaN for a run that failed for a reason of its own (a bad
        configuration, data that cannot be used, a loss that is not finite), which is
        told in the log and in result.json.

    Raises:
        Stopped: SIGINT or SIGTERM came.
        Exception: Whatever else went wrong, after it is in train.log and result.json.
    """
    from resnet_sweep.training.folder import RunFolder

    folder = RunFolder(Path(HydraConfig.get().runtime.output_dir))
    try:
        with folder.claimed():
            return _run(cfg, folder)
    except UserError as error:
        # The folder is another process's: nothing of ours is written there.
        return _refused(error)


def _run(cfg: DictConfig, folder: RunFolder) -> float:
    """One run, and what becomes of it, in a folder of its own."""
    from resnet_sweep.training.signals import StopSignals

    started = time.monotonic()
    # A result of an earlier attempt must not outlive the start of this one.
    folder.result_json.unlink(missing_ok=True)
    config: Config | None = None
    signals = StopSignals()
    try:
        config = with_absolute_paths(to_config(cfg), Path(HydraConfig.get().runtime.cwd))
        result = _train(config, folder, signals)
    except BaseException as error:
        _record_failure(error, folder, config, time.monotonic() - started)
        if isinstance(error, UserError | RunError):
            return _refused(error)
        _tell_unexpected(error, folder)
        raise
    _log_result(result, config, folder)
    _set_verdict(ExitCode.ALL_ENDED)
    # A signal that came too late for this run still ends the sweep.
    signals.raise_if_stopped()
    return result.objective


def _refused(error: UserError | RunError) -> float:
    """Tells why there is no objective; NaN is none for every sweeper."""
    log.error("%s", error)
    is_user = isinstance(error, UserError)
    _set_verdict(ExitCode.BAD_CONFIG if is_user else ExitCode.NOTHING_COMPLETED)
    return math.nan


def _train(config: Config, folder: RunFolder, signals: StopSignals) -> FitResult:
    """Builds the parts of a run, trains, and writes result.json."""
    faults = check_config(config)
    if faults:
        raise ConfigError(faults)
    # torch is loaded from here on.
    from resnet_sweep.training.reporter import NoReporter

    trainer = _build_trainer(config, folder)
    with signals:
        result = trainer.fit(NoReporter(), signals.raise_if_stopped)
        folder.write_result(
            {
                "state": "COMPLETE",
                **dataclasses.asdict(result),
                **_facts(trainer),
                **_origin(config),
            }
        )
        folder.last_checkpoint.unlink(missing_ok=True)
    return result


def _build_trainer(config: Config, folder: RunFolder) -> Trainer:
    """The one place where a configuration becomes data, model and trainer."""
    import torch
    from rich.console import Console

    from resnet_sweep.models import build_model
    from resnet_sweep.training import device as devices
    from resnet_sweep.training.config import Recipe
    from resnet_sweep.training.loop import Trainer
    from resnet_sweep.training.session import Session

    global _session
    device = devices.resolve_device(config.trainer.device)
    precision = devices.resolve_precision(config.trainer.precision, device)
    devices.set_process_state(config.trainer, device)
    _session = _session or Session()
    data = _session.data(config.data)
    torch.manual_seed(config.trainer.seed)
    model = build_model(
        config.model, len(data.classes), config.data.channels, config.data.image_size
    )
    trainer = Trainer(
        model=model,
        data=data,
        recipe=Recipe(config.optimizer, config.scheduler, config.trainer, config.objective),
        augment=config.data.augment,
        folder=folder,
        device=device,
        precision=precision,
        settings=dataclasses.asdict(config),
        console=Console(stderr=True) if _shows_bar() else None,
    )
    _log_start(trainer, config)
    return trainer


def _log_start(trainer: Trainer, config: Config) -> None:
    facts = _facts(trainer)
    log.info(
        "%s, %s parameters, on %s in %s",
        model_name(config.model),
        f"{facts['num_parameters']:,}",
        facts["device"],
        facts["precision"],
    )
    log.info(
        "%s: %d training and %d validation images, %d classes, %d pixels",
        config.data.name,
        len(trainer.data.train.labels),
        len(trainer.data.val.labels),
        len(trainer.data.classes),
        config.data.image_size,
    )


def _facts(trainer: Trainer) -> dict[str, Any]:
    """What is known about a run beside its metrics."""
    from resnet_sweep.training import device as devices

    return {
        "num_parameters": sum(p.numel() for p in trainer.model.parameters()),
        "device": devices.device_name(trainer.device),
        "precision": trainer.precision,
        "peak_memory_mib": devices.peak_memory_mib(trainer.device),
        "data_hash": trainer.data.content,
        "num_skipped_images": trainer.data.num_skipped,
    }


def _origin(config: Config) -> dict[str, Any]:
    """What somebody needs to repeat a run."""
    from resnet_sweep.training.environment import git_commit, versions

    return {"seed": config.trainer.seed, "versions": versions(), "git_commit": git_commit()}


def _record_failure(
    error: BaseException, folder: RunFolder, config: Config | None, seconds: float
) -> None:
    """Writes result.json of a run that did not finish."""
    folder.write_result(
        {
            "state": "FAIL",
            "objective": None,
            "seconds": seconds,
            "error": {
                "kind": failure_kind(error),
                "type": type(error).__name__,
                "message": str(error),
                "traceback": traceback.format_exc(),
            },
            **(_origin(config) if config is not None else {}),
        }
    )


def _tell_unexpected(error: BaseException, folder: RunFolder) -> None:
    """Logs what ended a run from outside its own reasons, and lets go of what the run held."""
    if not isinstance(error, Exception):
        reason = str(error) or "stopped"
        if HydraConfig.get().mode == RunMode.RUN:
            reason += f"; to go on: {_command_to_go_on(folder)}"
        log.warning("%s", reason)
        return
    log.exception("the run failed")
    _set_verdict(ExitCode.NOTHING_COMPLETED)
    # A launcher keeps the exception, whose frames hold the network, its optimizer and images.
    traceback.clear_frames(error.__traceback__)
    gc.collect()
    if "torch" in sys.modules:
        sys.modules["torch"].cuda.empty_cache()


def _log_result(result: FitResult, config: Config, folder: RunFolder) -> None:
    metric = config.objective.metric
    log.info(
        "best %s %.4f in epoch %d, last %.4f; %.0f s, %.0f images/s",
        metric,
        result.best[metric],
        result.best["epoch"],
        result.last[metric],
        result.seconds,
        result.images_per_s,
    )
    if result.test is not None:
        log.info("test accuracy %.4f", result.test["test_accuracy"])
    log.info("files in %s", _shown(folder))


def _shows_bar() -> bool:
    """Whether a bar makes sense: a person looks, and one run at a time draws."""
    launcher = HydraConfig.get().launcher._target_
    alone = HydraConfig.get().mode == RunMode.RUN or launcher.endswith(".BasicLauncher")
    return alone and sys.stderr.isatty()


def _set_verdict(code: ExitCode) -> None:
    # The verdict of a sweep is given by its table, at its end.
    if HydraConfig.get().mode == RunMode.RUN:
        Verdict.exit_code = code


def _shown(folder: RunFolder) -> str:
    """The run's folder, as seen from where the user has started it."""
    return os.path.relpath(folder.path, HydraConfig.get().runtime.cwd)


def _command_to_go_on(folder: RunFolder) -> str:
    typed = [word for word in Typed.arguments if not word.startswith("hydra.run.dir=")]
    return shlex.join(["python", "-m", "resnet_sweep", *typed, f"hydra.run.dir={_shown(folder)}"])
