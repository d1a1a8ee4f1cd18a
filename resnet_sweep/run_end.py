"""What is recorded and told when a run of ours has ended."""

from __future__ import annotations

import logging
import os
import shlex
import traceback
from typing import TYPE_CHECKING

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

from resnet_sweep.faults import DataError, UserError, storage_error_in
from resnet_sweep.outcome import Typed
from resnet_sweep.study.standing import DATA
from resnet_sweep.sweep import current_trial
from resnet_sweep.sweep.decided import is_below
from resnet_sweep.training.failures import DiskError, RunError, failure_kind

# Only annotations: a configuration is checked before torch is loaded.
if TYPE_CHECKING:
    from resnet_sweep.config import Config
    from resnet_sweep.run import Ended, Run
    from resnet_sweep.training.folder import RunFolder

log = logging.getLogger(__name__)


def kind_of(error: BaseException) -> str:
    """The name of what ended a run of a sweep, or alone; see training.failures.failure_kind.

    Data that cannot be used spoil every trial of a study; where the trial's own settings chose
    them, or the batch is too large for them, it is the trial that is wrong.

    Args:
        error: What ended it.
    """
    kind = failure_kind(error)
    if kind == DATA:
        assert isinstance(error, DataError)
        keys = {fault.key for fault in error.faults}
        is_own = any(is_below(key, ["data"]) for key in current_trial().swept)
        return "config" if is_own or not all(is_below(key, ["data"]) for key in keys) else kind
    return kind


def record_failure(
    error: BaseException,
    folder: RunFolder,
    config: Config | None,
    run: Run | None,
    seconds: float,
) -> None:
    """Writes result.json of a run that did not finish, with what it came to know.

    Args:
        error: What ended it.
        folder: Of the run.
        config: None where it could not be made.
        run: None where it could not be made.
        seconds: For how long it ran.
    """
    from resnet_sweep.training.environment import repeatable

    kind = kind_of(error)
    try:
        folder.write_result(
            {
                "state": "FAIL",
                "objective": None,
                "seconds": seconds,
                "error": {
                    "kind": kind,
                    "type": type(error).__name__,
                    "message": str(error),
                    "traceback": traceback.format_exc(),
                },
                **(run.facts if run is not None else {}),
                **(repeatable(config.trainer.seed) if config is not None else {}),
            }
        )
    except OSError as failure:
        # Why the run ended matters more, and a stop must stay one.
        log.error("how the run ended could not be written: %s", failure)
    is_over = isinstance(error, Exception) and kind != DiskError.kind
    # The sweep takes it up again when its storage is back.
    is_over = is_over and storage_error_in(error) is None
    if is_over and current_trial().number is not None:
        # A trial that fails ends for good: nobody would go on from its checkpoint.
        folder.last_checkpoint.unlink(missing_ok=True)


def tell_failure(error: BaseException, folder: RunFolder) -> None:
    """Logs what ended a run; only what nobody expects with a traceback."""
    if isinstance(error, UserError | RunError):
        log.error("%s", error)
    elif isinstance(error, Exception):
        log.exception("the run failed")
    else:
        reason = str(error) or "stopped"
        if HydraConfig.get().mode == RunMode.RUN:
            reason += f"; to go on: {_command_to_go_on(folder)}"
        log.warning("%s", reason)


def tell_trial(ended: Ended) -> None:
    """Keeps beside the trial what its table shows; each fact is a write to the storage."""
    trial = current_trial()
    trial.set_user_attr("best_epoch", int(ended.result.best["epoch"]))
    trial.set_user_attr("images_per_s", round(ended.result.images_per_s, 1))
    trial.set_user_attr("peak_memory_mib", round(ended.peak_memory_mib, 1))
    if ended.problem is not None:
        trial.set_user_attr("resume_problem", ended.problem)


def log_end(ended: Ended, metric: str, folder: RunFolder) -> None:
    """Logs how good a finished or pruned run was, and where its files are.

    Args:
        ended: The run.
        metric: Which one the objective is made of.
        folder: Of the run.
    """
    result = ended.result
    if ended.pruned is not None:
        log.info("pruned after epoch %d", result.last["epoch"])
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
    log.info("files in %s", shown(folder))


def shown(folder: RunFolder) -> str:
    """The run's folder, as seen from where the user has started it."""
    return os.path.relpath(folder.path, HydraConfig.get().runtime.cwd)


def _command_to_go_on(folder: RunFolder) -> str:
    typed = [word for word in Typed.arguments if not word.startswith("hydra.run.dir=")]
    return shlex.join([*Typed.program, *typed, f"hydra.run.dir={shown(folder)}"])
