"""The sweeper's settings as Hydra knows them, and what it is told when they are wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING

from resnet_sweep.faults import Fault, in_range, one_of

DUPLICATES = ("reuse", "run")
RESUME = ("auto", "never")
# Each is a ticket in the study, which every claim looks through.
MAX_TRIALS = 1_000_000
# How often a trial is tried again, by the kind of its failure. A task may know more kinds.
RETRY = {
    # Its worker was killed or has crashed.
    "lost": 2,
    "exception": 0,
    # The loss diverged.
    "non_finite": 0,
    "out_of_memory": 0,
    "timeout": 0,
    # What the task returned is no objective.
    "bad_value": 0,
    # The GPU is in a state that only a new process can leave.
    "device": 0,
}


@dataclass
class StudySweeperConf:
    """hydra/sweeper=study."""

    _target_: str = "resnet_sweep.sweep.sweeper.StudySweeper"
    defaults: list[Any] = field(
        default_factory=lambda: [{"sampler": "study_tpe"}, {"pruner": "none"}]
    )
    # Draws the values of trials that are not planned.
    sampler: Any = MISSING
    # Gives up a trial that reports worse values than others did.
    pruner: Any = MISSING
    # minimize or maximize; a list of them for several objectives.
    direction: Any = "minimize"
    # null: a journal in the study's folder; memory; or a URL, sqlite:///FILE for instance.
    storage: str | None = None
    # Names the study and its folder; null: <time>-<hash of the overrides>.
    study_name: str | None = None
    # Trials in total; null: plain lists are a grid, every combination once.
    n_trials: int | None = None
    # Workers; null: as many as the launcher has slots.
    n_jobs: int | None = None
    # Share of failed trials above which the sweep gives up.
    max_failure_rate: float = 1.0
    # Dotted path of a function (config, trial) that suggests more, as for hydra-optuna-sweeper.
    custom_search_space: str | None = None
    # key: values as on the command line, or {space: values, when: key=value}.
    params: dict[str, Any] | None = None
    # Trials that run first: a list of {key: value}, a YAML or CSV file, {study: FOLDER, best: k}.
    trials: Any = None
    # Runs of a trial, with seeds seed_key + 0, 1, ...; the objective is their mean.
    repeats: int = 1
    # The setting that repeats count up.
    seed_key: str = "seed"
    # A configuration that the study has finished: reuse its value, or run it again.
    duplicates: str = "reuse"
    # auto goes on with an unfinished study of the same overrides; never starts a new one.
    resume: str = "auto"
    # true prints what would run and starts nothing; probe also times the first trial.
    plan: Any = False
    # Dotted path of a Task class; null: the application's own function, and nothing else known.
    task: str | None = None
    # A run that takes longer, in seconds, fails; null never.
    timeout_s: float | None = None
    # So many seconds a run may take to end when its time is up; then its worker is killed.
    timeout_grace_s: float = 30.0
    # How often a trial is tried again, by the kind of its failure.
    retry: dict[str, int] = field(default_factory=lambda: dict(RETRY))
    # So many failures at once in a row close a slot, unless it is the last; null never.
    close_slot_after: int | None = 5
    # Only so many of the best trials keep what is large; null keeps all.
    keep_checkpoints: int | None = 3
    # What others have published, shown beside what is measured: a list of
    # {when: {key: value}, objective: number, learned: true or false}.
    published: Any = None


@dataclass
class Options:
    """The same as the sweeper uses it; the defaults are hydra-optuna-sweeper's meaning.

    Attributes:
        is_drop_in: Configured by hydra-optuna-sweeper's own settings only.
    """

    sampler: Any
    direction: Any
    storage: str | None
    study_name: str | None
    n_trials: int | None
    n_jobs: int | None
    max_failure_rate: float
    custom_search_space: str | None
    params: Mapping[str, Any]
    pruner: Any = None
    trials: Any = None
    repeats: int = 1
    seed_key: str = "seed"
    duplicates: str = "run"
    resume: str = "auto"
    plan: bool | str = False
    task: str | None = None
    timeout_s: float | None = None
    timeout_grace_s: float = 30.0
    retry: Mapping[str, int] = field(default_factory=lambda: dict(RETRY))
    close_slot_after: int | None = None
    keep_checkpoints: int | None = None
    published: Any = None
    is_drop_in: bool = True

    @property
    def directions(self) -> list[str]:
        """One for each objective."""
        found = self.direction
        if isinstance(found, str) or not hasattr(found, "__iter__"):
            found = [found]
        # hydra-optuna-sweeper's configs hold members of an Enum.
        return [str(getattr(one, "name", one)) for one in found]


def check_options(options: Options) -> list[Fault]:
    """Everything that is wrong with the sweeper's own settings."""
    prefix = "hydra.sweeper"
    faults: list[Fault] = []
    for i, direction in enumerate(options.directions):
        key = f"{prefix}.direction" + (f"[{i}]" if len(options.directions) > 1 else "")
        faults += one_of(key, direction, ("minimize", "maximize"))
    if not options.directions:
        faults.append(Fault(f"{prefix}.direction", "[]", "must name a direction"))
    for name, least, most in (
        ("n_trials", 1, MAX_TRIALS),
        ("n_jobs", 1, 100_000),
        ("repeats", 1, 10_000),
        ("close_slot_after", 2, None),
        ("keep_checkpoints", 0, None),
    ):
        value = getattr(options, name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
            faults.append(Fault(f"{prefix}.{name}", value, "must be a whole number"))
        else:
            faults += in_range(f"{prefix}.{name}", value, at_least=least, at_most=most)
    rate = options.max_failure_rate
    faults += in_range(f"{prefix}.max_failure_rate", rate, at_least=0, at_most=1)
    faults += in_range(f"{prefix}.timeout_s", options.timeout_s, above=0)
    faults += in_range(f"{prefix}.timeout_grace_s", options.timeout_grace_s, at_least=0)
    faults += one_of(f"{prefix}.duplicates", options.duplicates, DUPLICATES)
    faults += one_of(f"{prefix}.resume", options.resume, RESUME)
    if options.plan not in (True, False, "probe"):
        choices = ("true", "false", "probe")
        faults.append(Fault(f"{prefix}.plan", options.plan, "is not known", choices))
    faults += published_faults(options.published)
    return faults + _retry_faults(options.retry) + _name_faults(options.study_name)


def published_faults(published: object) -> list[Fault]:
    """Faults of ``hydra.sweeper.published``."""
    key, fix = "hydra.sweeper.published", "write [{when: {optimizer.lr: 0.1}, objective: 0.73}]"
    if published is None:
        return []
    if not isinstance(published, list):
        return [Fault(key, published, "must be a list", fix=fix)]
    faults: list[Fault] = []
    for i, one in enumerate(published):
        where = f"{key}[{i}]"
        if not isinstance(one, Mapping) or not isinstance(one.get("when"), Mapping):
            faults.append(Fault(where, one, "must say when it holds", fix=fix))
            continue
        for name, value in one.items():
            if name not in ("when", "objective", "learned"):
                choices = ("when", "objective", "learned")
                faults.append(Fault(f"{where}.{name}", value, "is not known", choices))
        value, learned = one.get("objective", 0.0), one.get("learned", True)
        if isinstance(value, bool) or not isinstance(value, int | float):
            faults.append(Fault(f"{where}.objective", value, "must be a number"))
        if not isinstance(learned, bool):
            faults.append(Fault(f"{where}.learned", learned, "must be true or false"))
    return faults


def _retry_faults(retry: Mapping[str, int]) -> list[Fault]:
    faults: list[Fault] = []
    for kind, count in retry.items():
        key = f"hydra.sweeper.retry.{kind}"
        if isinstance(count, bool) or not isinstance(count, int):
            faults.append(Fault(key, count, "must be a whole number"))
        else:
            faults += in_range(key, count, at_least=0)
    return faults


def _name_faults(name: str | None) -> list[Fault]:
    if name is None or (name.strip() and "/" not in name and name not in (".", "..")):
        return []
    return [Fault("hydra.sweeper.study_name", name, "must be the name of a folder, without /")]


ConfigStore.instance().store(
    group="hydra/sweeper", name="study", node=StudySweeperConf, provider="resnet_sweep"
)
