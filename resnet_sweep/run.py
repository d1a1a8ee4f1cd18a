"""One run in its folder: from a configuration to trained weights, metrics and result.json."""

from __future__ import annotations

import dataclasses
import logging
import sys
import traceback
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from resnet_sweep.config import Config
from resnet_sweep.models import build_model
from resnet_sweep.models.config import model_name
from resnet_sweep.rerun import Resolved, rerun_yaml
from resnet_sweep.training import device as devices
from resnet_sweep.training.config import Recipe
from resnet_sweep.training.environment import repeatable
from resnet_sweep.training.facts import data_facts, objective_facts
from resnet_sweep.training.failures import CheckpointError
from resnet_sweep.training.folder import RunFolder
from resnet_sweep.training.loop import Trainer
from resnet_sweep.training.reporter import Reporter
from resnet_sweep.training.result import FitResult
from resnet_sweep.training.session import Session
from resnet_sweep.training.signals import StopSignals
from resnet_sweep.training.tensorboard import Label

if TYPE_CHECKING:
    from rich.console import Console

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Ended:
    """How a run ended that came to its end or was given up by a pruner.

    Attributes:
        result: Of all its epochs, or of those that it was given.
        peak_memory_mib: Most memory that it used.
        pruned: What the pruner raised, None for a run that came to its end.
        problem: Why a checkpoint of an earlier attempt could not be used, None for a run that
            met none.
    """

    result: FitResult
    peak_memory_mib: float
    pruned: Exception | None
    problem: str | None


@dataclass(frozen=True)
class Origin:
    """The unfinished run that this one goes on from.

    Attributes:
        folder: Its folder.
        epoch: Epochs taken over; 0 where its checkpoint could not be used.
        problem: Why it, or that of a later attempt, could not be used; else None.
    """

    folder: str
    epoch: int
    problem: str | None = None


