"""Runs one claimed trial: values, configuration, Hydra's job, and how it ended."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import optuna
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import TrialState

from resnet_sweep.faults import ConfigError, Fault, StorageError, storage_error_in
from resnet_sweep.study.canonical import bare_key, canonical
from resnet_sweep.study.events import log_event
from resnet_sweep.study.folder import StudyFolder
from resnet_sweep.study.queue import Claim, Queue
from resnet_sweep.study.standing import INTERRUPTED
from resnet_sweep.sweep.compose import Composer
from resnet_sweep.sweep.conditions import lookup_in
from resnet_sweep.sweep.job import run_job
from resnet_sweep.sweep.outcomes import Outcome, completed, failure, left_with
from resnet_sweep.sweep.ranking import own_folders, ranking
from resnet_sweep.sweep.stopping import StopFlag, TrialTimeoutError
from resnet_sweep.sweep.trial import RESERVED, CurrentTrial, running

if TYPE_CHECKING:
    from resnet_sweep.sweep.task import Task
    from resnet_sweep.sweep.worker import Worker

log = logging.getLogger(__name__)

# Exit code of a worker whose process is of no use any more; sysexits.h calls it EX_SOFTWARE.
BROKEN_PROCESS = 70
DEVICE = "device"


class SweepTrial(CurrentTrial):
    """The current trial of a worker."""

    def __init__(
        self,
        trial: optuna.Trial,
        stop: StopFlag,
        previous: tuple[Path, ...],
        reports: bool,
        agree: Callable[[str, Any], Any],
    ) -> None:
        self.number = trial.number
        self.previous_folders = previous
        self.swept = frozenset(map(bare_key, trial.params))
        self._trial = trial
        self._stop = stop
        self._reports = reports
        self._agree = agree

    def report(self, value: float, step: int) -> None:
        """See CurrentTrial."""
        if not self._reports:
            return
        with self._stop.shielded(), self._unless_given_up():
            self._trial.report(value, step)
            is_bad = self._trial.should_prune()
        if is_bad:
            raise optuna.TrialPruned(f"pruned at step {step} with {value:.6g}")

    def set_user_attr(self, key: str, value: Any) -> None:
        """See CurrentTrial."""
        if key in RESERVED:
            raise ValueError(f"the sweep itself keeps {key!r}; choose another name")
        with self._stop.shielded(), self._unless_given_up():
            self._trial.set_user_attr(key, value)

    def agree(self, key: str, value: Any) -> Any:
        """See CurrentTrial."""
        with self._stop.shielded():
            return self._agree(key, value)

    @contextmanager
    def _unless_given_up(self) -> Iterator[None]:
        """Ends the run of a trial that another worker took up while this one was not heard of."""
        try:
            yield
        except UpdateFinishedTrialError:
            raise optuna.TrialPruned(
                f"trial {self.number} was given up by another worker"
            ) from None


@contextmanager
def _kept_surroundings() -> Iterator[None]:
    """Keeps what a process has only one of, for the trials that follow in it."""
    folder, mask = os.getcwd(), os.umask(0)
    os.umask(mask)
    try:
        yield
    finally:
        os.umask(mask)
        os.chdir(folder)


class Runner:
    """Runs the trials of one worker."""

    def __init__(
        self,
        worker: Worker,
        task: Task,
        queue: Queue,
        folder: StudyFolder,
        name: str,
        stop: StopFlag,
    ) -> None:
        self.spec = worker.spec
        self.context, self.master, self.hook = worker.context, worker.master, worker.hook
        self.task, self.queue, self.folder, self.name, self.stop = task, queue, folder, name, stop
        self.lookup = lookup_in(worker.master)
        self._pruned = False
        self._error: Exception | None = None
        # The best trials of the first so many completed ones.
        self._best: list[optuna.trial.FrozenTrial] = []
        self._num_ranked = 0

    @cached_property
    def composer(self) -> Composer:
        """Made when the first trial needs it."""
        return Composer(self.context.config_loader, self.master)

    def run(self, claim: Claim) -> None:
        """Runs a trial to whichever end and tells the study.

        Raises:
            Interrupted: A signal ended it.
            StorageError: The storage cannot be used, and was waited for; the trial is left to
                be taken up again.
        """
        try:
            self._run(claim)
        except StorageError:
            # It is no fault of the trial's, if that can still be said.
            with suppress(StorageError):
                reason = "the study's storage could not be used"
                self.queue.fail(claim.trial.number, INTERRUPTED, reason, is_excused=True)
            raise

    def _run(self, claim: Claim) -> None:
        started = time.monotonic()
        number = claim.trial.number
        log_event(self.folder, number, self.name, "starts")
        stopped: BaseException | None = None
        try:
            outcome = self._outcome(claim)
        except BaseException as error:
            # Ctrl-C and its like end the worker as well, once the study knows.
            stopped = error
            outcome = self._failure(error)
        is_told = self._tell(claim, outcome, time.monotonic() - started)
        log_event(self.folder, number, self.name, f"{outcome.state.name} {outcome.kind}".rstrip())
        # Who took the trial up meanwhile may need what this attempt has left.
        self.task.after_trial(failed=outcome.state == TrialState.FAIL or not is_told)
        if stopped is not None:
            raise stopped
        if outcome.kind == DEVICE and not self.spec.in_this_process:
            log.error("the device is in a state that only a new process can leave")
            self.task.close()
            logging.shutdown()
            # An exception would only end the worker's job, and its process would stay.
            os._exit(BROKEN_PROCESS)
        if outcome.state == TrialState.COMPLETE:
            self._discard()

    def _outcome(self, claim: Claim) -> Outcome:
        try:
            values = self._draw(claim)
            reused = self._reused(claim)
            if reused is not None:
                return reused
            return self._run_repeats(claim, values)
        except Exception as error:
            return self._failure(error)

    def _draw(self, claim: Claim) -> dict[str, Any]:
        """The trial's values: given, drawn, and what the application's own hook adds."""
        trial = claim.trial
        values = self.spec.plan.space_of(claim.planned).suggest(trial, self.lookup)
        if self.hook is not None:
            self.hook(self.master, trial)
            added = {key: value for key, value in trial.params.items() if key not in values}
            self._refuse_fixed(added)
            values |= added
        return values

    def _refuse_fixed(self, added: Mapping[str, Any]) -> None:
        """A key that is set once for all trials cannot be suggested as well."""
        lines = [line for line in self.spec.plan.space.fixed if not line.startswith("~")]
        fixed = {bare_key(line.partition("=")[0]) for line in lines}
        rule = f"is suggested by {self.spec.custom_search_space}, and fixed by an override as well"
        faults = [Fault(key, value, rule) for key, value in added.items() if bare_key(key) in fixed]
        if faults:
            raise ConfigError(faults)

    def _reused(self, claim: Claim) -> Outcome | None:
        """How the same configuration ended before, if it has and that counts."""
        if not self.spec.reuse_duplicates or claim.previous or not claim.trial.params:
            return None
        known = self.queue.ledger.finished.get(canonical(claim.trial.params))
        if known is None:
            return None
        before = self.queue.study.get_trials(deepcopy=False)[known]
        claim.trial.set_user_attr("duplicate_of", known)
        if before.state == TrialState.PRUNED:
            for step, value in before.intermediate_values.items():
                claim.trial.report(value, step)
            return Outcome(TrialState.PRUNED)
        return Outcome(TrialState.COMPLETE, before.values or ())

    def _run_repeats(self, claim: Claim, values: Mapping[str, Any]) -> Outcome:
        lines = self.spec.plan.space.overrides(values)
        done: list[float] = list(claim.trial.user_attrs.get("repeat_values", []))
        if done:
            self._report_again(claim)
        subdir = ""
        for repeat in range(len(done), self.spec.repeats):
            config = self._configure(claim.trial.number, lines, repeat)
            if not subdir:
                subdir = self._keep_folder(claim.trial, config)
            with read_write(config.hydra):
                part = f"/{repeat}" if self.spec.repeats > 1 else ""
                config.hydra.sweep.subdir = subdir + part
            outcome = self._run_job(claim, config, repeat)
            if outcome.state != TrialState.COMPLETE:
                return outcome
            if self.spec.repeats == 1:
                return outcome
            done.append(outcome.values[0])
            claim.trial.set_user_attr("repeat_values", done)
        return Outcome(TrialState.COMPLETE, [sum(done) / len(done)])

    def _report_again(self, claim: Claim) -> None:
        """The first run is over, so nobody else tells the pruner how it went."""
        before = self.queue.study.get_trials(deepcopy=False)[claim.previous[0]]
        for step, value in before.intermediate_values.items():
            claim.trial.report(value, step)

    def _configure(self, number: int, lines: Sequence[str], repeat: int) -> DictConfig:
        config = self.composer.compose(lines)
        if repeat:
            seed = OmegaConf.select(config, self.spec.seed_key)
            config = self.composer.compose([*lines, f"{self.spec.seed_key}={seed + repeat}"])
        with read_write(config), open_dict(config):
            config.hydra.job.num = number
            config.hydra.job.id = str(number)
        return config

    def _keep_folder(self, trial: optuna.Trial, config: DictConfig) -> str:
        """Chooses the trial's own folder below the sweep's and keeps it with the trial."""
        outside = HydraConfig.instance().cfg
        # The pattern may ask for ${hydra:...}, which is answered from there.
        HydraConfig.instance().cfg = cast(Any, config)
        try:
            subdir = str(config.hydra.sweep.subdir)
        finally:
            HydraConfig.instance().cfg = outside
        try:
            # Made at once: two workers may ask for the same at the same time.
            (self.folder.path / subdir).mkdir(parents=True)
        except FileExistsError:
            subdir = f"{subdir}-{trial.number}"
        trial.set_user_attr("folder", subdir)
        return subdir

    def _run_job(self, claim: Claim, config: DictConfig, repeat: int) -> Outcome:
        trials = self.queue.study.get_trials(deepcopy=False) if claim.previous else []
        names = [trials[number].user_attrs.get("folder") for number in claim.previous]
        folders = map(self.folder.below, names)
        part = str(repeat) if self.spec.repeats > 1 else ""
        current = SweepTrial(
            claim.trial,
            self.stop,
            tuple(one / part for one in folders if one is not None),
            reports=repeat == 0 and self.spec.num_objectives == 1,
            agree=self.queue.agree,
        )
        self._pruned, self._error = False, None
        returned = run_job(
            hydra_context=self.context,
            task_function=partial(self._call, claim, current),
            config=config,
            job_dir_key="hydra.sweep.dir",
            job_subdir_key="hydra.sweep.subdir",
        )
        if self._pruned:
            return Outcome(TrialState.PRUNED)
        if self._error is not None:
            return self._failure(self._error)
        # Raises what else went wrong in Hydra's job.
        return completed(returned.return_value, self.spec.num_objectives, self.spec.takes_infinity)

    def _call(self, claim: Claim, current: SweepTrial, config: DictConfig) -> Any:
        give_up = None if self.spec.in_this_process else partial(self._give_up, claim.trial.number)
        spec = self.spec
        limited = self.stop.in_task(spec.timeout_s, spec.timeout_grace_s, give_up)
        with _kept_surroundings(), running(current), limited:
            try:
                return self.task(config)
            except optuna.TrialPruned as pruned:
                # To Hydra a failed job, to a sweep a good end.
                log.info("%s", pruned)
                self._pruned = True
                return None
            except Exception as error:
                # Hydra would print on the terminal what the trial's log has.
                self._error = error
                raise
            except KeyboardInterrupt:
                raise
            except BaseException as left:
                # It would end the worker, and the sweep with it.
                self._error = left_with(left)
                raise self._error from left

    def _give_up(self, number: int) -> None:
        """The task does not come back from what it is doing: its process has to go."""
        assert self.spec.timeout_s is not None
        error = f"TrialTimeoutError: {TrialTimeoutError(self.spec.timeout_s)}, and did not stop"
        self.queue.fail(number, "timeout", error, seconds=self.spec.timeout_s)
        os._exit(BROKEN_PROCESS)

    def _failure(self, error: BaseException) -> Outcome:
        if isinstance(error, KeyboardInterrupt):
            # Which signal a worker got says nothing: the sweep sends its own.
            return Outcome(TrialState.FAIL, (), INTERRUPTED, "the sweep was stopped")
        if (away := storage_error_in(error)) is not None:
            raise away
        return failure(self._kind(error), error)

    def _kind(self, error: BaseException) -> str:
        if isinstance(error, TrialTimeoutError):
            return "timeout"
        return self.task.failure_kind(error)

    def _tell(self, claim: Claim, outcome: Outcome, seconds: float) -> bool:
        """Tells the study how a trial ended; False where somebody else has ended it before."""
        number = claim.trial.number
        if outcome.state == TrialState.FAIL:
            if not self.queue.fail(number, outcome.kind, outcome.error, outcome.trace, seconds):
                return self._say_given_up(number)
            log.error("trial %d failed: %s", number, outcome.error)
            return True
        values = list(outcome.values) or None
        try:
            claim.trial.set_user_attr("seconds", seconds)
            self.queue.study.tell(number, values, outcome.state)
        except (ValueError, RuntimeError):
            if not self.queue.study.get_trials(deepcopy=False)[number].state.is_finished():
                raise
            return self._say_given_up(number)
        return True

    @staticmethod
    def _say_given_up(number: int) -> bool:
        log.warning("trial %d was given up by another worker; its result is left out", number)
        return False

    def _discard(self) -> None:
        """Keeps what is large of the best trials only."""
        keep = self.spec.keep_checkpoints
        if keep is None or self.spec.num_objectives > 1:
            return
        self.queue.refresh()
        completed = self.queue.ledger.completed
        # Only what is new: to rank all trials after each would cost a long study more and more.
        ranked = ranking(self.queue.study, [*self._best, *completed[self._num_ranked :]])
        self._num_ranked, self._best = len(completed), ranked[:keep]
        for trial in ranked[keep:]:
            for one in own_folders(trial, self.queue.study, self.folder):
                self.task.discard(one)
