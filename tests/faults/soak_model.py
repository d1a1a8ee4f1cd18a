"""What must hold of a study, however often its sweeps are killed: the model of the soak."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil
import yaml
from fault_sweeps import trials_of
from optuna.trial import FrozenTrial, TrialState

from resnet_sweep.report.files import read_csv
from resnet_sweep.study.locks import is_held

TOKEN = "FAULT_SOAK"
# A sweep that is killed or stopped ends a trial like this, and takes it up again.
PASSING = frozenset({"lost", "interrupted"})


def value_of(params: Mapping[str, Any], seed: int, step: int) -> float:
    """What fault_app/soak_task.py computes, said once more."""
    return float(params["x"] + params.get("y", 0) / 8 + seed * 64 + step / 1024)


@dataclass
class Plan:
    """What a study is to come to.

    Attributes:
        num_tickets: Trials.
        num_steps: Of a run.
        repeats: Runs of a trial.
        params: Of each ticket, as an undisturbed sweep has them; empty where they depend on the
            order in which trials end.
        may_fail: Kinds of failure that what is done to the sweeps may cause.
        may_join: A second sweep changes nothing of it; what it draws depends on who ends first.
    """

    num_tickets: int
    num_steps: int
    repeats: int = 1
    params: Sequence[Mapping[str, Any]] = ()
    may_fail: frozenset[str] = PASSING
    may_join: bool = True


@dataclass
class Model:
    """Checks a study whose sweeps have all ended, however they did.

    Attributes:
        folder: The study's.
        plan: What is to come.
        token: Environment of all processes of this soak has it.
    """

    folder: Path
    plan: Plan
    token: str
    _ended: dict[int, tuple[TrialState, Any]] = field(default_factory=dict)

    def faults(self, *, is_end: bool) -> list[str]:
        """All rules that are broken.

        Args:
            is_end: The last sweep has come to its end undisturbed.
        """
        found = list(self._of_machine())
        trials = trials_of(self.folder)
        attempts: dict[int, list[FrozenTrial]] = {}
        for trial in trials:
            attempts.setdefault(trial.user_attrs.get("ticket", -1), []).append(trial)
        found += self._of_tickets(attempts)
        found += self._of_memory(trials)
        found += self._of_folders(trials, attempts)
        if is_end:
            found += self._of_end(attempts)
            found += self._of_tables(attempts)
        return found

    def _of_machine(self) -> Iterator[str]:
        for process in left_over(self.token):
            yield f"process {process.pid} is left over: {' '.join(process.cmdline())[:200]}"
        locks = [*self.folder.rglob("*.lock"), *self.folder.glob("sessions/*")]
        for path in [*locks, self.folder / "study.journal"]:
            if is_held(path):
                yield f"{path.name} is held by nobody"

    def _of_tickets(self, attempts: Mapping[int, Sequence[FrozenTrial]]) -> Iterator[str]:
        for ticket, trials in attempts.items():
            who = f"ticket {ticket}"
            if not 0 <= ticket < self.plan.num_tickets:
                yield f"{who} was never planned"
            states = [trial.state.name for trial in trials]
            if states.count("COMPLETE") > 1 or "COMPLETE" in states[:-1]:
                yield f"{who} was run again when it was done: {states}"
            if [trial.user_attrs["attempt"] for trial in trials] != list(range(len(trials))):
                yield f"{who} has miscounted its attempts"
            for before, after in pairwise(trials):
                if after.user_attrs.get("retry_of") != before.number:
                    yield f"trial {after.number} has the ticket of {before.number}, and is no retry"
            ran = [trial for trial in trials if "folder" in trial.user_attrs]
            for before, after in pairwise(ran):
                if before.params != after.params:
                    yield f"{who} was taken up with other values: {before.params}, {after.params}"
            for trial in trials:
                yield from self._of_trial(trial, who)

    def _of_trial(self, trial: FrozenTrial, who: str) -> Iterator[str]:
        kind = trial.user_attrs.get("failure")
        if trial.state == TrialState.FAIL and kind not in self.plan.may_fail:
            yield f"{who} failed: {kind}: {trial.user_attrs.get('error')}"
        if trial.user_attrs.get("seconds", 0.0) < 0:
            yield f"trial {trial.number} took {trial.user_attrs['seconds']} s"
        for step, value in trial.intermediate_values.items():
            if value != value_of(trial.params, 0, step):
                yield f"trial {trial.number} reported {value} at step {step}"
        if trial.state != TrialState.COMPLETE:
            return
        seeds = range(self.plan.repeats)
        values = [value_of(trial.params, seed, self.plan.num_steps) for seed in seeds]
        if trial.value != sum(values) / len(values):
            yield f"trial {trial.number} has {trial.value}, an undisturbed one {values}"
        if sorted(trial.intermediate_values) != list(range(1, self.plan.num_steps + 1)):
            yield f"trial {trial.number} reported steps {sorted(trial.intermediate_values)}"

    def _of_memory(self, trials: Sequence[FrozenTrial]) -> Iterator[str]:
        """What has ended once, stays as it was."""
        now = {one.number: (one.state, one.values) for one in trials if one.state.is_finished()}
        for number, end in self._ended.items():
            if now.get(number) != end:
                yield f"trial {number} had ended as {end}, and now has {now.get(number)}"
        self._ended = now

    def _of_folders(
        self, trials: Sequence[FrozenTrial], attempts: Mapping[int, Sequence[FrozenTrial]]
    ) -> Iterator[str]:
        used = Counter(one.user_attrs["folder"] for one in trials if "folder" in one.user_attrs)
        yield from (f"folder {name} was used twice" for name, num in used.items() if num > 1)
        for found in attempts.values():
            if found[-1].state == TrialState.COMPLETE:
                for seed in range(self.plan.repeats):
                    yield from self._of_run(found, seed)

    def _of_run(self, attempts: Sequence[FrozenTrial], seed: int) -> Iterator[str]:
        """The run of a seed has ended in the folder of one of the attempts, and is whole there."""
        part = str(seed) if self.plan.repeats > 1 else ""
        who = f"ticket {attempts[-1].user_attrs['ticket']}, run {seed}"
        homes = [
            (trial, self.folder / trial.user_attrs["folder"] / part)
            for trial in attempts
            if "folder" in trial.user_attrs
        ]
        done = [(trial, home) for trial, home in homes if (home / "finished").exists()]
        if not done or (self.plan.repeats == 1 and done[-1][0] is not attempts[-1]):
            yield f"{who} has no finished folder"
            return
        trial, home = done[-1]
        if (home / "owner").read_text() != str(trial.number):
            yield f"{who}: {home.name} is another trial's"
        steps = range(1, self.plan.num_steps + 1)
        wanted = [value_of(trial.params, seed, step) for step in steps]
        if json.loads((home / "values.json").read_text()) != wanted:
            yield f"{who}: its steps are not those of an undisturbed run"
        lacks = [name for name in ("config", "hydra", "overrides") if not _has(home, name)]
        if lacks:
            yield f"{who}: .hydra lacks {lacks}"

    def _of_end(self, attempts: Mapping[int, Sequence[FrozenTrial]]) -> Iterator[str]:
        missing = set(range(self.plan.num_tickets)) - set(attempts)
        if missing:
            yield f"tickets {sorted(missing)} were never run"
        for ticket, trials in attempts.items():
            if trials[-1].state != TrialState.COMPLETE:
                yield f"ticket {ticket} is {trials[-1].state.name} at the end"
            wanted = dict(enumerate(self.plan.params)).get(ticket, trials[-1].params)
            if trials[-1].params != wanted:
                yield f"ticket {ticket} has {trials[-1].params}, undisturbed {wanted}"
        halves = [path.name for path in self.folder.rglob(".*.tmp")]
        if halves:
            yield f"temporary files are left: {halves}"
        sessions = [path.name for path in self.folder.glob("sessions/*")]
        if sessions:
            yield f"sessions are left: {sessions}"

    def _of_tables(self, attempts: Mapping[int, Sequence[FrozenTrial]]) -> Iterator[str]:
        last = {trials[-1].number: trials[-1] for trials in attempts.values()}
        table = read_csv(self.folder / "results.csv")
        rows = Counter(int(number) for number in table["number"])
        if rows != dict.fromkeys(last, self.plan.repeats):
            yield f"results.csv has rows of {sorted(rows)}, the study trials {sorted(last)}"
            return
        for row in table.to_dict("records"):
            trial = last[int(row["number"])]
            seed = int(row["repeat"]) if self.plan.repeats > 1 else 0
            shown = (row["state"], row["objective"], {key: row[key] for key in trial.params})
            value = value_of(trial.params, seed, self.plan.num_steps)
            if shown != (trial.state.name, value, trial.params):
                yield f"results.csv shows of trial {trial.number} {shown}"
        best = yaml.safe_load((self.folder / "optimization_results.yaml").read_text())
        if best.get("best_value") != min((one.value or 0.0) for one in last.values()):
            yield f"optimization_results.yaml has {best}"
        for name in ("history.csv", "best.yaml", "report.html"):
            if not (self.folder / name).is_file():
                yield f"{name} is missing"


def left_over(token: str) -> list[psutil.Process]:
    """Processes of a soak that still run."""
    found = []
    for process in psutil.process_iter():
        try:
            is_ours = process.environ().get(TOKEN) == token
            if is_ours and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


def _has(home: Path, name: str) -> bool:
    path = home / ".hydra" / f"{name}.yaml"
    return path.is_file() and yaml.safe_load(path.read_text()) is not None