class Run:
    """One run, from its start to its result.

    Args:
        config: Checked, with absolute paths.
        folder: Where its files go; claimed by the caller.
        session: Has the data.
        previous: Folders of earlier attempts at the same run, newest first. It goes on from
            the first that holds a checkpoint that can be used, unless its own folder holds one.
        choices: In the groups, by their names.
        shows_bar: Whether a progress bar is drawn on stderr.
        label: Of the run, for TensorBoard.

    Attributes:
        facts: What is known of it beside its metrics, for result.json; more and more as it goes
            on. A run that fails has what it came to know.
    """

    def __init__(
        self,
        config: Config,
        folder: RunFolder,
        session: Session,
        *,
        previous: Iterable[Path] = (),
        choices: Mapping[str, str | None],
        shows_bar: bool = False,
        label: Label | None = None,
    ) -> None:
        self.config, self.folder, self._session = config, folder, session
        self._previous = [RunFolder(path) for path in previous if path.is_dir()]
        self._choices, self._shows_bar, self._label = choices, shows_bar, label
        self.facts: dict[str, Any] = {**objective_facts(config.objective)}

    def train(self, reporter: Reporter, signals: StopSignals) -> Ended:
        """Trains until the last epoch or until it is pruned, and writes result.json.

        Args:
            reporter: Told every epoch; the only one who prunes.
            signals: Entered while it trains.

        Raises:
            Stopped: A signal came.
            Exception: Whatever goes wrong, now or in the network.
        """
        trainer, origin = self._start()
        if origin is not None:
            self.facts["resumed_from"] = dataclasses.asdict(origin)
        self._log_start()
        pruned: Exception | None = None
        with signals:
            try:
                result = trainer.fit(reporter, signals.raise_if_stopped)
            except Exception as error:
                if not is_pruned(error):
                    raise
                # Its frames hold the network.
                pruned, result = error.with_traceback(None), trainer.result()
            peak_memory_mib = max(
                devices.peak_memory_mib(trainer.device), trainer.prepared.peak_memory_mib
            )
            self.folder.write_result(
                {
                    "state": "COMPLETE" if pruned is None else "PRUNED",
                    **dataclasses.asdict(result),
                    "peak_memory_mib": peak_memory_mib,
                    **self.facts,
                    # Those of a profile are known only now.
                    **trainer.facts,
                    **repeatable(self.config.trainer.seed),
                }
            )
        return Ended(result, peak_memory_mib, pruned, None if origin is None else origin.problem)

    def remove_checkpoints(self) -> None:
        """Removes what a run could go on from, earlier attempts' too: it is over for good."""
        for folder in (self.folder, *self._previous):
            folder.last_checkpoint.unlink(missing_ok=True)

    def _start(self) -> tuple[Trainer, Origin | None]:
        """The trainer, after what an earlier attempt has done.

        A checkpoint that cannot be used now will not be the next time either: the one before
        it is taken, or the run starts anew, so that the trial will be done.
        """
        candidates = self._resumable()
        problems: list[str] = []
        for folder in candidates:
            trainer = self._build()
            try:
                epoch = trainer.take_up(folder.last_checkpoint)
            except CheckpointError as error:
                told = [f"{fault.key}={fault.value}: {fault.rule}" for fault in error.faults]
                problem = "; ".join(told)
                log.warning("cannot go on from trial folder %s: %s", folder.path, problem)
                problems.append(problem)
                # Its frames hold the network that is of no use any more.
                traceback.clear_frames(error.__traceback__)
                del trainer
                continue
            log.info("goes on from epoch %d of trial folder %s", epoch, folder.path)
            return trainer, Origin(str(folder.path), epoch, "; ".join(problems) or None)
        if not candidates:
            return self._build(), None
        log.warning("starts anew: no checkpoint of an earlier attempt can be used")
        return self._build(), Origin(str(candidates[0].path), 0, "; ".join(problems))

    def _resumable(self) -> list[RunFolder]:
        """Earlier attempts that have left a checkpoint, newest first."""
        if self.config.trainer.resume == "never" or self.folder.last_checkpoint.exists():
            return []
        return [folder for folder in self._previous if folder.last_checkpoint.exists()]

    def _build(self) -> Trainer:
        """The one place where a configuration becomes data, model and trainer."""
        config = self.config
        device = devices.resolve_device(config.trainer.device)
        precision = devices.resolve_precision(config.trainer.precision, device)
        devices.set_process_state(config.trainer, device)
        threads = torch.get_num_threads()
        self.facts |= {
            "device": devices.device_name(device),
            "precision": precision,
            "threads": threads,
        }
        data = self._session.data(config.data)
        self.facts |= data_facts(data)
        resolved = Resolved(
            device.type,
            precision,
            threads,
            len(data.classes),
            data.content,
            config.trainer.microbatch,
            config.trainer.compile,
        )
        self._write_rerun(resolved)
        torch.manual_seed(config.trainer.seed)
        model = build_model(
            config.model, len(data.classes), config.data.channels, config.data.image_size
        )
        self.facts["num_parameters"] = sum(p.numel() for p in model.parameters())
        trainer = Trainer(
            model=model,
            data=data,
            recipe=Recipe(config.optimizer, config.scheduler, config.trainer, config.objective),
            augment=config.data.augment,
            folder=self.folder,
            device=device,
            precision=precision,
            settings=dataclasses.asdict(config),
            model_config=config.model,
            session=self._session,
            console=self._console(),
            label=self._label,
        )
        self.facts |= trainer.facts
        compiled = "always" if trainer.place.compiles else "never"
        microbatch = trainer.facts["microbatch"]
        self._write_rerun(dataclasses.replace(resolved, microbatch=microbatch, compile=compiled))
        return trainer

    def _write_rerun(self, resolved: Resolved) -> None:
        text = rerun_yaml(self.config, resolved, self._choices, self.folder.path)
        self.folder.write_rerun(text)

    def _console(self) -> Console | None:
        if not self._shows_bar:
            return None
        # A sweep's workers do without.
        from rich.console import Console

        return Console(stderr=True)

    def _log_start(self) -> None:
        facts = self.facts
        log.info(
            "%s, %s parameters, on %s in %s",
            model_name(self.config.model),
            f"{facts['num_parameters']:,}",
            facts["device"],
            facts["precision"],
        )
        log.info(
            "%s: %d training and %d validation images, %d classes, %d pixels",
            self.config.data.name,
            facts["num_train_images"],
            facts["num_val_images"],
            facts["num_classes"],
            self.config.data.image_size,
        )


def is_pruned(error: BaseException) -> bool:
    """Whether a pruner of Optuna gave the run up."""
    # Whoever raises it has loaded Optuna; a run outside a sweep does without.
    optuna = sys.modules.get("optuna")
    return optuna is not None and isinstance(error, optuna.TrialPruned)
